"""Joins events of requests with those of their answers, which come apart and in any order."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from prometheus_client import Counter

from loopwright.serving.capture.events import REQUEST, Event
from loopwright.serving.capture.frames import NOTHING, Body, Record
from loopwright.serving.seen import Seen

PROTOCOL: Final = "http"
"""Events do not say which one it was."""
# KServe's logger leaves out answers with other codes.
STATUS: Final = 200
# Of what waits; beyond that the oldest waits no longer.
MAX_WAITING: Final = 20_000
MAX_BYTES: Final = 64 << 20


class _Half(NamedTuple):
    event: Event
    body: Body
    since: float

    @property
    def size(self) -> int:
        return len(self.body.content or b"")


class Pairs:
    """What waits for its other half.

    Args:
        give: Is given each row, once.
        unpaired: Count rows of one event alone, by which it was: request or response.
        wait_seconds: How long one waits; then it is a row alone.
    """

    def __init__(
        self,
        give: Callable[[Record], None],
        unpaired: Mapping[str, Counter],
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._give, self._unpaired = give, unpaired
        self._wait_seconds, self._clock = wait_seconds, clock
        # By id, the oldest first.
        self._waiting: dict[str, _Half] = {}
        self._bytes = 0
        self._seen = Seen()

    def take(self, event: Event, body: Body) -> None:
        """Takes an event, unless it was there already."""
        if self._seen.again(f"{event.type} {event.id} {event.written}"):
            return
        half = _Half(event, body, self._clock())
        if event.id in self._waiting:
            other = self._leave(event.id)
            if other.event.type != event.type:
                self._pair(*((half, other) if event.type == REQUEST else (other, half)))
                return
            # Another request of the same id: what comes next belongs to the newer one.
            self._alone(other)
        self._waiting[event.id] = half
        self._bytes += half.size
        while len(self._waiting) > MAX_WAITING or self._bytes > MAX_BYTES:
            self._oldest()

    def expire(self) -> None:
        """Lets go of what has waited long enough."""
        before = self._clock() - self._wait_seconds
        while self._waiting and next(iter(self._waiting.values())).since <= before:
            self._oldest()

    def end(self) -> None:
        """Lets go of all."""
        while self._waiting:
            self._oldest()

    def _oldest(self) -> None:
        self._alone(self._leave(next(iter(self._waiting))))

    def _leave(self, id: str) -> _Half:
        half = self._waiting.pop(id)
        self._bytes -= half.size
        return half

    def _pair(self, asked: _Half, answer: _Half) -> None:
        start, seconds = asked.event.time, max(0.0, answer.event.time - asked.event.time)
        self._give(
            Record(asked.event.id, start, PROTOCOL, STATUS, seconds, asked.body, answer.body)
        )

    def _alone(self, half: _Half) -> None:
        id, start = half.event.id, half.event.time
        if half.event.type == REQUEST:
            self._unpaired["request"].inc()
            self._give(Record(id, start, PROTOCOL, None, None, half.body, NOTHING))
        else:
            self._unpaired["response"].inc()
            self._give(Record(id, start, PROTOCOL, STATUS, None, NOTHING, half.body))
