"""Schedulers decide after a driver was lost as they would have before."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sweeps import DONE, NOW, spec

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.runtime.tune import schedulers
from loopwright.runtime.tune.schedulers import STEP, VALUE, StandIn
from loopwright.runtime.tune.space import Space
from loopwright.runtime.tune.study import Outcome, Study

STOPPED = Outcome(TrialState.EARLY_STOPPED)
EARLY = [
    {"kind": "Asha", "maxSteps": 27, "eta": 3},
    {"kind": "MedianStop", "graceSteps": 2, "minTrials": 3},
]


def made(wanted: HyperparameterSweepSpec) -> Any:
    """The scheduler of a sweep."""
    return schedulers.scheduler(wanted, Space(wanted.parameters), 1)


class Field:
    """Trials one after the other, as a scheduler and a study see them."""

    def __init__(self, wanted: HyperparameterSweepSpec) -> None:
        self.spec, self.study, self.scheduler = wanted, Study("s", wanted), made(wanted)

    def lost(self) -> None:
        """The driver is lost; its successor has the study only."""
        self.study = Study("s", self.spec, self.study.records.values())
        self.scheduler = made(self.spec)
        schedulers.replay(self.spec, self.scheduler, self.study.records.values())

    def run(self, quality: float) -> int:
        """A trial whose loss falls to `quality`; returns the step that it came to."""
        number = self.study.next_number()
        assert number is not None
        self.study.begin(number, {"x": "0.5"}, NOW)
        trial = StandIn(f"t{number}")
        self.scheduler.on_trial_add(None, trial)
        result: dict[str, Any] = {}
        outcome = DONE
        for step in range(1, 28):
            loss = quality + 1 / step
            self.study.report(number, step, {"loss": loss})
            result = {STEP: step, VALUE: loss}
            if self.scheduler.on_trial_result(None, trial, result) == "STOP":
                outcome = STOPPED
                break
        self.scheduler.on_trial_complete(None, trial, result)
        self.study.end(number, outcome, NOW, 1)
        return step


QUALITIES = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.05, 0.8, 0.4, 0.6, 0.02, 0.9]


@pytest.mark.parametrize("early", EARLY, ids=lambda one: one["kind"])
@pytest.mark.parametrize("at", [3, 7])
def test_a_lost_driver_changes_no_decision(early: dict[str, Any], at: int) -> None:
    wanted = spec(earlyStopping=early)
    undisturbed, disturbed = Field(wanted), Field(wanted)
    expected = [undisturbed.run(quality) for quality in QUALITIES]
    found = []
    for index, quality in enumerate(QUALITIES):
        if index == at:
            disturbed.lost()
        found.append(disturbed.run(quality))
    assert found == expected
    assert len(set(expected)) > 1


def test_a_trial_on_its_last_step_is_let_end() -> None:
    """Even the worst of all that came so far: else it could not save its model."""
    field = Field(spec(earlyStopping=EARLY[0]))
    assert [field.run(quality) for quality in (0.5, 0.4, 0.3)] == [27] * 3
    trial = StandIn("late")
    field.scheduler.on_trial_add(None, trial)
    results = [{STEP: step, VALUE: 0.01 if step < 27 else 9.0} for step in range(1, 28)]
    decided = {field.scheduler.on_trial_result(None, trial, one) for one in results}
    assert decided == {"CONTINUE"}
    field.scheduler.on_trial_complete(None, trial, results[-1])


@pytest.mark.parametrize("early", EARLY, ids=lambda one: one["kind"])
def test_a_second_without_a_report_decides_nothing(early: dict[str, Any]) -> None:
    scheduler = made(spec(earlyStopping=early))
    trial = StandIn("t1")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {}) == "CONTINUE"
    scheduler.on_trial_complete(None, trial, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("direction", ["Minimize", "Maximize"])
def test_what_is_no_number_is_the_worst(value: float, direction: str) -> None:
    wanted = spec(objectives=[{"metric": "loss", "direction": direction}])
    found = schedulers.measured(wanted, {"loss": value})
    assert found is not None
    assert (found > 1e20) is (direction == "Minimize")
    assert schedulers.measured(wanted, {"other": 1.0}) is None


def test_a_trial_that_diverges_is_stopped() -> None:
    wanted = spec(earlyStopping=EARLY[0])
    field = Field(wanted)
    for _ in range(3):
        field.run(0.5)
    trial = StandIn("bad")
    field.scheduler.on_trial_add(None, trial)
    worst = schedulers.measured(wanted, {"loss": math.nan})
    assert field.scheduler.on_trial_result(None, trial, {STEP: 1, VALUE: worst}) == "STOP"


@pytest.mark.parametrize(
    ("more", "waits"),
    [({}, False), ({"earlyStopping": EARLY[0]}, True), ({"earlyStopping": EARLY[1]}, True)],
)
def test_reports_wait_where_something_is_decided(more: dict[str, Any], waits: bool) -> None:
    assert schedulers.waits(spec(**more)) is waits
    assert schedulers.waits(spec("pbt"))
