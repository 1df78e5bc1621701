"""Verdicts on trials, the best of them, and when a sweep ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sweeps import DONE, NOW, loss, play, spec, trial

from loopwright.api.hyperparametersweep_status import StopReason, TrialState
from loopwright.api.sweep_history import MAX_POINTS, dominates, lines, parse
from loopwright.api.sweep_report import SweepReport, fewer
from loopwright.api.trainingjob_status import Artifacts
from loopwright.runtime.mailbox import bounded
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import MAX_LOSSES, Outcome, Study, shown

FAILED = Outcome(TrialState.FAILED, "TrainingFailed", "exit code 1")
STOPPED = Outcome(TrialState.EARLY_STOPPED)
SILENT = Outcome(TrialState.METRICS_UNAVAILABLE, "NoReport", "it reported nothing for 3 s")


def study(**more: Any) -> Study:
    """A study of up to 20 trials."""
    return Study("s", spec(**more))


def test_trials_are_counted_up_to_the_limit() -> None:
    one = study(maxTrials=3)
    play(one, Proposals(spec(maxTrials=3), 1))
    assert one.next_number() is None
    assert one.stop_reason is StopReason.MAX_TRIALS
    assert (one.counts.total, one.counts.succeeded, one.counts.finished) == (3, 3, "3/3")


def test_the_limit_may_be_raised() -> None:
    before = study(maxTrials=3)
    play(before, Proposals(spec(maxTrials=3), 1))
    after = Study("s", spec(maxTrials=5), before.records.values())
    assert after.stop_reason is None
    assert after.next_number() == 4


def test_a_grid_may_end_before() -> None:
    few = {"algorithm": {"grid": {}}, "parameters": [{"name": "x", "int": {"min": 1, "max": 2}}]}
    one = study(**few)
    proposals = Proposals(spec(**few), 1)
    for number in (1, 2):
        parameters = proposals.ask(number)
        assert parameters is not None
        trial(one, 1.0)
    assert one.next_number() == 3
    assert proposals.ask(3) is None
    one.exhausted()
    assert one.stop_reason is StopReason.SPACE_EXHAUSTED


@pytest.mark.parametrize(("strategy", "value"), [("Last", 2.0), ("Min", 1.0), ("Max", 3.0)])
def test_a_strategy_says_what_stands_for_a_trial(strategy: str, value: float) -> None:
    one = study(objectives=[{"metric": "loss", "strategy": strategy}])
    one.begin(1, {}, NOW)
    for step, reported in enumerate([1.0, 3.0, math.nan if strategy != "Last" else 9.0, 2.0]):
        one.report(1, step, {"loss": reported})
    assert one.end(1, DONE, NOW, 1).objectives == {"loss": value}


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_result(last: float) -> None:
    one = study()
    one.begin(1, {}, NOW)
    one.report(1, 1, {"loss": 1.0})
    one.report(1, 2, {"loss": last})
    record = one.end(1, DONE, NOW, 1)
    assert (record.state, record.reason) == (TrialState.METRICS_UNAVAILABLE, "MetricMissing")
    assert one.best is None


@pytest.mark.parametrize(
    ("missing", "failures", "tries"), [("Fail", 1, 1), ("RetryOnce", 1, 2), ("Ignore", 0, 1)]
)
@pytest.mark.parametrize("outcome", [DONE, SILENT])
def test_a_missing_metric_is_judged_as_the_spec_says(
    missing: str, failures: int, tries: int, outcome: Outcome
) -> None:
    one = study(metrics={"missing": missing})
    while one.next_number() == 1:
        one.begin(1, {}, NOW)
        one.report(1, 1, {"other": 1.0})
        record = one.end(1, outcome, NOW, 1)
    assert record.state is TrialState.METRICS_UNAVAILABLE
    assert (len(one.failures()), record.tries) == (failures, tries)


def test_a_retry_outlives_its_driver() -> None:
    wanted = spec(metrics={"missing": "RetryOnce"})
    one = Study("s", wanted)
    one.begin(1, {}, NOW)
    one.end(1, SILENT, NOW, 1)
    again = Study("s", wanted, one.records.values())
    assert again.next_number() == 1
    again.begin(1, {}, NOW)
    assert again.end(1, SILENT, NOW, 1).ended


def test_too_many_failures_end_the_sweep() -> None:
    one = study(maxFailedTrials=1)
    trial(one, 1.0, FAILED)
    assert one.stop_reason is None
    trial(one, 1.0, FAILED)
    assert one.stop_reason is StopReason.TOO_MANY_FAILURES
    assert one.next_number() is None


@pytest.mark.parametrize(("goal_reached", "ended"), [(True, True), (False, False)])
def test_a_goal_ends_the_sweep(goal_reached: bool, ended: bool) -> None:
    one = study(
        objectives=[{"metric": "loss", "goal": "0.5"}], stopWhen={"goalReached": goal_reached}
    )
    trial(one, 0.6)
    assert one.stop_reason is None
    trial(one, 0.5)
    assert (one.stop_reason is StopReason.GOAL_REACHED) is ended


def test_a_trial_that_was_cut_short_reaches_no_goal() -> None:
    """It has left no model."""
    one = study(objectives=[{"metric": "loss", "goal": "0.5"}])
    trial(one, 0.1, STOPPED)
    assert one.stop_reason is None
    assert one.best is None


def test_trials_without_improvement_end_the_sweep() -> None:
    one = study(stopWhen={"noImprovement": {"trials": 3}})
    for value in (5.0, 4.0, 4.0, 6.0):
        trial(one, value)
    assert one.stop_reason is None
    trial(one, 4.5)
    assert one.stop_reason is StopReason.NO_IMPROVEMENT
    assert [record.number for record in one.top(2)] == [2, 3]


def test_a_lost_trial_is_first_to_be_started_again_and_not_for_ever() -> None:
    one = study()
    trial(one, 1.0)
    for loss_number in range(MAX_LOSSES + 1):
        assert one.next_number() == 2
        one.begin(2, {}, NOW)
        record = one.lost(2, "gone", NOW, 1)
        assert record.ended is (loss_number == MAX_LOSSES)
    assert (record.state, record.reason) == (TrialState.FAILED, "WorkerLost")
    assert one.next_number() == 3


def test_what_a_trial_does_again_replaces_its_curve() -> None:
    one = study()
    one.begin(1, {}, NOW)
    for step in (1, 2, 3, 4):
        one.report(1, step, {"loss": 1.0})
    for step in (3, 4):
        one.report(1, step, {"loss": 2.0})
    curve = one.records[1].curve
    assert [(p.step, p.values["loss"]) for p in curve] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_long_curves_are_thinned() -> None:
    one = study()
    one.begin(1, {}, NOW)
    for step in range(5000):
        one.report(1, None, {"loss": float(step)})
    curve = one.records[1].curve
    assert len(curve) <= MAX_POINTS
    assert (curve[-1].step, one.records[1].step) == (5000, 5000)
    assert one.records[1].objectives == {"loss": 4999.0}


def test_the_best_has_run_to_its_end() -> None:
    one = study()
    trial(one, 0.1, STOPPED)
    trial(one, 0.5)
    trial(one, 0.01, FAILED)
    trial(one, 0.7)
    assert one.best is not None
    assert one.best.number == 2
    assert [record.number for record in one.top()] == [2, 4, 1]


def test_several_objectives_make_a_front() -> None:
    both = [{"metric": "loss"}, {"metric": "size", "direction": "Maximize"}]
    wanted = spec("nsga2", objectives=both, maxTrials=30)
    one = Study("s", wanted)
    play(one, Proposals(wanted, 1))
    front = one.pareto()
    rest = [record for record in one.records.values() if record not in front]
    assert front
    assert not any(dominates(a, b) for a in front for b in front)
    assert all(any(dominates(a, b) for a in front) for b in rest)
    assert one.best == front[0]
    assert one.best.losses[0] == min(loss(record.parameters) for record in one.records.values())


def test_models_of_the_best_are_kept() -> None:
    one = study(maxTrials=40)
    model = Artifacts(model_uri="pvc://models/x")
    for number in range(25):
        trial(one, 1.0 / (number + 1), Outcome(TrialState.SUCCEEDED, artifacts=model))
    assert [record.number for record in one.superfluous()] == [1, 2, 3, 4, 5]
    one.forget_model(1)
    assert [record.number for record in one.superfluous()] == [2, 3, 4, 5]


def test_trials_at_work_end_with_the_sweep() -> None:
    one = study()
    trial(one, 1.0)
    one.begin(2, {}, NOW)
    [cut] = one.end_all(StopReason.MAX_RUNTIME, NOW)
    assert (cut.state, cut.reason) == (TrialState.EARLY_STOPPED, "SweepEnded")
    assert one.stop_reason is StopReason.MAX_RUNTIME
    assert not cut.measured
    # With a limit that was raised, they go on.
    after = Study("s", spec(), one.records.values())
    assert (after.stop_reason, after.next_number()) == (None, 2)
    assert after.counts.pending == 1


def test_a_history_is_read_as_it_was_written() -> None:
    one = study(maxTrials=5)
    play(one, Proposals(spec(maxTrials=5), 1))
    text = lines(one.records.values())
    assert parse(text) == list(one.records.values())
    torn = text[: len(text) - 40]
    assert [record.number for record in parse(torn)] == [1, 2, 3, 4]


def test_the_largest_report_fits_into_the_mailbox() -> None:
    wide = {f"p{n:02d}" + "\N{SNOWMAN}" * 60: "\N{SNOWMAN}" * 256 for n in range(100)}
    one = study()
    trial(one, 1.0)
    best = shown(one.records[1].model_copy(update={"parameters": wide}))
    report = SweepReport(
        attempt=1, run_id="r", state="Running", time=NOW, best=best, top_trials=[best] * 20,
        pareto=[best] * 20, trials=one.counts,
    )  # fmt: skip
    text = bounded(report, fewer)
    assert len(text.encode()) <= 64 * 1024
    back = SweepReport.model_validate_json(text)
    assert back.best is not None
    assert (back.best.name, back.trials) == ("t1", one.counts)
