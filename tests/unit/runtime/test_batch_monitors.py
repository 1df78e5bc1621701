"""Monitors of batches: all records against the model's training data, each counted once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import FakePool, World, world
from model_folders import WEIGHTS, linear, write

from loopwright.api.batch_report import BatchReport
from loopwright.api.monitoring_status import Judged, MonitorState
from loopwright.api.report import RunState
from loopwright.runtime.batch import plan
from loopwright.train.profile import profile

pytestmark = pytest.mark.timeout(60)

DRIFT = {"name": "drift", "kind": "DataDrift", "minSamples": 100, "driftShare": "0"}
OUTPUTS = {"name": "outputs", "kind": "PredictionDrift", "minSamples": 100}
QUALITY = {"name": "quality", "kind": "DataQuality", "minSamples": 100}
ALL = [DRIFT, OUTPUTS, QUALITY]


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A claim with a model that knows what it was trained on."""
    found = world(tmp_path, monkeypatch)
    rows = sample(2000, 1)
    known = profile({"x": rows}, outputs={"y": rows @ WEIGHTS})
    found.digest = write(found.root / "model", linear(), baseline=known)
    return found


def sample(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Rows as in training, but for a shift of the first feature."""
    found = np.random.default_rng(seed).normal(size=(rows, 3)).astype(np.float32)
    found[:, 0] += shift
    return found


def put(batch: World, name: str, rows: np.ndarray, *more: str) -> None:
    """A file of the input."""
    lines = [json.dumps({"x": row}) for row in rows.tolist()]
    batch.write(name, "".join(f"{line}\n" for line in [*lines, *more]))


def states(found: BatchReport | list[Judged]) -> dict[str, str]:
    """By monitor."""
    verdicts = found.monitors if isinstance(found, BatchReport) else found
    return {one.name: str(one.state) for one in verdicts}


def test_records_as_in_training(batch: World) -> None:
    put(batch, "a.jsonl", sample(600, 2))
    report = batch.run(batch.config(monitors=ALL))
    assert report.state is RunState.SUCCEEDED, report
    assert states(report) == {"drift": "OK", "outputs": "OK", "quality": "OK"}
    assert {one.samples for one in report.monitors} == {600}


def test_a_shift_is_told_and_results_are_published(batch: World) -> None:
    put(batch, "a.jsonl", sample(600, 2, shift=1.5))
    report = batch.run(batch.config(monitors=ALL))
    assert report.state is RunState.SUCCEEDED, report
    assert states(report)["drift"] == states(report)["outputs"] == "Violated"
    drift = report.monitors[0]
    assert [one.feature for one in drift.violations] == ["f0"]
    assert report.outputs is not None
    assert report.outputs.drift_report_uri == "pvc://data/out/_drift/report.html"
    page = (batch.root / "out" / "_drift" / "report.html").read_text()
    assert page.count("<figure class='bad'>") >= 2
    assert "600 rows" in page
    assert len(batch.rows()) == 600


def test_bad_records_are_a_matter_of_quality(batch: World) -> None:
    put(batch, "a.jsonl", sample(300, 2), *["{"] * 100)
    report = batch.run(batch.config(monitors=ALL, errors={"maxFailedRecords": 1000}))
    assert states(report) == {"drift": "OK", "outputs": "OK", "quality": "Violated"}
    assert "Refused" in report.monitors[2].message


def test_a_row_that_fails_in_a_mini_batch_leaves_the_others_counted_once(batch: World) -> None:
    put(batch, "a.jsonl", sample(200, 2), '{"x": ["text", 0, 0]}')
    put(batch, "b.jsonl", sample(200, 3))
    config = batch.config(monitors=[DRIFT], errors={"maxFailedRecords": 1})
    assert batch.run(config).monitors[0].samples == 400


def test_a_resumed_job_counts_finished_shards_too(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MIB", 1)
    for number in range(4):
        put(batch, f"{number}.jsonl", sample(100, number))
    config = batch.config(monitors=ALL)
    whole = FakePool.iter_rows

    def half(self: FakePool) -> Any:
        for place, row in enumerate(whole(self)):
            if place == 2:
                raise RuntimeError("the node is gone")
            yield row

    monkeypatch.setattr(FakePool, "iter_rows", half)
    assert batch.run(config).state is RunState.FAILED
    monkeypatch.setattr(FakePool, "iter_rows", whole)
    report = batch.run(config)
    assert report.state is RunState.SUCCEEDED, report
    assert report.shards.resumed >= 2
    assert {one.samples for one in report.monitors} == {400}
    # A report that was lost is told again from what was published.
    assert states(batch.run(config)) == states(report)


def test_what_cannot_be_judged_is_unknown(batch: World) -> None:
    put(batch, "a.jsonl", sample(300, 2))
    batch.digest = write(batch.root / "model", linear())
    [one] = batch.run(batch.config(monitors=[DRIFT])).monitors
    assert (one.state, one.reason) == (MonitorState.UNKNOWN, "NoBaseline")
    assert "baseline=rows" in one.message


def test_few_records_say_nothing(batch: World) -> None:
    put(batch, "a.jsonl", sample(50, 2, shift=3))
    assert states(batch.run(batch.config(monitors=[DRIFT]))) == {"drift": "NoData"}
