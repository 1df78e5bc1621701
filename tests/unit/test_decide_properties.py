"""Random lives of a job: whatever happens around it, what is decided keeps its promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from worlds import World, check_again, error, live, settled, starts

from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Cause, Phase, TrainingCost, TrainingJobStatus
from loopwright.decide import register
from loopwright.decide.outcome import remaining
from loopwright.decide.summary import running
from loopwright.decide.types import Blocked, Decision, Observed


def some(**values: Sequence[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of which each field has one of these values."""
    return st.fixed_dictionaries({name: st.sampled_from(values[name]) for name in values})


MISSING = Blocked("OutputMissing", "create the job anew", permanent=True)
BLOCKED = st.sampled_from([None, Blocked("SecretNotFound", "create it"), MISSING])
DEPLOYMENTS = st.sampled_from(
    "Initializing Suspended Running Running/RUNNING Complete/SUCCEEDED Complete/STOPPED Failed "
    "Failed/FAILED/AppFailed Failed//DeadlineExceeded ValidationFailed".split()
).map(lambda words: words.split("/"))
STATES = st.sampled_from(["Starting", "Running", "Succeeded", "Failed", "Stopped"])
RUNS = st.sampled_from(["r", "again", "third"])
ERRORS = some(cause=["Application", "Infrastructure"], code=[None, 1, 3])
DETAILS = {
    "progress": {"percent": 5, "updatedAt": "2026-01-01T00:00:00.123Z"},
    "metrics": [{"name": "b", "value": "1"}, {"name": "loss", "value": "0.1"}],
    "inputs": [{"name": "data", "uri": "s3://b/d", "size": 7}],
}
RETRIES = some(
    maxApplicationFailures=range(4),
    maxInfrastructureFailures=range(4),
    backoffSeconds=[0, 1, 10],
    nonRetriableExitCodes=[[], [3]],
)
POLICIES = some(
    maxRuntimeSeconds=[60, 3600],
    maxPendingSeconds=[None, 60],
    ttlSecondsAfterFinished=[None, 1, 100],
)
MODEL = {"modelUri": "s3://b/o/model", "format": "onnx", "digest": "sha256:" + "0" * 64}
DETAILS |= {"artifacts": MODEL, "keptSeconds": 20}
REGISTERS = st.sampled_from(
    [None, {"model": "m"}, {"model": "m", "requireMetrics": [{"metric": "auc", "min": "0"}]}]
)
QUEUES = st.sampled_from([None, "team"])
SPOTS = st.sampled_from([{}, {"spot": {"enabled": True}, "checkpoint": {}}])
INDEX = st.integers(0, 9)


def check_decision(spec: TrainingJobSpec, decision: Decision[TrainingJobStatus]) -> None:
    status, requeue = decision.status, decision.requeue
    at_once = status.retry_time is not None and spec.retry.backoff_seconds == 0
    assert requeue is None or requeue > 0 or (requeue == 0 and at_once)
    assert type(status).model_validate(status.wire()) == status
    numbers = [attempt.number for attempt in status.attempts]
    assert numbers == list(range(status.attempt - len(numbers) + 1, status.attempt + 1))
    assert all(attempt.end_time is not None for attempt in status.attempts[:-1])
    assert starts(decision) in ([], [status.attempt])
    assert not starts(decision) or running(status) == status.attempts[-1]
    assert running(status) is None or remaining(spec, status) > 0
    assert status.phase is Phase.RETRYING or status.retry_time is None
    assert status.failures.application <= spec.retry.max_application_failures + 1
    assert status.failures.infrastructure <= spec.retry.max_infrastructure_failures + 1
    assert set(Counter(condition.type for condition in status.conditions).values()) == {1}
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    assert ("Ready" in true) == (status.phase is Phase.SUCCEEDED)
    assert len(true & {"Ready", "Stalled", "Reconciling"}) <= 1


def check_change(
    before: TrainingJobStatus, seen: Observed, decision: Decision[TrainingJobStatus]
) -> None:
    after = decision.status
    if before.completion_time is not None:
        assert but_for_the_model(after) == but_for_the_model(before)
        assert not starts(decision)
    assert (after.phase in (Phase.SUCCEEDED, Phase.FAILED)) == (after.completion_time is not None)
    if after.attempt != before.attempt:
        assert after.attempt == before.attempt + 1
        # One that makes way for another ends as the other begins.
        made_way = len(after.attempts) > 1 and after.attempts[-2].cause is Cause.SUSPENDED
        assert running(before) is None or made_way
    if starts(decision):
        others = [view for view in seen.rayjobs.values() if view.attempt != after.attempt]
        assert all(view.terminal for view in others)
    assert before.failures.application <= after.failures.application
    assert before.failures.infrastructure <= after.failures.infrastructure
    assert before.used_runtime_seconds <= after.used_runtime_seconds
    assert before.cost.billable_seconds <= after.cost.billable_seconds
    if isinstance(after.cost, TrainingCost):  # Batches live here too.
        check_saved(before, after)


def check_saved(before: TrainingJobStatus, after: TrainingJobStatus) -> None:
    """What checkpoints saved is counted as an attempt ends that another may follow, and is real."""
    saved = after.cost.spot_saved_seconds or 0
    more = saved - (before.cost.spot_saved_seconds or 0)
    assert 0 <= saved <= after.cost.billable_seconds
    assert more >= 0
    if more:
        lost = after.attempts[-1]
        assert (lost.spot, lost.cause) == (True, Cause.INFRASTRUCTURE)
        assert running(before) is not None
        assert lost.end_time is not None
        assert after.completion_time is None
        assert more <= after.cost.billable_seconds - before.cost.billable_seconds


def but_for_the_model(status: TrainingJobStatus) -> TrainingJobStatus:
    """A status without what it says of the registry, which comes after the end."""
    rest = [one for one in status.conditions if one.type != register.CONDITION]
    return status.model_copy(update={"conditions": rest, "model_version": None})


class Lives(RuleBasedStateMachine):
    """Anything happens to a job, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.history = [self.world.seen()]

    @initialize(
        retry=RETRIES, policy=POLICIES, queue=QUEUES, registers=REGISTERS, spot=SPOTS,
        finalizers=st.booleans(),
    )  # fmt: skip
    def begin(
        self, retry: Any, policy: Any, queue: str | None, registers: Any, spot: Any,
        finalizers: bool,
    ) -> None:  # fmt: skip
        self.world = World(
            retry=retry, runPolicy=policy, scheduling={"queue": queue}, register=registers, **spot
        )
        self.world.finalizers = finalizers

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 15.0, 61.0, 4000.0]))
    def operator_looks(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)
        decision = self._decide(self.world.seen())
        self.world.act(decision)
        if settled(decision):
            check_again(decision, self.world.decide())
        assert not (self.world.deleted and self.world.pending())
        assert len(live(self.world.rayjobs)) <= 1 or self.world.deleted
        if decision.requeue is None and not self.world.deleted:
            rests = decision.status.completion_time or decision.status.phase is Phase.SUSPENDED
            current = self.world.rayjobs.get(decision.status.attempt)
            wakes = current is not None and (current.deleting or not current.terminal)
            assert not live(self.world.rayjobs) if rests else wakes

    @rule()
    def operator_looks_when_it_wanted_to(self) -> None:
        self.operator_looks(self.world.decide().requeue or 1.0)

    @rule()
    def operator_dies_before_it_acts(self) -> None:
        decision = self._decide(self.world.seen())
        again = self.world.decide()
        if decision.requeue != 0:
            assert (again.status, again.actions) == (decision.status, decision.actions)

    @rule(age=st.integers(1, 4))
    def operator_looks_with_a_stale_cache(self, age: int) -> None:
        self.world.act(self._decide(self.history[-min(age, len(self.history))]))

    def _decide(self, seen: Observed) -> Decision[TrainingJobStatus]:
        before, decision = self.world.status, self.world.decide(seen)
        self.history.append(self.world.seen())
        check_decision(self.world.spec, decision)
        check_change(before, seen, decision)
        self.world.status = decision.status
        return decision

    def _pick(self, index: int) -> int:
        return sorted(self.world.rayjobs, reverse=True)[index % len(self.world.rayjobs)]

    @rule(index=INDEX, words=DEPLOYMENTS, message=st.sampled_from(["", "x" * 3000]))
    @precondition(lambda self: bool(self.world.rayjobs))
    def kuberay_speaks(self, index: int, words: list[str], message: str) -> None:
        self.world.kuberay(self._pick(index), *words, message=message)

    @rule(index=INDEX, how=st.sampled_from(["vanishes", "deleting", "replaced"]))
    @precondition(lambda self: bool(self.world.rayjobs))
    def rayjob_is_taken(self, index: int, how: str) -> None:
        number = self._pick(index)
        self.world.take(number, deleting=how == "deleting")
        if how == "replaced":
            self.world.create(number)

    @rule(index=INDEX)
    @precondition(lambda self: self.world.status.attempt > 0)
    def rayjob_comes_back(self, index: int) -> None:
        number = 1 + index % self.world.status.attempt
        if number not in self.world.rayjobs:
            self.world.create(number)

    @rule(ago=st.integers(0, 2), state=STATES, run=RUNS, why=ERRORS, more=st.booleans())
    @precondition(lambda self: self.world.status.attempt > 0)
    def driver_speaks(self, ago: int, state: str, run: str, why: Any, more: bool) -> None:
        said = error(**why) if state == "Failed" else {}
        number = max(1, self.world.status.attempt - ago)
        self.world.driver(number, state, run, **said, **(DETAILS if more else {}))

    @rule(seconds=st.sampled_from([0.4, 15.0]), kept=st.sampled_from([10, 0, 10**6]))
    @precondition(lambda self: self.world.status.attempt in self.world.rayjobs)
    def node_is_taken(self, seconds: float, kept: int) -> None:
        number = self.world.status.attempt
        self.world.kuberay(number, "Running", "RUNNING")
        self.operator_looks(1.0)
        self.world.driver(number, "Stopped", keptSeconds=kept)
        self.operator_looks(seconds)

    @rule(problem=st.sampled_from([None, "not JSON"]))
    def mailbox_is_spoilt(self, problem: str | None) -> None:
        self.world.report, self.world.problem = None, problem

    @rule(blocked=BLOCKED)
    def something_is_missing(self, blocked: Blocked | None) -> None:
        self.world.blocked = blocked

    @rule(value=st.booleans())
    def person_suspends(self, value: bool) -> None:
        self.world.suspend(value)

    def teardown(self) -> None:
        """Once nothing fails any more the job comes to rest, and holds nothing."""
        self.world.blocked = self.world.problem = None
        for _ in range(20):
            self.world.respond()
            self.operator_looks_when_it_wanted_to()
        ended = self.world.status.completion_time is not None
        assert ended or self.world.status.phase is Phase.SUSPENDED
        assert self.world.deleted or not live(self.world.rayjobs)
        assert not self.world.pending()
        # Once, unless nobody knows that it was made.
        assert len(set(self.world.versions)) <= 1


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
