"""Whole lives of a job, decided step by step, and nothing decided twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import ValidationError
from worlds import World, condition, error, live

from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.decide.conditions import refused
from loopwright.decide.types import Blocked, DeleteJob, StartAttempt

AT_ONCE = {"maxApplicationFailures": 1, "backoffSeconds": 0}


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
    decision = world.decide()
    assert [a.ray_job for a in decision.status.attempts] == ["job-a1"]
    assert decision.actions == (StartAttempt(1),)
    # Killed right here: the next operator makes what was recorded, and no second attempt.
    world.status = decision.status
    again = world.decide()
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
    assert (world.status.attempt, world.decision.actions) == (1, ())
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
    assert world.suspend().step().phase is Phase.SUSPENDED
    assert world.rayjobs == {}
    used = world.status.used_runtime_seconds
    world.step(10_000)
    world.suspend(False).run()
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
    status = refused(TrainingJobStatus(), 3, "numWorkers: must be at least 0", World().now)
    assert condition(status, "Stalled") == ("True", "InvalidSpec")
    assert status.observed_generation == 3
    assert refused(status, 3, "numWorkers: must be at least 0", World().now) == status


def test_a_finished_job_is_deleted_after_its_ttl() -> None:
    world = World(runPolicy={"ttlSecondsAfterFinished": 100})
    world.run()
    world.driver(1, "Succeeded")
    world.step()
    world.step(50)
    assert world.decision.actions == ()
    world.step(60)
    assert world.decision.actions == (DeleteJob(),)


def test_a_failed_job_is_deleted_after_its_ttl() -> None:
    world = World(runPolicy={"ttlSecondsAfterFinished": 100}).run()
    world.kuberay(1, "ValidationFailed").step()
    assert world.decision.requeue == 100


def test_a_job_may_be_deleted_as_soon_as_it_ends() -> None:
    world = World(runPolicy={"ttlSecondsAfterFinished": 0}).run()
    assert world.driver(1, "Succeeded").step().phase is Phase.SUCCEEDED
    assert world.deleted


def test_a_success_is_final_though_the_job_is_suspended() -> None:
    assert World().run().driver(1, "Succeeded").suspend().step().phase is Phase.SUCCEEDED


def test_a_success_is_final_though_its_rayjob_is_being_deleted() -> None:
    world = World().run().kuberay(1, "Complete", "SUCCEEDED")
    world.take(1, deleting=True)
    assert world.step().phase is Phase.SUCCEEDED


def test_a_failure_while_suspended_is_counted_but_plans_no_retry() -> None:
    status = World(retry=AT_ONCE).run().driver(1, "Failed", **error()).suspend().step()
    assert (status.phase, status.retry_time) == (Phase.SUSPENDED, None)
    assert status.failures.application == 1


def test_a_cluster_that_is_lost_while_suspended_is_no_failure() -> None:
    status = World().run().kuberay(1, "Failed").suspend().step()
    assert (status.phase, status.failures.infrastructure) == (Phase.SUSPENDED, 0)


@pytest.mark.parametrize("cause", ["Suspended", "Deadline"])
def test_a_driver_cannot_blame_what_no_budget_counts(cause: str) -> None:
    with pytest.raises(ValidationError, match="must be Application or Infrastructure"):
        World().run().driver(1, "Failed", **error(cause))


def test_a_driver_cannot_say_that_its_failure_is_counted_already() -> None:
    world = World(retry=AT_ONCE).run()
    said = error()
    said["error"]["reason"] = "HeadLost"
    assert world.driver(1, "Failed", **said).step().failures.application == 1


@pytest.mark.parametrize("cause", ["Application", "Infrastructure"])
def test_no_attempt_begins_after_too_many_lost_heads(cause: str) -> None:
    world = World(retry={**AT_ONCE, "maxInfrastructureFailures": 0}).run()
    world.driver(1, "Running").step()
    status = world.driver(1, "Failed", "again", **error(cause)).step()
    assert (status.phase, status.failures.infrastructure) == (Phase.FAILED, 1)


def test_no_attempt_begins_without_runtime_left() -> None:
    world = World(retry=AT_ONCE, runPolicy={"maxRuntimeSeconds": 60}).run()
    status = world.kuberay(1, "Failed", reason="AppFailed").step(60)
    assert (status.phase, status.attempt) == (Phase.FAILED, 1)
    assert status.last_error is not None
    assert status.last_error.reason == "MaxRuntimeExceeded"
    assert "AppFailed" in status.last_error.message


def test_a_job_that_is_resumed_without_runtime_left_fails() -> None:
    world = World(runPolicy={"maxRuntimeSeconds": 60}).run()
    assert world.kuberay(1, "Failed").suspend().step(60).phase is Phase.SUSPENDED
    assert world.suspend(False).step().phase is Phase.FAILED
    assert world.status.attempt == 1


def test_an_attempt_waits_for_a_rayjob_that_is_being_deleted_and_says_so() -> None:
    world = World().run()
    world.finalizers = True
    world.suspend().step()
    status = world.suspend(False).step()
    assert (status.attempt, condition(status, "Ready")) == (1, ("False", "RayJobEnding"))
    assert condition(status, "Stalled")[0] == "False"
    assert world.decision.requeue == 10
    world.rayjobs.clear()
    assert world.step().attempt == 2


def test_a_rayjob_that_is_deleted_before_it_began_is_waited_for() -> None:
    world = World()
    world.step()
    world.take(1, deleting=True)
    assert condition(world.step(), "Ready") == ("False", "RayJobEnding")
    world.rayjobs.clear()
    world.step()
    assert world.decision.actions == (StartAttempt(1),)


def test_a_rayjob_that_comes_back_is_stopped() -> None:
    world = World(retry=AT_ONCE).run()
    late = world.rayjobs.pop(1)
    world.step()
    world.run().rayjobs[1] = late
    world.step()
    assert live(world.rayjobs) == [world.rayjobs[2]]


def test_an_attempt_is_not_made_beside_a_rayjob_that_comes_back() -> None:
    world = World(retry=AT_ONCE).run()
    late = world.rayjobs.pop(1)
    world.step()
    world.status = world.decide().status
    world.rayjobs[1] = late
    assert condition(world.step(), "Ready") == ("False", "RayJobEnding")
    assert world.rayjobs == {}
    world.step()
    assert list(world.rayjobs) == [2]


def test_a_blocked_job_lets_go_of_its_cluster() -> None:
    world = World(retry=AT_ONCE).run().driver(1, "Stopped")
    world.status, world.blocked = world.decide().status, Blocked("SecretNotFound", "create it")
    world.step()
    assert world.rayjobs == {}


def test_what_is_missing_does_not_stall_an_attempt_that_runs() -> None:
    world = World().run()
    world.blocked = Blocked("OutputMissing", "create the job anew", permanent=True)
    assert condition(world.step(), "Ready") == ("False", "Running")
    assert condition(world.status, "Stalled")[0] == "False"


def test_the_cost_is_that_of_all_attempts() -> None:
    world = World()
    for _ in range(12):
        world.suspend(False).run().suspend().step(10)
    assert len(world.status.attempts) == 10
    assert world.status.cost.billable_seconds == 120


def test_a_new_leader_whose_clock_is_behind_takes_nothing_back() -> None:
    status = World().run().driver(1, "Succeeded").step(-100)
    assert (status.used_runtime_seconds, status.cost.billable_seconds) == (0, 0)


def test_an_event_tells_a_long_wait() -> None:
    world = World(retry={"backoffSeconds": 86400, "backoffMaxSeconds": 86400}).run()
    world.kuberay(1, "Failed").step()
    assert "86400 s" in world.decision.happenings[0].message


def test_time_in_which_the_operator_was_away_is_not_counted() -> None:
    world = World().run()
    ended = world.now + timedelta(seconds=10)
    world.kuberay(1, "Complete", "SUCCEEDED")
    world.rayjobs[1] = replace(world.rayjobs[1], ended=ended)
    world.step(1000)
    assert world.status.attempts[0].end_time == ended
    assert world.status.cost.billable_seconds <= 11
    assert world.status.used_runtime_seconds <= 12
