"""Successive halving: who goes on, who is judged again, and when it is for good."""

from __future__ import annotations

from typing import Any

import pytest

from loopwright.runtime.tune.halving import STEP, VALUE, Halving
from loopwright.runtime.tune.schedulers import StandIn


def made(**more: Any) -> Halving:
    """Rungs at 1, 4 and 16 steps; small values are good."""
    given = {"grace": 1, "most": 64, "eta": 4, "brackets": 1, "sign": -1, "seed": 1, **more}
    return Halving(**given)


def goes_on(scheduler: Halving, name: str, step: int, loss: float) -> bool:
    """What is decided after a report."""
    result = {STEP: step, VALUE: loss}
    return scheduler.on_trial_result(None, StandIn(name), result) == "CONTINUE"


def test_one_of_eta_goes_on() -> None:
    scheduler = made()
    losses = [0.1, 0.9, 0.8, 0.7, 0.2, 0.3, 0.4, 0.5, 0.6, 0.01]
    went = [goes_on(scheduler, f"t{n}", 1, loss) for n, loss in enumerate(losses)]
    assert [loss for loss, good in zip(losses, went, strict=True) if good] == [0.1, 0.2, 0.01]


def test_the_first_is_judged_again_when_there_are_others() -> None:
    scheduler = made()
    assert goes_on(scheduler, "t1", 1, 0.5)
    assert goes_on(scheduler, "t2", 1, 0.4)
    # Two do not say much, but that t1 is the worse of them they do.
    assert not goes_on(scheduler, "t1", 2, 0.1)
    for name, loss in (("t3", 0.3), ("t4", 0.2)):
        assert goes_on(scheduler, name, 1, loss)
    assert not goes_on(scheduler, "t2", 2, 0.0)


def test_once_judged_among_enough_it_is_for_good() -> None:
    scheduler = made()
    for number, loss in enumerate([0.9, 0.8, 0.7, 0.1]):
        goes_on(scheduler, f"t{number}", 1, loss)
    for number in range(10, 20):
        assert goes_on(scheduler, f"t{number}", 1, 0.001)
    assert goes_on(scheduler, "t3", 2, 5.0)
    assert goes_on(scheduler, "t3", 3, 5.0)
    # At the next rung it is alone, until others come.
    assert goes_on(scheduler, "t3", 4, 5.0)
    for number in range(10, 13):
        goes_on(scheduler, f"t{number}", 4, 1.0)
    assert not goes_on(scheduler, "t3", 5, 0.1)


def test_a_trial_that_is_started_again_is_the_same() -> None:
    scheduler = made()
    for name in ("t1-1", "t1-2", "t1-3", "t1-4"):
        assert goes_on(scheduler, name, 1, 0.5)
    assert goes_on(scheduler, "t2-1", 1, 0.1)
    assert not goes_on(scheduler, "t1-4", 2, 0.5)


def test_what_a_trial_passes_between_two_reports_is_looked_at_once() -> None:
    scheduler = made()
    assert goes_on(scheduler, "t1", 5, 0.5)
    assert goes_on(scheduler, "t2", 1, 0.9)  # Nobody else was seen there.
    assert not goes_on(scheduler, "t2", 6, 0.9)


def test_somebody_always_comes_to_the_end() -> None:
    scheduler = made()
    losses = {f"t{n}": (n * 7 % 30) / 30 for n in range(30)}
    left = dict.fromkeys(losses, 0)
    for step in range(1, 65):
        for name in list(left):
            if not goes_on(scheduler, name, step, losses[name]):
                del left[name]
    assert list(left) == ["t0"]


@pytest.mark.parametrize("step", [64, 65])
def test_nobody_is_stopped_on_the_last_step(step: int) -> None:
    scheduler = made()
    for number in range(5):
        assert goes_on(scheduler, f"t{number}", step, number)


def test_the_group_of_a_trial_follows_from_its_name() -> None:
    def grace(name: str) -> int:
        scheduler = made(brackets=3)
        for other in range(200):
            goes_on(scheduler, f"x{other}", 1, 0.0)
            goes_on(scheduler, f"x{other}", 4, 0.0)
        return next(step for step in range(1, 64) if not goes_on(scheduler, name, step, 1.0))

    found = [grace(f"t{n}") for n in range(12)]
    assert len(set(found)) > 1
    assert found == [grace(f"t{n}-2") for n in range(12)]
