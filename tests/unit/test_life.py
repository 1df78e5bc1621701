"""Whole lives of a job, decided step by step, and nothing decided twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loopwright.api.report import Report
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.decide.summary import refused
from loopwright.decide.trainingjob import decide
from loopwright.decide.types import (
    Blocked,
    DeleteJob,
    DeleteRayJob,
    Observed,
    RayJobView,
    StartAttempt,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A job and its surroundings, with a clock that only the test moves."""

    def __init__(self, **spec: Any) -> None:
        self.spec = TrainingJobSpec.model_validate({"function": "a:b", **spec})
        self.status, self.now = TrainingJobStatus(), START
        self.rayjobs: dict[int, RayJobView] = {}
        self.report: Report | None = None
        self.blocked: Blocked | None = None
        self.problem: str | None = None
        self.actions: tuple[Any, ...] = ()

    def step(self, seconds: float = 1) -> TrainingJobStatus:
        """Decides once, acts, and checks that deciding again would write nothing."""
        self.now += timedelta(seconds=seconds)
        decision = decide(self.spec, self.status, self.seen(), self.now)
        self.status, self.actions = decision.status, decision.actions
        for action in self.actions:
            if isinstance(action, StartAttempt):
                name = f"job-a{action.number}"
                self.rayjobs[action.number] = RayJobView(name, f"u{action.number}", action.number)
            if isinstance(action, DeleteRayJob):
                self.rayjobs = {n: v for n, v in self.rayjobs.items() if v.name != action.name}
        again = decide(self.spec, self.status, self.seen(), self.now)
        assert again.status == self.status
        assert not [a for a in again.actions if isinstance(a, StartAttempt)]
        return self.status

    def seen(self) -> Observed:
        """What there is."""
        return Observed("job", 1, dict(self.rayjobs), self.report, self.blocked, self.problem)

    def kuberay(self, attempt: int, deployment: str, job: str = "", reason: str = "") -> None:
        """KubeRay says something about an attempt."""
        view = self.rayjobs[attempt]
        self.rayjobs[attempt] = RayJobView(
            view.name, view.uid, attempt, deployment, job, reason, cluster=f"c{attempt}"
        )

    def driver(self, attempt: int, state: str, run_id: str = "r", **more: Any) -> None:
        """The driver says something about an attempt."""
        self.report = Report.model_validate(
            {
                "attempt": attempt,
                "runId": f"{run_id}{attempt}",
                "state": state,
                "time": START,
                **more,
            }
        )

    def run(self) -> None:
        """From nothing to a running attempt."""
        self.step()
        self.kuberay(self.status.attempt, "Initializing")
        self.step()
        self.kuberay(self.status.attempt, "Running", "RUNNING")
        self.step()
        assert self.status.phase is Phase.RUNNING


def error(cause: str, code: int | None = None) -> dict[str, Any]:
    return {"error": {"cause": cause, "reason": "Broken", "message": "why", "exitCode": code}}


def condition(status: TrainingJobStatus, name: str) -> tuple[str, str]:
    found = next(c for c in status.conditions if c.type == name)
    return found.status.value, found.reason


def test_success_is_final() -> None:
    world = World()
    world.run()
    world.driver(1, "Succeeded")
    status = world.step()
    assert status.phase is Phase.SUCCEEDED
    assert condition(status, "Ready") == ("True", "Completed")
    assert status.cost.billable_seconds == 1
    world.rayjobs.clear()
    world.report = None
    assert world.step(1000) == status


def test_success_without_a_report() -> None:
    world = World()
    world.run()
    world.kuberay(1, "Complete", "SUCCEEDED")
    assert world.step().phase is Phase.SUCCEEDED


def test_an_attempt_is_recorded_before_anything_is_made() -> None:
    world = World()
    decision = decide(world.spec, world.status, world.seen(), START)
    assert [a.ray_job for a in decision.status.attempts] == ["job-a1"]
    assert decision.actions == (StartAttempt(1),)
    # Killed right here: the next operator makes what was recorded, and no second attempt.
    again = decide(world.spec, decision.status, world.seen(), START)
    assert again.status == decision.status
    assert again.actions == (StartAttempt(1),)


def test_a_bug_ends_the_job_unless_forgiven() -> None:
    world = World()
    world.run()
    world.driver(1, "Failed", **error("Application", 1))
    status = world.step()
    assert status.phase is Phase.FAILED
    assert condition(status, "Stalled") == ("True", "Broken")
    assert (status.failures.application, status.attempts[0].exit_code) == (1, 1)

    world = World(retry={"maxApplicationFailures": 1, "backoffSeconds": 10})
    world.run()
    world.driver(1, "Failed", **error("Application", 1))
    assert world.step().phase is Phase.RETRYING
    world.kuberay(1, "Failed", "FAILED")
    assert world.step(5).attempt == 1
    world.step(10)
    assert world.status.attempt == 2


def test_some_exit_codes_are_never_retried() -> None:
    world = World(retry={"maxApplicationFailures": 5, "nonRetriableExitCodes": [3]})
    world.run()
    world.driver(1, "Failed", **error("Application", 3))
    assert world.step().phase is Phase.FAILED


def test_a_lost_cluster_has_its_own_budget() -> None:
    world = World(retry={"maxInfrastructureFailures": 1, "backoffSeconds": 1})
    for number in (1, 2):
        world.run()
        assert world.status.attempt == number
        world.kuberay(number, "Failed", "FAILED", "AppFailed")
        world.step()
    assert world.status.phase is Phase.FAILED
    assert world.status.failures.infrastructure == 2


def test_a_rayjob_deleted_by_hand_is_a_failed_attempt() -> None:
    world = World(retry={"backoffSeconds": 1})
    world.run()
    world.rayjobs.clear()
    assert world.step().phase is Phase.RETRYING
    assert world.status.last_error is not None
    assert world.status.last_error.reason == "RayJobDeleted"


def test_a_lost_head_counts_but_needs_no_new_attempt() -> None:
    world = World(retry={"maxInfrastructureFailures": 1})
    world.run()
    world.driver(1, "Running")
    world.step()
    world.driver(1, "Running", run_id="again")
    assert world.step().failures.infrastructure == 1
    assert world.status.phase is Phase.RUNNING
    world.driver(1, "Running", run_id="third")
    assert world.step().phase is Phase.FAILED
    assert world.status.failures.infrastructure == 2


def test_two_clusters_never_train_at_once() -> None:
    world = World(retry={"maxApplicationFailures": 1, "backoffSeconds": 1})
    world.run()
    world.driver(1, "Failed", **error("Application", 1))
    world.step()
    world.step(10)
    # KubeRay has not taken the first cluster down yet.
    assert (world.status.attempt, world.actions) == (1, ())
    world.kuberay(1, "Failed", "FAILED")
    world.step()
    assert world.status.attempt == 2
    assert sorted(world.rayjobs) == [1, 2]  # The failed one is kept to look at.


@pytest.mark.parametrize("state", ["Succeeded", "Failed"])
def test_a_rayjob_that_does_not_end_by_itself_is_deleted(state: str) -> None:
    world = World()
    world.run()
    world.driver(1, state, **(error("Application", 1) if state == "Failed" else {}))
    world.step()
    assert list(world.rayjobs) == [1]
    world.step(100)
    assert world.rayjobs == {}


def test_runtime_is_limited_over_all_attempts() -> None:
    world = World(runPolicy={"maxRuntimeSeconds": 60}, retry={"backoffSeconds": 1})
    world.run()
    world.kuberay(1, "Failed", "FAILED")
    world.step(40)
    world.run()
    world.step(30)
    assert world.status.phase is Phase.FAILED
    assert world.status.last_error is not None
    assert world.status.last_error.reason == "MaxRuntimeExceeded"


def test_suspend_and_resume_count_no_failure() -> None:
    world = World()
    world.run()
    policy = world.spec.run_policy
    world.spec = world.spec.model_copy(
        update={"run_policy": policy.model_copy(update={"suspend": True})}
    )
    assert world.step().phase is Phase.SUSPENDED
    assert world.rayjobs == {}
    used = world.status.used_runtime_seconds
    world.step(10_000)
    world.spec = world.spec.model_copy(update={"run_policy": policy})
    world.run()
    assert world.status.attempt == 2
    assert world.status.used_runtime_seconds == used
    assert world.status.failures.infrastructure == 0


def test_what_is_missing_is_named_and_clears() -> None:
    world = World()
    world.blocked = Blocked("ConfigMapNotFound", "ConfigMap 'code' is missing; create it")
    status = world.step()
    assert (status.phase, status.attempts) == (Phase.PENDING, [])
    assert condition(status, "Ready") == ("False", "ConfigMapNotFound")
    world.blocked = None
    world.run()


def test_an_unreadable_report_is_named_and_clears() -> None:
    world = World()
    world.run()
    world.problem = "not JSON"
    assert condition(world.step(), "ReportAccepted") == ("False", "Malformed")
    assert world.status.phase is Phase.RUNNING
    world.problem = None
    assert condition(world.step(), "ReportAccepted") == ("True", "AsExpected")


def test_a_spec_that_makes_no_sense_is_stalled() -> None:
    status = refused(TrainingJobStatus(), 3, "numWorkers: must be at least 0", START)
    assert condition(status, "Stalled") == ("True", "InvalidSpec")
    assert status.observed_generation == 3
    assert refused(status, 3, "numWorkers: must be at least 0", START) == status


def test_a_queue_is_waited_for() -> None:
    world = World(scheduling={"queue": "team"})
    world.step()
    world.kuberay(1, "Suspended")
    status = world.step()
    assert status.phase is Phase.QUEUED
    assert condition(status, "Admitted") == ("False", "Waiting")
    world.kuberay(1, "Running")
    assert condition(world.step(), "Admitted") == ("True", "Admitted")


def test_a_finished_job_is_deleted_after_its_ttl() -> None:
    world = World(runPolicy={"ttlSecondsAfterFinished": 100})
    world.run()
    world.driver(1, "Succeeded")
    world.step()
    world.step(50)
    assert world.actions == ()
    world.step(60)
    assert world.actions == (DeleteJob(),)
