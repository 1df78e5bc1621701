"""Answers joined with labels: what comes late, twice, not at all, or as something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from quality_worlds import DUE, END, HOUR, World, ids, same

from eventually import eventually
from loopwright.api import names
from loopwright.api.monitoring_status import MonitorState
from loopwright.api.quality_report import QualityReport
from loopwright.serving.quality import reading, rounds
from loopwright.serving.quality.__main__ import tell


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path / "captures"))
    monkeypatch.setenv("LOOPWRIGHT_LABELS_DIR", str(tmp_path))
    monkeypatch.setenv("LOOPWRIGHT_METRICS_DIR", str(tmp_path / "told"))
    return World(tmp_path)


@pytest.mark.parametrize("name", ["a.parquet", "b/c.csv", "a.jsonl", "x/y/z.ndjson"])
def test_answers_are_compared_with_their_labels(world: World, name: str) -> None:
    world.capture(same(ids(100), 1))
    world.label(same(ids(70), 1) | same(ids(100)[70:90], 0), name)
    found = world.main()
    assert found.quality is not None
    assert (found.samples, found.quality.captured, found.quality.labelled) == (90, 100, 90)
    assert found.quality.value == "0.7778"
    assert found.state is MonitorState.OK  # Not more than chance explains.
    assert float(found.quality.low) < 0.7778 < float(found.quality.high)


def test_what_is_much_worse_is_in_violation_after_enough_windows(world: World) -> None:
    for n in range(2):
        world.capture(same(ids(50, f"{n}-"), 1), time=END + n * HOUR - HOUR / 2)
        world.label(same(ids(50, f"{n}-"), 0), f"{n}.jsonl")
    first = world.main()
    assert (first.state, first.recent) == (MonitorState.OK, [True])
    assert "1 of the newest 1 windows in violation, 2 of 3 are needed" in first.message
    second = world.main(DUE + HOUR)
    assert (second.state, second.recent) == (MonitorState.VIOLATED, [True, True])
    assert [(one.check, one.value, one.threshold) for one in second.violations] == [
        ("Accuracy", "0", "0.8")
    ]
    assert second.window_end == END + HOUR


def test_nothing_is_judged_before_labels_had_their_time(world: World) -> None:
    world.capture(same(ids(50), 1))
    # The newest window that is due has no requests.
    early = world.turn(DUE - timedelta(seconds=1))
    assert {key: one.reason for key, one in early.items()} == {
        ("main", ""): "NoRequests", ("next", ""): "NoRequests",
    }  # fmt: skip
    world.label(same(ids(50), 1), time=END + 2 * HOUR)
    assert world.main().state is MonitorState.OK


def test_labels_that_come_too_late_are_not_counted(world: World) -> None:
    world.capture(same(ids(50), 1))
    world.label(same(ids(10), 1))
    found = world.main()
    assert (found.state, found.reason) == (MonitorState.NO_DATA, "TooFewLabels")
    assert found.message == "10 of 50 captured rows have labels; minSamples is 20"
    world.label(same(ids(50), 1), "late.csv", time=DUE)
    assert world.main(DUE + timedelta(minutes=5)) == found


def test_labels_may_be_there_before_the_answers(world: World) -> None:
    """A file of labels may be stored sooner than that of the requests; an older one is not read."""
    world.label(same(ids(30), 1), time=END - HOUR)
    world.label(same(ids(30), 0), "old.jsonl", time=END - 3 * HOUR)
    world.capture(same(ids(30), 1))
    found = world.main()
    assert found.quality is not None
    assert found.quality.value == "1"


def test_the_newest_label_and_the_newest_answer_count(world: World) -> None:
    world.capture(same(ids(30), 0), time=END - HOUR / 2)
    world.capture(same(ids(30), 1), time=END - HOUR / 4)
    world.capture(same(ids(30), 2), time=END - HOUR / 3)
    world.label(same(ids(30), 1), "a.jsonl", time=END + HOUR)
    world.label(same(ids(30), 2), "b.jsonl", time=END)
    found = world.main()
    assert found.quality is not None
    assert (found.samples, found.quality.value) == (30, "1")


def test_requests_without_an_answer_are_counted_and_not_judged(world: World) -> None:
    world.capture(same(ids(30), 1))
    world.capture(same(ids(5, "lost-"), None))
    world.capture(same(ids(5, "odd-"), "[redacted]"))
    world.capture(same(ids(5, "refused-"), 1), status=400)
    world.label(same([*ids(30), *ids(5, "lost-"), *ids(5, "odd-"), *ids(5, "refused-")], 1))
    found = world.main()
    assert found.quality is not None
    assert (found.samples, found.quality.unusable, found.quality.captured) == (30, 15, 45)


def test_labels_of_another_kind_are_no_verdict(world: World) -> None:
    world.asks("1.5", metric="MAE")
    world.capture(same(ids(30), 1.5))
    world.label(same(ids(30), "cat"))
    found = world.main()
    assert (found.state, found.reason) == (MonitorState.UNKNOWN, "NotComparable")
    assert "30 of 30 labelled rows cannot be compared" in found.message


def test_rows_of_a_request_have_a_list_of_labels(world: World) -> None:
    world.capture(same(ids(20), json.dumps({"predictions": [1, 0, 1]})))
    world.label(same(ids(15), [1, 0, 0]) | same(ids(20)[15:], [1]), "a.parquet")
    found = world.main()
    assert found.quality is not None
    assert (found.samples, found.quality.unusable, found.quality.value) == (45, 15, "0.6667")


def test_errors_of_numbers(world: World) -> None:
    world.asks("1", metric="RMSE", monitor={"violatedWindows": 1})
    outputs = {"outputs": [{"name": "y", "shape": [1, 1], "datatype": "FP64", "data": [3.0]}]}
    world.capture(same(ids(40), json.dumps(outputs)))
    world.label(same(ids(20), 1.0) | same(ids(40)[20:], 5.5), "a.csv")
    found = world.main()
    assert found.quality is not None
    assert (found.state, found.quality.value) == (MonitorState.VIOLATED, "2.264")
    assert found.message == "RMSE is 2.264, beyond 1"
    assert found.worst == "2.264"


def test_the_worst_slice_is_named_and_judged(world: World) -> None:
    world.asks(slices=[{"column": "region"}], monitor={"violatedWindows": 1})
    world.capture(same(ids(400), 1))
    labels = same(ids(400), 1) | same(ids(400)[300:340], 0)
    regions = ["north"] * 300 + ["south"] * 50 + ["west"] * 45 + ["tiny"] * 5
    world.label(labels, region=regions)
    found = world.main()
    assert found.quality is not None
    assert found.quality.value == "0.9"
    assert (found.quality.worst_slice, found.quality.worst_value) == ("region=south", "0.2")
    assert [(one.feature, one.value) for one in found.violations] == [("region=south", "0.2")]
    assert (found.features, found.drifted) == (4, 1)
    assert found.message == "Accuracy of region=south is 0.2, beyond 0.8"


def test_groups_are_compared_with_the_privileged_one(world: World) -> None:
    bias = {"column": "sex", "privileged": "m", "maxDifference": "0.1", "minRatio": "0.8"}
    world.asks("0.1", metric="Accuracy", positive="1", bias=bias, monitor={"violatedWindows": 1})
    names = ids(800)
    said = {id: int(i % 2 == 0 or i >= 780) for i, id in enumerate(names[:400])} | {
        id: int(i % 10 == 0) for i, id in enumerate(names[400:])
    }
    world.capture(said)
    world.label(same(names, 1), sex=["m"] * 400 + ["f"] * 400)
    found = world.main()
    assert found.state is MonitorState.VIOLATED
    assert {(one.feature, one.check): one.value for one in found.violations} == {
        ("sex=f", "PositiveRateDifference"): "0.4",
        ("sex=f", "PositiveRateRatio"): "0.2",
        ("sex=f", "TruePositiveRateDifference"): "0.4",
        ("sex=f", "TruePositiveRateRatio"): "0.2",
    }


def test_groups_that_cannot_be_compared_are_not_called_well(world: World) -> None:
    bias = {"column": "old", "privileged": "1", "minRatio": "0.8"}
    world.asks("0.1", positive="1", bias=bias)
    world.capture(same(ids(60), 1))
    world.label(same(ids(60), 1), old=[True] * 45 + [False] * 15)
    found = world.main()
    assert (found.state, found.reason) == (MonitorState.NO_DATA, "TooFewToCompare")
    world.asks("0.2", positive="1", bias=bias)
    world.label(same(ids(60), 1), old=[True] * 30 + [False] * 30)
    assert world.main().state is MonitorState.OK


def test_precision_needs_a_positive_answer(world: World) -> None:
    world.asks(metric="Precision", positive="1")
    world.capture(same(ids(30), 0))
    world.label(same(ids(30), 0))
    found = world.main()
    assert (found.state, found.reason) == (MonitorState.NO_DATA, "NoPositives")


def test_revisions_and_variants_are_judged_apart(world: World) -> None:
    world.capture(same(ids(30), 1))
    world.capture(same(ids(30, "b"), 1), revision="r2")
    world.capture(same(ids(30), 0), variant="next", revision="r9")
    world.label(same(ids(30), 1) | same(ids(30, "b"), 1))
    found = world.turn()
    assert set(found) == {
        ("main", "r1"), ("main", "r2"), ("main", ""), ("next", "r9"), ("next", ""),
    }  # fmt: skip
    assert found["next", "r9"].recent == [True]
    assert found["main", "r2"].recent == [False]


def test_a_restart_repeats_nothing_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        world.capture(same(ids(30, f"{n}-"), 1), time=END + n * HOUR - HOUR / 2)
        world.label(same(ids(30, f"{n}-"), int(n != 1)), f"{n}.jsonl", time=END + n * HOUR)
    first = world.main()
    judged: list[datetime] = []
    real = reading.captured

    def seen(storage: Any, below: str, start: datetime, end: datetime) -> Any:
        judged.append(end)
        return real(storage, below, start, end)

    monkeypatch.setattr(rounds.reading, "captured", seen)
    world.rounds = None
    assert world.main() == first
    assert judged == []
    world.rounds = None
    later = world.main(DUE + 2 * HOUR)
    assert sorted(set(judged)) == [END + HOUR, END + 2 * HOUR]
    assert later.recent == [False, True, False]
    judged.clear()
    # Of a long absence as many as count.
    world.rounds = None
    world.main(DUE + 9 * HOUR)
    assert sorted(set(judged)) == [END + n * HOUR for n in (7, 8, 9)]


def test_another_question_begins_anew(world: World) -> None:
    world.capture(same(ids(30), 1))
    world.label(same(ids(30), 0))
    assert world.main().recent == [True]
    world.asks("0")
    assert world.main().recent == [False]
    (world.root / "ep/_quality/answers.json").write_text("{")
    world.rounds = None
    assert world.main().recent == [False]


BASELINE = {"metric": "accuracy", "by": "0.1"}


def test_each_version_is_compared_with_what_it_reached(world: World) -> None:
    world.asks(None, worseThanBaseline=BASELINE)
    world.reached(m_v1={"accuracy": "0.9"}, m_v2={"accuracy": "0.7"})
    names_ = [*ids(80, "a"), *ids(80, "b")]
    for version, prefix in (("m-v1", "a"), ("m-v2", "b")):
        world.capture(same(ids(80, prefix), 1), revision=f"r-{version}", version=version)
    # 65 % are right.
    world.label({one: int(int(one[1:]) < 52) for one in names_})
    found = world.turn()
    old, new = found["main", "r-m-v1"], found["main", "r-m-v2"]
    assert old.recent == [True]
    assert [(one.check, one.threshold) for one in old.violations] == [("Accuracy", "0.8")]
    assert (new.state, new.recent) == (MonitorState.OK, [False])


def test_an_error_may_be_larger_than_it_was(world: World) -> None:
    world.asks(None, metric="MAE", worseThanBaseline={"metric": "mae", "by": "1.5"})
    world.reached(m_v1={"mae": "2"})
    world.capture(same(ids(40), 10.0), version="m-v1")
    world.label({one: 10 + 3 * (1 - 2 * (place % 2)) for place, one in enumerate(ids(40))})
    assert world.main().recent == [False]
    world.asks(None, metric="MAE", worseThanBaseline={"metric": "mae", "by": "0.5"})
    found = world.main()
    assert (found.recent, found.violations[0].threshold) == ([True], "2.5")


@pytest.mark.parametrize("metrics", [{}, {"accuracy": "93"}, {"accuracy": "nan"}, {"loss": "0.1"}])
def test_a_version_without_such_a_metric_is_not_called_well(
    world: World, metrics: dict[str, str]
) -> None:
    world.asks(None, worseThanBaseline=BASELINE)
    world.reached(m_v1=metrics)
    world.capture(same(ids(40), 1), version="m-v1")
    world.label(same(ids(40), 1))
    found = world.main()
    assert (found.state, found.reason) == (MonitorState.UNKNOWN, "NoBaselineMetric")
    assert "ModelVersion 'm-v1' has no metric accuracy" in found.message


def test_a_window_waits_for_what_versions_reached(world: World) -> None:
    world.asks(None, worseThanBaseline=BASELINE)
    world.capture(same(ids(40), 1), version="m-v1")
    world.label(same(ids(40), 1))
    assert {one.reason for one in world.turn().values()} == {"BaselineUnreadable"}
    world.reached(m_v1={"accuracy": "0.9"})
    assert world.main().state is MonitorState.OK


def test_the_monitor_finds_a_whole_report(world: World, tmp_path: Path) -> None:
    world.capture(same(ids(30), 1))
    world.label(same(ids(30), 1))
    tell(tmp_path, "u", list(world.turn().values()), DUE)
    report = QualityReport.model_validate_json((tmp_path / "report.json").read_text())
    assert report.time == DUE
    assert {one.revision for one in report.verdicts} == {"r1", ""}
    assert not (tmp_path / "report.json.new").exists()


def test_the_container_goes_on_until_it_is_told_to_stop(world: World, tmp_path: Path) -> None:
    world.capture(same(ids(30), 1))
    end = datetime.now(UTC)
    env = {
        **os.environ, names.ENV_QUALITY: json.dumps(world.config.wire()),
        names.ENV_QUALITY_DIR: str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, "-m", "loopwright.serving.quality"]
    process = subprocess.Popen(command, env=env)
    try:
        eventually("a report", (tmp_path / "report.json").exists)
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    report = QualityReport.model_validate_json((tmp_path / "report.json").read_text())
    assert report.time >= end
    assert {one.reason for one in report.verdicts} == {"NoRequests"}
    wrong = subprocess.run(command, env={**env, names.ENV_QUALITY: "{}"}, check=False)
    assert wrong.returncode == 2
