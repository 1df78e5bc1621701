"""What checkpoints save when spot nodes are taken away: counted once, and never more than ran."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World, error

from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus
from loopwright.api.trainingjob_status import Phase
from loopwright.decide.types import StartAttempt

SPOT: dict[str, Any] = {"spot": {"enabled": True}, "checkpoint": {}, "numWorkers": 2}
OFTEN = {"maxInfrastructureFailures": 9, "maxApplicationFailures": 9, "backoffSeconds": 1}
LOST, BROKEN = error("Infrastructure"), error("Application", 1)


def job(**spec: Any) -> World:
    """A job on spot nodes whose first attempt runs."""
    return World(**{**SPOT, "retry": OFTEN, **spec}).run()


def end(world: World, seconds: float, kept: int, state: str = "Failed", **why: Any) -> World:
    """The running attempt ends after so long."""
    number = world.status.attempt
    world.driver(number, state, keptSeconds=kept, **why)
    world.step(seconds)
    if number in world.rayjobs:
        world.kuberay(number, "Failed", "FAILED")
    return world


def again(world: World) -> World:
    """Until the next attempt runs."""
    number = world.status.attempt
    while world.status.attempt == number:
        world.step(60)
    return world.run()


def saved(world: World) -> int | None:
    return world.status.cost.spot_saved_seconds


def test_the_checkpoint_of_a_lost_attempt_saves_what_it_holds() -> None:
    world = job()
    assert saved(world) is None
    assert "spotSavedSeconds" not in world.status.cost.wire()
    end(world, 100, 80, **LOST)
    assert (world.status.phase, saved(world)) == (Phase.RETRYING, 80)
    # One that is told to stop saves its state.
    end(again(world), 50, 50, "Stopped")
    # Lost before it has made a checkpoint: that of another is no news.
    end(again(world), 30, 0, **LOST)
    end(again(world), 40, 40, "Succeeded")
    assert (world.status.phase, saved(world)) == (Phase.SUCCEEDED, 130)


def test_what_is_saved_is_on_record_with_the_end_of_the_attempt() -> None:
    world = job()
    world.driver(1, "Failed", keptSeconds=80, **LOST)
    world.step(100)
    assert world.status.attempts[0].end_time == world.now
    # The report stays until the next driver writes; an operator that begins here counts nothing.
    assert [saved(world), world.decide().status.cost.spot_saved_seconds] == [80, 80]
    world.kuberay(1, "Failed", "FAILED").step(60)
    assert world.decision.actions == (StartAttempt(2),)
    world.rayjobs.pop(2)
    world.kuberay(1, "Failed", "FAILED").step()
    assert saved(world) == 80


@pytest.mark.parametrize(
    ("spec", "how"),
    [
        ({}, {"state": "Failed", **BROKEN}),
        ({}, {"state": "Succeeded"}),
        ({"retry": {"maxInfrastructureFailures": 0}}, {"state": "Failed", **LOST}),
        ({"runPolicy": {"maxRuntimeSeconds": 101}}, {"state": "Failed", **LOST}),
        ({"spot": {"enabled": False}}, {"state": "Failed", **LOST}),
        ({"numWorkers": 0}, {"state": "Failed", **LOST}),
    ],
    ids="bug success last no-runtime no-spot no-workers".split(),
)
def test_what_is_no_interruption_of_spot_nodes_saves_nothing(
    spec: dict[str, Any], how: dict[str, Any]
) -> None:
    assert saved(end(job(**spec), 100, 80, **how)) is None


def test_an_attempt_on_other_nodes_saves_nothing() -> None:
    world = end(job(spot={"enabled": True, "fallbackOnDemandAfter": 1}), 100, 80, **LOST)
    end(again(world), 100, 80, **LOST)
    assert [one.spot for one in world.status.attempts] == [True, None]
    assert saved(world) == 80


def test_a_suspension_is_no_interruption() -> None:
    world = job()
    world.driver(1, "Stopped", keptSeconds=80)
    world.suspend().step(100)
    assert (world.status.phase, saved(world)) == (Phase.SUSPENDED, None)


def test_a_cluster_that_vanished_is_known_by_its_last_report() -> None:
    world = job()
    world.driver(1, "Running", keptSeconds=80).step(90)
    world.take(1, deleting=False)
    assert world.step(10).last_error is not None
    assert saved(world) == 80


def test_a_report_of_another_attempt_or_none_saves_nothing() -> None:
    world = end(job(), 100, 80, **LOST)
    again(world)
    world.take(2, deleting=False)
    world.step(500)
    assert (world.status.failures.infrastructure, saved(world)) == (2, 80)
    again(world)
    world.report = None
    world.take(3, deleting=False)
    world.step(500)
    assert (world.status.failures.infrastructure, saved(world)) == (3, 80)


def test_no_more_is_saved_than_the_cluster_ran() -> None:
    assert saved(end(job(), 100.9, 2**62, **LOST)) == 100
    # The operator was away: what counts is when it ended.
    world = job()
    world.driver(1, "Failed", keptSeconds=5000, **LOST)
    world.kuberay(1, "Failed", "FAILED")
    world.rayjobs[1] = replace(world.rayjobs[1], ended=world.now)
    world.step(10_000)
    assert saved(world) is None


ENDS = st.tuples(
    st.integers(1, 5000), st.integers(0, 5000), st.sampled_from(["Lost", "Stopped", "Broken"])
)


@given(st.lists(ENDS, max_size=9))
def test_it_is_the_sum_over_all_attempts_that_were_lost(ends: list[tuple[int, int, str]]) -> None:
    world, expected = World(**SPOT, retry=OFTEN, runPolicy={"maxRuntimeSeconds": 10**6}), 0
    for seconds, kept, how in ends:
        again(world)
        if how == "Stopped":
            end(world, seconds, kept, "Stopped")
        else:
            end(world, seconds, kept, **(LOST if how == "Lost" else BROKEN))
        expected += 0 if how == "Broken" else min(seconds, kept)
    assert (saved(world) or 0) == expected


def test_sweeps_do_not_speak_of_it() -> None:
    assert "spot_saved_seconds" not in type(HyperparameterSweepStatus().cost).model_fields
