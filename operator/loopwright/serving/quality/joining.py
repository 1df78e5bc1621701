"""Joins answers with labels by request id, within a bounded memory. Pure but for what is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from loopwright.api.quality import Quality
from loopwright.serving.quality.figures import Tally
from loopwright.serving.quality.reading import Captured, Row
from loopwright.serving.quality.values import Unreadable, answers, number, text

K = TypeVar("K")

# Of a window, over all variants. About 1 KiB each, with its label.
MAX_ROWS: Final = 50_000
_WHOLE: Final = 1 << 32
# Of a column, beyond which further ones are not told apart.
MAX_VALUES: Final = 1000


class Said(NamedTuple):
    """A request and its predictions, one for each row."""

    time: int
    revision: str
    predictions: tuple[float | str | None, ...]
    version: str


@dataclass
class Joined:
    """One revision in one window."""

    version: str = ""
    """Name of its ModelVersion, where that is on record."""
    captured: int = 0
    """Rows; of a request without a readable answer one."""
    labelled: int = 0
    unusable: int = 0
    """Of those with a label: what could not be compared."""
    total: Tally = field(default_factory=Tally)
    slices: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """By column and value."""
    groups: dict[str, Tally] = field(default_factory=dict)
    """By value of the column of bias."""


class Sample:
    """Answers of a window; when they are too many, those of a fair part of the requests.

    Which part, a hash of the id decides, as it does about what is captured. So each request is as
    likely to stay as any other, and all variants keep the same ones.
    """

    def __init__(self, quality: Quality, most: int = MAX_ROWS) -> None:
        self._quality, self._most = quality, most
        self._positive = text(quality.positive)
        self._limit, self._rows = _WHOLE, 0
        self._said: dict[tuple[str, str], Said] = {}
        """By request and variant."""
        self.variants: set[str] = set()

    def take(self, variant: str, row: Captured) -> None:
        """Takes in a request. Of several with one id the newest counts: it was sent again."""
        self.variants.add(variant)
        key = (row.id, variant)
        known = self._said.get(key)
        if _place(row.id) >= self._limit or (known is not None and known.time >= row.time):
            return
        said = Said(row.time, row.revision, self._predictions(row), row.version or "")
        self._rows += len(said.predictions) - (len(known.predictions) if known is not None else 0)
        self._said[key] = said
        while self._rows > self._most and len(self._said) > 1:
            self._halve()

    def _predictions(self, row: Captured) -> tuple[float | str | None, ...]:
        if row.response is None:
            return (None,)
        try:
            found = answers(row.response, self._quality.answer, numbers=self._quality.is_error)
        except Unreadable:
            return (None,)
        return tuple(found) or (None,)

    def _halve(self) -> None:
        self._limit //= 2
        self._said = {key: one for key, one in self._said.items() if _place(key[0]) < self._limit}
        self._rows = sum(len(one.predictions) for one in self._said.values())

    def ids(self) -> set[str]:
        """Requests whose labels are wanted."""
        return {id for id, _ in self._said}

    def join(self, labels: Iterable[Row]) -> dict[tuple[str, str], Joined]:
        """What is known of each variant's revision.

        Args:
            labels: The newest last: of several of one request it counts, as it corrects the others.
        """
        known = {id: (label, others) for id, label, others in labels}
        found: dict[tuple[str, str], Joined] = {}
        for (id, variant), said in self._said.items():
            joined = found.setdefault((variant, said.revision), Joined(said.version))
            joined.captured += len(said.predictions)
            if id in known:
                self._add(joined, said.predictions, *known[id])
        return found

    def _add(
        self,
        joined: Joined,
        predictions: Sequence[float | str | None],
        label: Any,
        others: tuple[Any, ...],
    ) -> None:
        rights = label if isinstance(label, list) else [label]
        joined.labelled += len(predictions)
        if len(rights) != len(predictions):
            joined.unusable += len(predictions)
            return
        tallies = [joined.total, *self._parts(joined, others)]
        for said, right in zip(predictions, rights, strict=True):
            if not self._count(tallies, said, right):
                joined.unusable += 1

    def _parts(self, joined: Joined, others: tuple[Any, ...]) -> list[Tally]:
        """Tallies of the slices and of the group that a request belongs to."""
        found = []
        columns = [one.column for one in self._quality.slices]
        for column, value in zip(columns, others, strict=False):
            if (name := text(value)) is not None:
                found.append(_of(joined.slices, (column, name)))
        if self._quality.bias is not None and (name := text(others[-1])) is not None:
            found.append(_of(joined.groups, name))
        return [one for one in found if one is not None]

    def _count(self, tallies: list[Tally], said: float | str | None, right: Any) -> bool:
        if self._quality.is_error:
            actual = number(right)
            if not isinstance(said, float) or actual is None:
                return False
            for one in tallies:
                one.number(said, actual)
            return True
        label = text(right)
        if not isinstance(said, str) or label is None:
            return False
        for one in tallies:
            one.label(said, label, self._positive)
        return True


def columns(quality: Quality) -> list[str]:
    """Names of the columns that label files have beside the label, in the order of a row's."""
    own = [one.column for one in quality.slices]
    return [*own, *([quality.bias.column] if quality.bias is not None else [])]


def _of(parts: dict[K, Tally], key: K) -> Tally | None:
    if key not in parts and len(parts) >= MAX_VALUES:
        return None
    return parts.setdefault(key, Tally())


def _place(id: str) -> int:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:4])
