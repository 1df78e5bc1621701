"""Counts what clients report about answers: sums only, in memory of a fixed size.

A gateway may send feedback to any pod of any variant. So an id says itself which variant and model
gave the answer, whoever gets feedback counts it under that, and the endpoint's monitor adds up.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from loopwright.api.experiment import FEEDBACK_NAME
from loopwright.api.feedback import MAX_SERIES, FeedbackCounts, FeedbackSnapshot
from loopwright.serving.errors import Refused
from loopwright.serving.seen import Seen

MAX_BYTES: Final = 1 << 18
MAX_ITEMS: Final = 1000
# Squares of more would lose what is added to them.
LARGEST: Final = 1e9
FIELDS: Final = frozenset({"id", "name", "value"})
_NAME: Final = re.compile(FEEDBACK_NAME)
_ID: Final = re.compile(r"((?:[a-z][-a-z0-9]{0,15}|-)\.(?:[0-9a-f]{8}|-))\.[!-~]{1,128}")
_EXAMPLE: Final = '{"id": "<X-Feedback-Id of the answer>", "name": "clicked", "value": 1}'


class Item(NamedTuple):
    """One outcome of one answer."""

    about: str
    id: str
    name: str
    value: float


@dataclass
class _Sums:
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    parts: int = 0
    parts_total: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value
        if 0 <= value <= 1:
            self.parts += 1
            self.parts_total += value


class Feedback:
    """What one process has counted."""

    def __init__(self, variant: str, digest: str) -> None:
        """
        Args:
            variant: The variant that this process serves; may be empty.
            digest: Of its model; may be empty.
        """
        self.own = f"{variant or '-'}.{digest.removeprefix('sha256:')[:8] or '-'}"
        """What its ids begin with."""
        self._process = os.urandom(8).hex()
        self._sums: dict[tuple[str, str], _Sums] = {}
        self._seen = Seen()

    def id(self, request: str) -> str:
        """What feedback about an answer has to name."""
        return f"{self.own}.{request}"

    def take(self, body: bytes) -> int:
        """Counts a body, all of it or nothing; returns how many items were new.

        Raises:
            Refused: it is no feedback, or of too many kinds.
        """
        items = parse(body)
        new = {(one.name, one.about) for one in items} - self._sums.keys()
        if len(self._sums) + len(new) > MAX_SERIES:
            raise Refused(
                f"this server counts {MAX_SERIES} names and variants of feedback at most; use fewer"
            )
        counted = 0
        for one in items:
            if self._seen.again(f"{one.name} {one.id}"):
                continue
            self._sums.setdefault((one.name, one.about), _Sums()).add(one.value)
            counted += 1
        return counted

    def snapshot(self) -> FeedbackSnapshot:
        """What was counted since the process began."""
        counts = [
            FeedbackCounts(name=name, about=about, **vars(sums))
            for (name, about), sums in self._sums.items()
        ]
        return FeedbackSnapshot(process=self._process, own=self.own, counts=counts)


def parse(body: bytes) -> list[Item]:
    """The outcomes in a body: an object, or a list of them.

    Raises:
        Refused: it holds something else.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"expected JSON such as {_EXAMPLE}: {error}") from error
    items: Sequence[Any] = found if isinstance(found, list) else [found]
    if not 0 < len(items) <= MAX_ITEMS:
        raise Refused(f"expected 1 to {MAX_ITEMS} items, not {len(items)}")
    return [_item(one) for one in items]


def _item(one: Any) -> Item:
    if not isinstance(one, dict) or one.keys() != FIELDS:
        raise Refused(f"expected objects such as {_EXAMPLE}")
    id, name, value = one["id"], one["name"], one["value"]
    match = _ID.fullmatch(id) if isinstance(id, str) else None
    if match is None:
        raise Refused("id must be what the header X-Feedback-Id of the answer says")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise Refused("name must begin with a letter and have at most 32 of A-Z a-z 0-9 _ . -")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("value must be a number: 1 for a success, 0 for none")
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise Refused(f"value must be between -{LARGEST:.0f} and {LARGEST:.0f}")
    return Item(match[1], id, name, float(value))
