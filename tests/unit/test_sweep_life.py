"""Whole lives of a sweep, decided step by step, and nothing decided twice."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_worlds import SweepWorld
from worlds import condition, error, live

from loopwright.api.trainingjob_status import Phase
from loopwright.decide.sweep import GRACE

BEST = {
    "name": "t7", "state": "Succeeded", "parameters": {"lr": "0.01"}, "metrics": {"loss": "0.1"},
    "value": "0.1", "modelUri": "s3://b/o/trials/t7/model",
}  # fmt: skip
DONE: dict[str, Any] = {"stopReason": "MaxTrials", "best": BEST, "topTrials": [BEST]}


def test_a_search_ends_with_its_best_trial() -> None:
    world = SweepWorld()
    world.run()
    trials = {"total": 20, "succeeded": 20, "finished": "20/20"}
    status = world.driver(1, "Succeeded", trials=trials, **DONE).step()
    assert (status.phase, status.best.name) == (Phase.SUCCEEDED, "t7")
    assert condition(status, "Ready") == ("True", "Completed")
    assert condition(status, "Exhausted") == ("True", "MaxTrials")
    assert condition(status, "GoalReached") == ("False", "NotGoalReached")
    assert [one.ray_job for one in status.attempts] == ["job-s1"]


@pytest.mark.parametrize(
    ("reason", "name"),
    [("GoalReached", "GoalReached"), ("SpaceExhausted", "Exhausted"),
     ("NoImprovement", "Exhausted"), ("MaxRuntime", "BudgetExceeded")],
)  # fmt: skip
def test_why_it_ended_is_a_condition(reason: str, name: str) -> None:
    world = SweepWorld()
    world.run()
    status = world.driver(1, "Succeeded", stopReason=reason).step()
    assert condition(status, name) == ("True", reason)


def test_time_that_passes_is_no_news() -> None:
    world = SweepWorld()
    world.run()
    for minute in (1, 2):
        progress = {"step": 3, "totalSteps": 20, "updatedAt": f"2026-01-01T00:0{minute}:00Z"}
        before = world.status
        world.driver(1, "Running", progress=progress).step()
    assert world.status == before


def test_what_an_attempt_is_told_is_on_record() -> None:
    world = SweepWorld(maxTrials=7, parallelTrials=3, algorithm={"tpe": {}})
    world.step()
    assert world.status.algorithm == "tpe"
    assert world.status.limits.wire() == {
        "maxTrials": 7, "parallelTrials": 3, "maxRuntimeSeconds": 604800,
    }  # fmt: skip


def test_another_number_of_parallel_trials_needs_another_cluster() -> None:
    world = SweepWorld(maxTrials=8)
    world.run()
    world.driver(1, "Running", best=BEST).step()
    world.change(parallel_trials=4).step()
    assert world.status.attempts[0].cause == "Suspended"
    assert world.decision.happenings[0].reason == "SpecChanged"
    assert world.rayjobs == {}
    world.step()
    assert (world.status.attempt, world.status.limits.parallel_trials) == (2, 4)
    assert (world.status.failures.infrastructure, world.status.best.name) == (0, "t7")
    assert [view.name for view in live(world.rayjobs)] == ["job-a2"]


def test_more_trials_interrupt_nothing_and_are_run_once_the_others_have_ended() -> None:
    world = SweepWorld(maxTrials=8)
    world.run()
    world.change(max_trials=12).step()
    assert (world.status.attempt, world.status.phase) == (1, Phase.RUNNING)
    world.driver(1, "Succeeded", **DONE).step()
    assert world.status.completion_time is None
    assert world.status.attempts[0].cause is None
    world.kuberay(1, "Complete", "SUCCEEDED").step()
    assert (world.status.attempt, world.status.limits.max_trials) == (2, 12)
    assert world.status.stop_reason is None
    world.kuberay(2, "Running", "RUNNING").step()
    world.driver(2, "Succeeded", "two", **DONE).step()
    assert world.status.phase is Phase.SUCCEEDED


def test_a_driver_that_ends_too_early_is_believed() -> None:
    world = SweepWorld(maxTrials=8)
    world.run()
    assert world.driver(1, "Succeeded", trials={"total": 3}, **DONE).step().phase == "Succeeded"


def test_a_reached_goal_stands_though_more_trials_were_allowed() -> None:
    world = SweepWorld(maxTrials=8)
    world.run()
    world.change(max_trials=12).driver(1, "Succeeded", stopReason="GoalReached")
    assert world.step().phase is Phase.SUCCEEDED


def test_the_driver_gets_time_to_end_when_its_own_is_up() -> None:
    world = SweepWorld(runPolicy={"maxRuntimeSeconds": 60})
    world.run()
    world.driver(1, "Running", best=BEST)
    assert world.step(60).phase is Phase.RUNNING
    status = world.driver(1, "Succeeded", stopReason="MaxRuntime", best=BEST).step(10)
    assert (status.phase, condition(status, "BudgetExceeded")[0]) == (Phase.SUCCEEDED, "True")


def test_a_driver_that_does_not_end_in_time_fails_the_sweep() -> None:
    world = SweepWorld(runPolicy={"maxRuntimeSeconds": 60})
    world.run()
    world.driver(1, "Running", best=BEST).step()
    status = world.step(60 + GRACE)
    assert status.last_error.reason == "MaxRuntimeExceeded"
    assert condition(status, "BudgetExceeded") == ("True", "MaxRuntime")
    assert status.best.name == "t7"


def test_less_time_is_told_at_once_and_more_in_the_end() -> None:
    world = SweepWorld(runPolicy={"maxRuntimeSeconds": 3600})
    world.run()
    world.limit(600).step()
    world.step()
    assert (world.status.attempt, world.status.limits.max_runtime_seconds) == (2, 600)
    world.kuberay(2, "Running", "RUNNING").step()
    world.limit(7200).step()
    assert world.status.phase is Phase.RUNNING
    world.driver(2, "Succeeded", "two", stopReason="MaxRuntime").step()
    world.kuberay(2, "Complete", "SUCCEEDED").step()
    assert world.status.attempt == 3


def test_too_many_failed_trials_fail_the_sweep_for_good() -> None:
    world = SweepWorld()
    world.run()
    said = error()
    said["error"]["reason"] = "TooManyFailures"
    status = world.driver(1, "Failed", stopReason="TooManyFailures", **said).step()
    assert (status.phase, status.last_error.reason) == (Phase.FAILED, "TooManyFailures")


def test_suspended_and_resumed_it_goes_on() -> None:
    world = SweepWorld()
    world.run()
    trials = {"total": 5, "running": 2, "succeeded": 3, "finished": "3/20"}
    world.driver(1, "Running", best=BEST, trials=trials).step()
    policy = world.spec.run_policy
    world.change(run_policy=policy.model_copy(update={"suspend": True})).step()
    assert (world.status.phase, world.rayjobs) == (Phase.SUSPENDED, {})
    assert (world.status.trials.running, world.status.trials.pending) == (0, 2)
    world.change(run_policy=policy, parallel_trials=1).step()
    assert (world.status.attempt, world.status.limits.parallel_trials) == (2, 1)
    # A driver tells that it begins before it reads of the trials so far.
    assert world.driver(2, "Starting", "two").step().trials.finished == "3/20"


def test_a_lost_cluster_is_forgiven() -> None:
    world = SweepWorld(retry={"maxInfrastructureFailures": 1, "backoffSeconds": 0})
    world.run()
    world.kuberay(1, "Failed", "FAILED").step()
    world.run()
    assert world.status.failures.infrastructure == 1
    world.kuberay(2, "Failed", "FAILED").step()
    assert world.status.phase is Phase.FAILED


def test_the_best_model_is_promoted() -> None:
    model = {"modelUri": "s3://b/o/models/x", "format": "onnx", "digest": "sha256:" + "0" * 64}
    world = SweepWorld(promote={"model": "m", "requireMetrics": [{"metric": "loss", "max": "1"}]})
    world.run()
    metrics = [{"name": "loss", "value": "0.1"}]
    world.driver(1, "Succeeded", metrics=metrics, artifacts=model, **DONE).step()
    assert world.versions == ["m-0123456789"]
    assert condition(world.status, "ModelRegistered")[0] == "True"
