"""Events of requests and answers, joined in whatever order they come."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from kserve_events import BODIES, written
from prometheus_client import CollectorRegistry

from loopwright.serving.capture import pairing
from loopwright.serving.capture.events import REQUEST, RESPONSE, Event
from loopwright.serving.capture.frames import Body, Record
from loopwright.serving.capture.pairing import Pairs
from loopwright.serving.metrics import UNPAIRED

NOON = 1_796_126_400.0
WAIT = 60.0


class Waiting:
    """Pairs, by a clock of their own."""

    def __init__(self) -> None:
        self.now, self.rows = 0.0, list[Record]()
        counter = UNPAIRED.make(CollectorRegistry())
        self.unpaired = {one: counter.labels("e", "v", one) for one in ("request", "response")}
        self.pairs = Pairs(self.rows.append, self.unpaired, WAIT, lambda: self.now)

    def take(self, id: str, type: str = REQUEST, at: float = NOON, content: bytes = b"{}") -> None:
        event = Event(id, type, at, written(at))
        self.pairs.take(event, Body("json", len(content), content))

    def alone(self) -> dict[str, float]:
        """Rows of one event, by which it was."""
        return {name: counter._value.get() for name, counter in self.unpaired.items()}

    def told(self) -> list[tuple[str, int | None, float | None, int, int]]:
        """Rows in short."""
        return [(r.id, r.status, r.seconds, r.request.size, r.response.size) for r in self.rows]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_events_come_in_any_order(waiting: Waiting, order: Sequence[int]) -> None:
    sent = [(id, type) for id in "ab" for type in (REQUEST, RESPONSE)]
    for number in order:
        id, type = sent[number]
        waiting.take(id, type, NOON + 0.25 * (type == RESPONSE), BODIES[type])
    sizes = len(BODIES[REQUEST]), len(BODIES[RESPONSE])
    assert sorted(waiting.told()) == [(id, 200, 0.25, *sizes) for id in "ab"]
    assert {row.time for row in waiting.rows} == {NOON}
    assert waiting.pairs._bytes == 0


def test_an_event_that_is_sent_again_counts_once(waiting: Waiting) -> None:
    events = [("a", REQUEST), ("a", RESPONSE), ("b", REQUEST), ("b", RESPONSE)] * 3
    random.Random(4).shuffle(events)  # noqa: S311
    for id, type in events:
        waiting.take(id, type)
    waiting.pairs.end()
    assert sorted(row.id for row in waiting.rows) == ["a", "b"]
    assert waiting.alone() == {"request": 0, "response": 0}


def test_requests_of_one_id_are_all_kept(waiting: Waiting) -> None:
    for second in range(3):
        waiting.take("a", REQUEST, NOON + second)
    waiting.take("a", RESPONSE, NOON + 2.5)
    assert [(row.status, row.seconds) for row in waiting.rows] == [
        (None, None), (None, None), (200, 0.5),
    ]  # fmt: skip


def test_what_stays_alone_is_a_row_after_a_while(waiting: Waiting) -> None:
    waiting.take("asked", REQUEST, content=b"12345")
    waiting.now = WAIT / 2
    waiting.take("answer", RESPONSE, content=b"123")
    waiting.now = WAIT - 1
    waiting.pairs.expire()
    assert waiting.rows == []
    waiting.now = WAIT
    waiting.pairs.expire()
    assert waiting.told() == [("asked", None, None, 5, 0)]
    waiting.now = 2 * WAIT
    waiting.pairs.expire()
    assert waiting.told()[1:] == [("answer", 200, None, 0, 3)]
    assert waiting.alone() == {"request": 1, "response": 1}


def test_a_clock_that_was_set_back_makes_no_negative_time(waiting: Waiting) -> None:
    waiting.take("a", REQUEST, NOON)
    waiting.take("a", RESPONSE, NOON - 5)
    assert waiting.told()[0][2] == 0.0


@pytest.mark.parametrize(("limit", "value"), [("MAX_WAITING", 10), ("MAX_BYTES", 1000)])
def test_what_waits_is_bounded(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(pairing, limit, value)
    for number in range(50):
        waiting.take(str(number), content=b" " * 100)
    assert [row.id for row in waiting.rows] == [str(number) for number in range(40)]
    assert waiting.pairs._bytes == 1000
    waiting.pairs.end()
    assert len(waiting.rows) == waiting.alone()["request"] == 50
