"""What pods write into ConfigMaps, which the operator and monitors read."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fuzzing import altered, damaged, fuzzed, text
from hypothesis import strategies as st
from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.batch_report import BatchReport
from loopwright.api.capture_report import CaptureReport
from loopwright.api.endpoint_report import EndpointReport, VerdictsReport
from loopwright.api.experiment_report import ExperimentReport
from loopwright.api.feedback import FeedbackSnapshot
from loopwright.api.report import Report
from loopwright.api.resources import Key
from loopwright.api.sweep_report import SweepReport
from loopwright.decide import prices
from loopwright.prometheus import _value
from loopwright.reconcile import monitoring, observe
from loopwright.reconcile.context import Context

UID = "11111111-2222-3333-4444-555555555555"
TIME = "2026-11-30T07:00:00Z"
SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
}
JOB: dict[str, Any] = {
    "version": 1, "attempt": 1, "runId": "r", "state": "Running", "time": TIME,
    "resumedFrom": "s3://bucket/checkpoint",
    "error": {"cause": "Application", "reason": "ScriptFailed", "message": "it failed",
              "exitCode": 1, "permanent": False},
    "progress": {"percent": 3, "step": 3, "totalSteps": 100, "epoch": 0, "etaSeconds": 3,
                 "updatedAt": TIME},
    "metrics": [{"name": "loss", "value": "0.5", "step": 3, "min": "0.1", "max": "1"}],
    "checkpoint": {"uri": "s3://bucket/checkpoint", "step": 3, "time": TIME, "count": 1},
    "keptSeconds": 3,
    "inputs": [{"name": "train", "uri": "s3://bucket/data", "digest": f"sha256:{'0' * 64}",
                "size": 5}],
    "artifacts": {"modelUri": "s3://bucket/model"},
    "model": {"signature": SIGNATURE, "baseline": True},
}  # fmt: skip
ARM = {"name": "a", "revision": "abc123", "variant": "a", "state": "OK", "reason": "Seen",
       "message": "", "requests": 5, "pods": 1}  # fmt: skip
OBSERVED = {"uid": UID, "time": TIME, "windowStart": TIME, "windowEnd": TIME, "active": True,
            "reportSeconds": 30, "variants": [ARM], "verdicts": [ARM]}  # fmt: skip
FEEDBACK = {"process": "00" * 8, "own": "a.01234567", "counts": [
    {"name": "clicked", "about": "a.01234567", "count": 2, "total": 1.0, "squares": 1.0,
     "parts": 2, "partsTotal": 1.0}]}  # fmt: skip


def mailbox(name: str, content: str) -> dict[str, Any]:
    """A report's ConfigMap, as a pod may have written it."""
    meta = {"name": name, "ownerReferences": [{"uid": UID, "controller": True}]}
    return {"metadata": meta, "data": {name: content}}


@pytest.mark.parametrize("model", [Report, SweepReport, BatchReport])
@fuzzed("report of a job", document=altered(JOB))
def test_reports_of_jobs(model: type[Any], document: Any) -> bool:
    found, problem = observe._parse(mailbox(names.REPORT_KEY, json.dumps(document)), UID, model)
    assert (found is None) == (problem is not None)
    if found is not None:
        # What the operator took it can write again, and the API server stores it.
        model.model_validate_json(json.dumps(found.wire()))
        json.dumps(found.wire(), ensure_ascii=False).encode()
    assert problem is None or len(problem) < 1024
    return found is not None


@fuzzed("report of a job, as text", content=st.text(max_size=200))
def test_texts(content: str) -> bool:
    found, _ = observe._parse(mailbox(names.REPORT_KEY, content), UID, Report)
    return found is not None


def test_a_large_report_is_not_read() -> None:
    content = json.dumps({**JOB, "more": "a" * 70_000})
    found, problem = observe._parse(mailbox(names.REPORT_KEY, content), UID, Report)
    assert found is None
    assert problem is not None
    assert "exceeds" in problem


@pytest.mark.parametrize("model", [EndpointReport, VerdictsReport, ExperimentReport, CaptureReport])
@fuzzed("report of an endpoint's monitor", document=altered(OBSERVED))
def test_reports_of_monitors(model: type[Any], document: Any) -> bool:
    content = mailbox("some", json.dumps(document))
    cache = SimpleNamespace(get=lambda _: content)
    ctx = cast(Context, SimpleNamespace(cache=cache))
    key = Key("ModelEndpoint", "team", "e")
    return monitoring.mail(ctx, key, UID, "some", 64 * 1024, model) is not None


@fuzzed("feedback counted by a pod", content=damaged([text(FEEDBACK)]))
def test_counts_of_feedback(content: bytes) -> bool:
    try:
        FeedbackSnapshot.model_validate_json(content)
    except ValidationError:
        return False
    return True


ANSWER = {"status": "success", "data": {"resultType": "vector", "result": [
    {"metric": {}, "value": [1.5, "3"]}]}}  # fmt: skip


@fuzzed("answer of Prometheus", document=altered(ANSWER))
def test_answers_of_prometheus(document: Any) -> bool:
    return _value(document) is not None


PRICES = {"currency": "EUR", "cpu-hour": "0.04", "memory-gib-hour": "0.005", "gpu-hour": "2",
          "gpu-hour.amd.com_gpu": "1", "spot-factor": "0.3"}  # fmt: skip


@fuzzed(
    "price table",
    data=st.dictionaries(
        st.one_of(st.sampled_from(sorted(PRICES)), st.text(max_size=5)),
        st.one_of(st.sampled_from(sorted(PRICES.values())), st.text(max_size=8)),
    ),
)
def test_price_tables(data: dict[str, str]) -> bool:
    try:
        prices.parse({**PRICES, **data})
    except prices.PricesMalformed:
        return False
    return True
