"""What a batch's pods are made from, what is counted of it, and what it keeps from deletion."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from batch_worlds import batch_spec, model
from prometheus_client import REGISTRY

from loopwright import metrics
from loopwright.api import names
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform import KIND
from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.resources import Key
from loopwright.api.validation import ValidationResult
from loopwright.decide.validation import validated
from loopwright.desired.batch import BatchContext
from loopwright.desired.context import AttemptContext
from loopwright.desired.rayjob import rayjob
from loopwright.kube.cache import Cache, uses
from loopwright.metrics import BatchCollector

KEY = Key(KIND, "n", "job")


def context(**spec: Any) -> BatchContext:
    """A batch with the operator's defaults."""
    parsed = batch_spec(**spec)
    uri = parsed.output.uri.rstrip("/")
    return BatchContext("job", "n", "u", parsed, "i", "2.60.0", uri, model=model("v1"))


def test_pods_have_what_data_and_model_need() -> None:
    job = context(
        input={"uri": "pvc://in/x", "format": "csv"},
        output={"uri": "s3://b/out/", "secretRef": {"name": "theirs"}},
        errors={"deadLetterUri": "pvc://bad/x/"},
    )
    secret = model("v1").model_copy(update={"secret": "keys", "uri": "pvc://models/v1"})
    job = replace(job, model=secret)
    assert job.claims() == {"in", "bad", "models"}
    assert job.secrets() == {"theirs", "keys"}
    assert job.dead_letter_uri == "pvc://bad/x"
    made = rayjob(job, AttemptContext(2, 60))
    assert made["metadata"]["name"] == "job-b2"
    head = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    text = head["metadata"]["annotations"][names.CONFIG_ANNOTATION]
    config = BatchConfig.model_validate_json(text)
    assert (config.uid, config.model.secret) == ("u", "keys")
    assert config.output_uri == "s3://b/out"
    # What the pods were made from is not told again.
    assert not {"env", "envFrom", "head", "pod", "scheduling"} & json.loads(text)["spec"].keys()


@pytest.mark.parametrize(
    ("spec", "procs", "threads"),
    [
        ({}, 1, "1"),
        ({"resourcesPerWorker": {"cpu": "3500m"}}, 3, "1"),
        ({"resourcesPerWorker": {"cpu": "500m"}}, 1, "1"),
        ({"resourcesPerWorker": {"cpu": 8, "gpu": 2}}, 2, "4"),
        ({"resourcesPerWorker": {"cpu": 8}, "procsPerWorker": 2}, 2, "4"),
    ],
)
def test_each_core_has_a_model_unless_gpus_have(
    spec: dict[str, Any], procs: int, threads: str
) -> None:
    job = context(**spec)
    assert job.procs == procs
    [group] = rayjob(job, AttemptContext(1, 60))["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    assert {"name": "OMP_NUM_THREADS", "value": threads} in container["env"]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"loopwright_batchtransform_{name}", labels) or 0.0


def test_records_are_counted_once_also_when_a_shard_is_done_again() -> None:
    told = [(0, 0), (10, 1), (30, 1), (20, 1), (40, 3)]
    statuses = [
        BatchTransformStatus.model_validate({"records": {"written": good, "failed": bad}})
        for good, bad in told
    ]
    before = sample("records_total", result="failed")
    for old, new in itertools.pairwise(statuses):
        metrics.record(KEY, batch_spec(), old, new)
    assert sample("records_total", result="failed") == before + 3


def stored(name: str, version: int, **more: Any) -> dict[str, Any]:
    """A batch as the API server has it."""
    meta = {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version)}
    return {"kind": KIND, "metadata": meta, "spec": batch_spec().wire(), **more}


def test_shards_of_those_that_have_not_ended_are_told() -> None:
    cache, done = Cache(), {"phase": "Succeeded", "completionTime": "2026-01-01T00:00:00Z"}
    cache.observe("ADDED", stored("a", 1))
    cache.observe(
        "ADDED", stored("b", 2, status={"phase": "Running", "shards": {"total": 5, "done": 2}})
    )
    cache.observe("ADDED", stored("c", 3, status={**done, "shards": {"total": 5, "done": 5}}))
    found = {
        (one.name, *one.labels.values()): one.value
        for family in BatchCollector(cache).collect()
        for one in family.samples
    }
    assert found["loopwright_batchtransform_shards", "Done"] == 2
    assert found["loopwright_batchtransform_shards", "Waiting"] == 3
    assert found["loopwright_batchtransform_phase", "Pending"] == 1
    assert found["loopwright_batchtransform_phase", "Succeeded"] == 1


def test_news_of_its_model_wakes_a_batch() -> None:
    assert uses(stored("a", 1)) == {Key("Model", "n", "digits")}


def result(name: str, *, passed: bool, message: str = "") -> ValidationResult:
    """What a check found."""
    return ValidationResult(name=name, passed=passed, message=message, rows=3, checks=2)


def test_data_has_passed_once_all_of_it_has() -> None:
    good, bad = result("a", passed=True), result("b", passed=False, message="3 rows, below 9")
    assert validated(["a", "b"], [])[:2] == (False, "NotChecked")
    assert validated(["a", "b"], [good]) == (False, "NotChecked", "not checked yet: b")
    assert validated(["a", "b"], [bad, good]) == (False, "ChecksFailed", "b: 3 rows, below 9")
    assert validated(["a"], [good]) == (True, "Passed", "a: 2 checks of 3 rows")
