"""Random lives of a batch: what is true of all jobs, and its model stays the one it began with."""

from __future__ import annotations

from typing import Any

from batch_worlds import OUTPUTS, BatchWorld, model, shards
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from test_decide_properties import ERRORS, POLICIES, QUEUES, RETRIES, RUNS, STATES, Lives
from worlds import error

from loopwright.decide.types import Blocked, Decision, Observed

MODELS = st.sampled_from([model("v1"), model("v2"), Blocked("ModelNotApproved", "not approved")])


class BatchLives(Lives):
    """Anything happens to a batch, in any order."""

    world: BatchWorld

    @initialize(
        retry=RETRIES, policy=POLICIES, queue=QUEUES, finalizers=st.booleans(), means=MODELS,
        resumes=st.booleans(),
    )  # fmt: skip
    def begin(
        self, retry: Any, policy: Any, queue: str | None, finalizers: bool, means: Any,
        resumes: bool,
    ) -> None:  # fmt: skip
        self.world = BatchWorld(
            retry=retry, runPolicy=policy, scheduling={"queue": queue}, resume={"enabled": resumes}
        )
        self.world.finalizers, self.world.means = finalizers, means

    def _decide(self, seen: Observed) -> Decision[Any]:
        before = self.world.status
        decision = super()._decide(seen)
        after = decision.status
        assert before.model in (None, after.model)
        # What runs, and on how many pods, is on record before the first RayJob is made.
        assert (after.model is None) == (after.attempt == 0)
        assert (after.attempt_workers is None) == (after.attempt == 0)
        if after.attempt == before.attempt:
            assert after.attempt_workers == before.attempt_workers
        assert after.shards.finished is None or after.shards.total
        return decision

    @rule(means=MODELS)
    def alias_moves(self, means: Any) -> None:
        self.world.means = means

    @rule(workers=st.integers(0, 2))
    def person_scales(self, workers: int) -> None:
        self.world.change(num_workers=workers)

    @rule(
        ago=st.integers(0, 2), state=STATES, run=RUNS, why=ERRORS, done=st.integers(0, 4),
        total=st.sampled_from([0, 4]), failed=st.integers(0, 2),
    )  # fmt: skip
    @precondition(lambda self: self.world.status.attempt > 0)
    def driver_speaks(
        self, ago: int, state: str, run: str, why: Any, done: int, total: int, failed: int
    ) -> None:
        said = error(**why) if state == "Failed" else {}
        if total:
            said |= shards(done, total, failed=min(failed, done))
        if state == "Succeeded":
            said |= {"outputs": OUTPUTS}
        self.world.driver(max(1, self.world.status.attempt - ago), state, run, **said)

    def teardown(self) -> None:
        self.world.means = model("v1")
        super().teardown()


TestBatchLives = BatchLives.TestCase
TestBatchLives.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
