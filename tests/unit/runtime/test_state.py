"""What messages of the training code make of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loopwright.api.report import MAX_CURVES, MAX_POINTS, Report, RunState
from loopwright.api.trainingjob_status import MetricValue, Progress
from loopwright.runtime import console, state
from loopwright.runtime.mailbox import bounded
from loopwright.runtime.state import MAX_METRICS, RunProgress, fewer


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Nothing goes to the log of this container."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_container", lambda: None)
        yield


def told(*messages: Any) -> Report:
    """The report after these messages, as the operator reads it."""
    progress = RunProgress(2)
    for message in messages:
        progress.receive(message)
    return Report.model_validate_json(bounded(progress.report(RunState.RUNNING), fewer))


def measured(*values: float, name: str = "loss") -> MetricValue:
    """A metric after these values."""
    messages = [
        {"type": "report", "metrics": {name: value}, "step": step}
        for step, value in enumerate(values)
    ]
    [metric] = told(*messages).metrics
    return metric


def progress_of(report: Report) -> Progress:
    """Its progress, which must be there."""
    assert report.progress is not None
    return report.progress


def test_an_empty_run() -> None:
    report = told()
    assert (report.attempt, report.state, report.version) == (2, RunState.RUNNING, 1)
    assert report.metrics == []
    assert report.progress is None
    assert report.checkpoint is None


def test_a_checkpoint_holds_what_was_trained_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: now))
    progress = RunProgress(1)

    def kept(seconds: float, **message: Any) -> int:
        nonlocal now
        now += seconds
        progress.receive(message)
        return progress.report(RunState.RUNNING).kept_seconds

    stored = {"type": "checkpoint", "uri": "s3://b/c", "step": 1}
    now += 50
    progress.begins()
    # Data is read first, which the next attempt does as well.
    assert kept(200, type="input", name="x", uri="s3://b/x") == 0
    assert kept(30, type="validation", name="x", passed=True) == 0
    assert kept(10, type="report", step=1) == 0
    assert kept(20.9, **stored) == 30
    # What is trained after it is in none.
    assert kept(15, type="report", step=2) == 30
    assert kept(5, **stored) == 50
    assert kept(1, type="checkpoint", uri="no step") == 50
    assert RunProgress(2).report(RunState.STARTING).kept_seconds == 0


def test_each_start_of_the_driver_has_its_own_id() -> None:
    progress = RunProgress(1)
    first = progress.report(RunState.STARTING)
    assert progress.report(RunState.RUNNING).run_id == first.run_id
    assert RunProgress(1).report(RunState.STARTING).run_id != first.run_id


def test_a_metric_keeps_its_range() -> None:
    assert measured(0.5, 0.125, 0.25) == MetricValue(
        name="loss", value="0.25", step=2, min="0.125", max="0.5"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(1 / 3, "0.333333"), (1e-9, "1e-09"), (2.0, "2"), (1e300, "1e+300")]
)
def test_numbers_are_text_of_six_digits(value: float, text: str) -> None:
    assert measured(value).value == text


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf")])
def test_what_is_no_number_is_told_but_has_no_range(value: float, text: str) -> None:
    assert measured(value) == MetricValue(name="loss", value=text, step=0)
    assert measured(1.0, value) == MetricValue(name="loss", value=text, step=1, min="1", max="1")
    assert measured(value, 1.0).min == "1"


def test_metrics_beyond_the_limit_are_dropped() -> None:
    names = [f"m{index}" for index in range(MAX_METRICS + 10)]
    report = told(
        {"type": "report", "metrics": dict.fromkeys(names, 1)},
        {"type": "report", "metrics": {"m0": 2, "late": 1}},
    )
    assert [metric.name for metric in report.metrics] == names[:MAX_METRICS]
    assert report.metrics[0].value == "2"


@pytest.mark.parametrize(
    ("step", "total", "percent"),
    [(0, 200, 0), (1, 200, 0), (50, 200, 25), (199, 200, 99), (200, 200, 100), (300, 200, 100)],
)
def test_percent(step: int, total: int, percent: int) -> None:
    report = told({"type": "report", "metrics": {}, "step": step, "total_steps": total, "epoch": 3})
    found = progress_of(report)
    assert (found.percent, found.step, found.total_steps) == (percent, step, total)
    assert found.epoch == 3


@pytest.mark.parametrize(
    "message", [{"step": 4}, {"total_steps": 9}, {"step": 4, "total_steps": 0}]
)
def test_without_a_total_there_is_no_percent(message: dict[str, int]) -> None:
    found = progress_of(told({"type": "report", **message}))
    assert (found.percent, found.eta_seconds) == (None, None)
    assert found.step == message.get("step")
    assert found.updated_at is not None


def etas(monkeypatch: pytest.MonkeyPatch, *seen: tuple[float, int]) -> list[int | None]:
    """Estimates after steps reported at these times, of 100 in all."""
    progress, now = RunProgress(1), [0.0]
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = []
    for now[0], step in seen:
        progress.receive({"type": "report", "step": step, "total_steps": 100})
        found.append(progress_of(progress.report(RunState.RUNNING)).eta_seconds)
    return found


def test_the_time_left_follows_the_pace_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run continues at step 40; the steps before were another attempt's."""
    assert etas(monkeypatch, (1000, 40), (1000, 40), (1020, 50), (1030, 70)) == [
        None,
        None,
        100,
        30,
    ]


def test_starting_over_starts_the_pace_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert etas(monkeypatch, (0, 50), (10, 60), (500, 5), (505, 10)) == [None, 40, None, 90]


def test_at_the_end_no_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert etas(monkeypatch, (0, 0), (10, 100)) == [None, 0]


def test_time_left_is_never_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    assert etas(monkeypatch, (0, 0), (10, 150))[1] in (None, 0)


def test_time_left_fits_into_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, now = RunProgress(1), [0.0]
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for now[0], step in ((0.0, 0), (1e5, 1)):
        progress.receive({"type": "report", "step": step, "total_steps": 2**62})
    found = progress_of(progress.report(RunState.RUNNING)).eta_seconds
    assert found is None or found < 2**63


def test_checkpoints_are_counted() -> None:
    report = told(
        {"type": "checkpoint", "uri": "s3://b/step-1", "step": 1},
        {"type": "checkpoint", "uri": "s3://b/step-2", "step": 2},
    )
    assert report.checkpoint is not None
    assert (report.checkpoint.uri, report.checkpoint.step) == ("s3://b/step-2", 2)
    assert report.checkpoint.count == 2


def test_an_input_is_noted_once() -> None:
    """Each pod tells about it."""
    message = {"type": "input", "name": "a", "uri": "s3://b/a", "digest": "sha256:0", "size": 4}
    [one] = told(message, {**message, "size": 5}).inputs
    assert (one.name, one.uri, one.size) == ("a", "s3://b/a", 4)


GOOD = {"type": "report", "metrics": {"loss": 1}, "step": 1}


@pytest.mark.parametrize(
    "message",
    [
        None, [], "report", 4, {}, {"type": "unknown"}, {"type": ["report"]},
        {"type": "report", "metrics": {"loss": "much"}},
        {"type": "report", "metrics": {"loss": None}},
        {"type": "report", "metrics": {"loss": [1]}},
        {"type": "report", "metrics": {"9 bad name": 1}},
        {"type": "report", "metrics": {"x" * 65: 1}},
        {"type": "report", "metrics": {}, "step": "two"},
        {"type": "report", "metrics": {}, "step": 1.5},
        {"type": "report", "step": 1, "total_steps": "ten"},
        {"type": "checkpoint"}, {"type": "checkpoint", "uri": 4, "step": 1},
        {"type": "checkpoint", "uri": "x" * 3000, "step": 1},
        {"type": "input", "name": "a"}, {"type": "input", "name": ["a"], "uri": "u"},
    ],
)  # fmt: skip
def test_a_message_that_makes_no_sense_changes_nothing(message: Any) -> None:
    before, after = told(GOOD), told(GOOD, message)
    for field in ("metrics", "checkpoint", "inputs"):
        assert getattr(after, field) == getattr(before, field)
    assert progress_of(after).step == 1


BREAKING = [
    {"type": "report", "metrics": None},
    {"type": "report", "metrics": [1]},
    {"type": "report", "metrics": {"loss": 10**400}},
    {"type": "report", "metrics": {}, "step": math.inf, "total_steps": 4},
    {"type": "report", "metrics": {}, "step": 10**400, "total_steps": 4},
]


@pytest.mark.parametrize("message", BREAKING, ids=["none", "list", "int", "inf", "step"])
def test_nor_does_it_end_the_driver(message: Any) -> None:
    assert told(GOOD, message).metrics == told(GOOD).metrics


def test_too_many_inputs_do_not_break_the_report() -> None:
    messages = [{"type": "input", "name": f"i{index}", "uri": "u"} for index in range(25)]
    assert len(told(*messages).inputs) == 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
keys = ("metrics", "step", "total_steps", "epoch", "uri", "name", "digest", "size")
messages = json_values | st.fixed_dictionaries(
    {"type": st.sampled_from(["report", "checkpoint", "input"])},
    optional=dict.fromkeys(keys, json_values | st.sampled_from([10**400, {"a": 10**400}])),
)
steps = st.none() | st.integers(-(2**62), 2**62)
sensible = st.fixed_dictionaries(
    {"type": st.just("report"), "metrics": st.dictionaries(st.text(max_size=70), st.floats())},
    optional={"step": steps, "total_steps": steps, "epoch": steps},
)


@settings(derandomize=True, deadline=None, max_examples=60)
@example({"type": "report", "metrics": None})
@given(messages)
def test_any_json_leaves_a_report_that_can_be_read(message: Any) -> None:
    told(GOOD, message, GOOD)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(sensible, max_size=4))
def test_reports_of_any_numbers_can_be_read(sent: list[Any]) -> None:
    report = told(*sent)
    found = report.progress.model_dump() if report.progress else {}
    assert all(abs(n) < 2**63 for n in found.values() if isinstance(n, int))
    for metric in report.metrics:
        if metric.min is not None and metric.max is not None:
            assert float(metric.min) <= float(metric.max)
    if report.progress is not None and report.progress.percent is not None:
        assert 0 <= report.progress.percent <= 100


def curve_of(*values: float, **more: Any) -> Any:
    """The curve of a metric after these values."""
    messages = [
        {"type": "report", "metrics": {"loss": value}, "step": 10 * place, **more}
        for place, value in enumerate(values)
    ]
    return next(iter(told(*messages).curves), None)


def test_a_metric_has_a_curve() -> None:
    found = curve_of(2.0, math.nan, 1.0, math.inf, 0.1234567)
    assert (found.name, found.steps, found.values) == ("loss", [0, 20, 40], [2.0, 1.0, 0.12346])
    assert curve_of(math.nan) is None or curve_of(math.nan).values == []
    assert curve_of(1.0, 2.0, step=None).steps == [0, 1]


@pytest.mark.parametrize("count", [1, MAX_POINTS - 1, MAX_POINTS, 1000, 4097])
def test_a_long_curve_loses_points_but_neither_end(count: int) -> None:
    found = curve_of(*map(float, range(count)))
    assert len(found.steps) == len(found.values) <= MAX_POINTS
    assert found.values[0] == 0
    assert found.steps[-1] == 10 * (count - 1)
    gaps = {b - a for a, b in pairwise(found.steps[:-1])}
    assert len(gaps) <= 1, "they are evenly spaced, but for the newest"


def test_curves_go_first_when_the_mailbox_is_full() -> None:
    messages = [
        {"type": "report", "metrics": {f"m{n}": 1.0 for n in range(8)}, "step": step}
        for step in range(100)
    ]
    report = told(*messages)
    assert len(report.curves) == MAX_CURVES
    less = fewer(report)
    assert less is not None
    assert (len(less.curves), less.metrics) == (MAX_CURVES // 2, report.metrics)
