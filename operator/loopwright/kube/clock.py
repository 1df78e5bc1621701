"""The API server's time: this machine's own clock may jump, and be wrong by hours."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# The Date header counts whole seconds, and an answer takes a while.
TOLERANCE: Final = 2.5
INTERVAL: Final = 1.0


class ServerClock:
    """Tells the API server's time, from its answers and a clock that cannot jump.

    Deadlines and backoffs are counted with it, so neither a clock that is set anew nor one that
    differs between replicas ends a job too early.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # Until the first answer; nothing is decided before.
        self._offset = time.time() - monotonic()
        self._learned = float("-inf")

    def now(self) -> datetime:
        """The time, as precisely as Kubernetes stores it."""
        seconds = int(self._monotonic() + self._offset)
        return datetime.fromtimestamp(seconds, UTC)

    def learn(self, date: str | None) -> None:
        """Takes in the Date header of an answer that has just arrived."""
        at = self._monotonic()
        if date is None or at - self._learned < INTERVAL:
            return
        try:
            offset = parsedate_to_datetime(date).timestamp() - at
        except ValueError:
            return
        if self._learned == float("-inf") or abs(offset - self._offset) > TOLERANCE:
            self._offset = offset
        self._learned = at
