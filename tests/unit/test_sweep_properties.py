"""Random lives of a sweep: whatever happens, and whatever people change, it keeps its promises."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sweep_worlds import SweepWorld
from worlds import check_again, error, live, settled, starts

from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus, StopReason
from loopwright.api.trainingjob_status import Phase
from loopwright.decide.summary import running
from loopwright.decide.sweep import SweepRun

DEPLOYMENTS = st.sampled_from(
    ["Initializing", "Running/RUNNING", "Complete/SUCCEEDED", "Failed/FAILED", "ValidationFailed"]
).map(lambda words: words.split("/"))
REASONS = st.sampled_from([None, *(reason.value for reason in StopReason)])
BEST = {"name": "t1", "value": "0.5", "metrics": {"loss": "0.5"}}


def told(status: HyperparameterSweepStatus) -> int:
    """How many trials at once the newest attempt is made for."""
    assert status.limits is not None
    return status.limits.parallel_trials


class SweepLives(RuleBasedStateMachine):
    """Anything happens to a sweep, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = SweepWorld(maxTrials=6, runPolicy={"maxRuntimeSeconds": 3600})

    @rule(seconds=st.sampled_from([0.0, 1.0, 15.0, 61.0, 4000.0]))
    def operator_looks(self, seconds: float) -> None:
        before = self.world.status
        self.world.now += timedelta(seconds=seconds)
        decision = self.world.decide()
        after = self.world.status = decision.status
        self.world.act(decision)
        if settled(decision):
            check_again(decision, self.world.decide())
        assert HyperparameterSweepStatus.model_validate(after.wire()) == after
        assert len(live(self.world.rayjobs)) <= 1
        if starts(decision):
            assert SweepRun(self.world.spec).asked(after).parallel_trials == told(after)
            if after.attempt != before.attempt:
                assert told(after) == self.world.spec.parallel_trials
                assert after.limits.max_trials == self.world.spec.max_trials
                assert after.stop_reason is None
        if before.completion_time is not None:
            assert (after.phase, after.best) == (before.phase, before.best)
        if after.phase is Phase.SUCCEEDED:
            ends = {"GoalReached", "Exhausted", "BudgetExceeded"}
            true = {one.type for one in after.conditions if one.status == "True"}
            assert len(true & ends) == (after.stop_reason not in (None, "TooManyFailures"))

    @rule()
    def operator_dies_before_it_acts(self) -> None:
        decision = self.world.decide()
        self.world.status = decision.status
        if decision.requeue != 0:
            again = self.world.decide()
            assert again.status == decision.status
            # Whoever is told of a change meanwhile makes the same attempt, or none.
            assert again.actions == decision.actions

    @rule(words=DEPLOYMENTS)
    @precondition(lambda self: bool(self.world.rayjobs))
    def kuberay_speaks(self, words: list[str]) -> None:
        self.world.kuberay(max(self.world.rayjobs), *words)

    @rule(state=st.sampled_from(["Running", "Succeeded", "Failed", "Stopped"]), why=REASONS)
    @precondition(lambda self: self.world.status.attempt > 0)
    def driver_speaks(self, state: str, why: str | None) -> None:
        said: dict[str, Any] = error() if state == "Failed" else {}
        run = f"r{self.world.status.attempt}"
        self.world.driver(self.world.status.attempt, state, run, stopReason=why, best=BEST, **said)

    @rule(number=st.integers(1, 6))
    def person_scales(self, number: int) -> None:
        self.world.change(parallel_trials=number)

    @rule(more=st.integers(1, 5))
    def person_extends(self, more: int) -> None:
        self.world.change(max_trials=self.world.spec.max_trials + more)

    @rule(seconds=st.sampled_from([60, 3600, 7200]))
    def person_limits(self, seconds: int) -> None:
        self.world.limit(seconds)

    @rule(value=st.booleans())
    def person_suspends(self, value: bool) -> None:
        self.world.suspend(value)

    def teardown(self) -> None:
        """Once nobody changes anything any more the sweep comes to rest, and holds nothing."""
        for _ in range(20):
            self.world.respond()
            self.operator_looks(self.world.decide().requeue or 1.0)
        status = self.world.status
        assert status.completion_time is not None or status.phase is Phase.SUSPENDED
        assert running(status) is None
        assert not live(self.world.rayjobs)


TestSweepLives = SweepLives.TestCase
TestSweepLives.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, derandomize=True, database=None
)
