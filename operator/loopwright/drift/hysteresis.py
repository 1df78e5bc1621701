"""Raises an alarm after several windows in violation, and lowers it after several without.

Windows should not overlap: what is violated in one would count again in the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from loopwright.drift.rules import State


class Hysteresis:
    """Remembers the newest windows that could be judged."""

    def __init__(self, violations: int = 2, of: int = 3, recent: Iterable[bool] = ()) -> None:
        """
        Args:
            violations: How many of the newest windows must be in violation for the alarm.
            of: How many windows are remembered.
            recent: Of windows of before, the newest last: whether each was in violation.

        Raises:
            ValueError: more violations than windows.
        """
        if not 1 <= violations <= of:
            raise ValueError(f"{violations} of {of} windows")
        self._needed = violations
        self._windows: deque[bool] = deque(recent, maxlen=of)

    @property
    def recent(self) -> list[bool]:
        """What is remembered, to go on from after a restart."""
        return list(self._windows)

    def update(self, state: State) -> State:
        """Takes in a window's state; returns what is known with it.

        A window that says nothing is not remembered, and nothing is known then.
        """
        if state not in (State.OK, State.VIOLATED):
            return state
        self._windows.append(state is State.VIOLATED)
        return State.VIOLATED if sum(self._windows) >= self._needed else State.OK
