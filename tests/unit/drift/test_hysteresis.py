"""Alarms take several windows to be raised, and several to be lowered."""

from __future__ import annotations

import pytest

from loopwright.drift import Hysteresis, State

OK, BAD, FEW, HIDDEN = State.OK, State.VIOLATED, State.NO_DATA, State.UNKNOWN


def after(*states: State, violations: int = 2, of: int = 3) -> list[State]:
    """What is known after each window."""
    hysteresis = Hysteresis(violations, of)
    return [hysteresis.update(one) for one in states]


def test_one_window_is_no_alarm_and_two_of_three_are() -> None:
    assert after(BAD, OK, BAD) == [OK, OK, BAD]
    assert after(BAD, OK, OK, BAD) == [OK] * 4


def test_an_alarm_ends_when_fewer_are_in_violation() -> None:
    assert after(BAD, BAD, OK, OK) == [OK, BAD, BAD, OK]


def test_windows_that_say_nothing_are_not_counted() -> None:
    assert after(BAD, FEW, HIDDEN, BAD) == [OK, FEW, HIDDEN, BAD]


def test_one_may_be_enough() -> None:
    assert after(BAD, OK, violations=1, of=1) == [BAD, OK]


def test_it_goes_on_from_what_was_before() -> None:
    first = Hysteresis(2, 3)
    for one in (OK, BAD):
        first.update(one)
    assert Hysteresis(2, 3, first.recent).update(BAD) is BAD
    # Of a longer memory the newest count.
    assert Hysteresis(2, 2, [True, True, False, False]).update(BAD) is OK


@pytest.mark.parametrize(("violations", "of"), [(0, 3), (4, 3)])
def test_numbers_that_make_no_sense(violations: int, of: int) -> None:
    with pytest.raises(ValueError, match="windows"):
        Hysteresis(violations, of)
