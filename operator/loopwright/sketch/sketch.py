"""Counts what a process sees, as it comes, into the bins of a baseline.

Adding rows must cost next to nothing, so their features are only put aside, and counted some
hundreds at a time. Memory is that of the bins and of one block of rows, whatever comes.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loopwright.sketch.binning import Array
from loopwright.sketch.counts import Counts
from loopwright.sketch.extract import Extractor
from loopwright.sketch.layout import Group, Layout
from loopwright.sketch.snapshot import Snapshot
from loopwright.sketch.tally import Tally

Tensors = Mapping[str, Any]

_NUMBERS: Final = "fiub"
_OBJECTS: Final = "OU"


class Sketch:
    """The counts of one process. All methods may be called by several threads at once.

    A process that is forked off begins anew, as a process of its own.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            layout: Of the baseline of the model whose rows are counted.
            clock: Seconds since the epoch.
            steady: Seconds of a clock that is never adjusted.
        """
        self.layout = layout
        self._clock, self._steady = clock, steady
        self._begin()
        _SKETCHES.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._process, self._started, self._began = os.urandom(16), self._clock(), self._steady()
        self._refused = 0
        self._counters = {
            place: _Counter(self.layout, group, group.extractor)
            for place, group in enumerate(self.layout.groups)
            if group.extractor is not None
        }
        groups = [(self.layout.groups[place], one) for place, one in self._counters.items()]
        self._inputs = _intakes(one for one in groups if not one[0].output)
        self._outputs = _intakes(one for one in groups if one[0].output)

    def add(self, inputs: Tensors, outputs: Tensors | None = None) -> None:
        """Counts rows. It never raises: what cannot be counted counts as refused.

        Args:
            inputs: The model's inputs by name, each of shape (rows, ...): numbers, or texts in
                object arrays. Others than those of the baseline may be there too. Nothing of them
                is kept.
            outputs: What the model gave for them. Those that are not there are not counted.
        """
        self.add_all([inputs], [outputs] if outputs else [])

    def add_all(self, inputs: Sequence[Tensors], outputs: Sequence[Tensors] = ()) -> None:
        """Counts the rows of several requests, which costs less than one by one; see `add`."""
        with self._lock:
            self._refused += _add(self._inputs, inputs)
            _add(self._outputs, outputs)

    def refuse(self, rows: int = 1) -> None:
        """Counts rows that the model's signature did not admit."""
        with self._lock:
            self._refused += rows

    def flush(self) -> None:
        """Counts what was put aside, so that no later call has to."""
        with self._lock:
            self._count()

    def snapshot(self) -> Snapshot:
        """All that was counted since the process began, whole: no row is counted in parts."""
        with self._lock:
            self._count()
            age = max(0.0, self._steady() - self._began)
            return Snapshot(self._process, self._started, age, self._counts())

    def _count(self) -> None:
        for one in self._counters.values():
            one.count()

    def _counts(self) -> Counts:
        found = Counts.zero(self.layout)
        for place, counter in self._counters.items():
            places, tally = self.layout.groups[place].places, counter.tally
            found.rows[place] = tally.rows
            first = int(self.layout.starts[places.start])
            found.bins[first : first + len(tally.bins)] = tally.bins
            # What is of a wrong type was NaN when it was counted.
            found.missing[places] = tally.missing - counter.invalid
            found.invalid[places] = counter.invalid
            found.sums[places] = tally.sums
        return Counts(
            self.layout, found.rows, found.bins, found.missing, found.invalid, found.sums,
            self._refused,
        )  # fmt: skip


@dataclass(frozen=True)
class _Intake:
    """What is made of one tensor."""

    name: str
    counters: Sequence[_Counter]

    def add(self, tensors: Sequence[Any]) -> Iterable[int]:
        """Takes the rows of requests in; returns the places of those that do not fit."""
        if len(tensors) > 1 and not any(one.eager for one in self.counters):
            try:
                whole = np.concatenate([one for one in tensors if one is not None])
            except (TypeError, ValueError):
                # There are none, or they differ in shape or type.
                pass
            else:
                if whole.dtype.kind in _NUMBERS and self._add(whole):
                    return ()
        return [place for place, one in enumerate(tensors) if not self._add(one)]

    def _add(self, tensor: Any) -> bool:
        if tensor is None:
            return True
        try:
            rows = np.asarray(tensor)
        except (TypeError, ValueError):
            # They differ in length.
            return False
        if not rows.ndim:
            return False
        if len(rows):
            if not all(one.fits(rows) for one in self.counters):
                return False
            for one in self.counters:
                one.take(rows)
        return True


class _Counter:
    """Makes the features of one group, which wait side by side until there is a block to count."""

    def __init__(self, layout: Layout, group: Group, extractor: Extractor) -> None:
        features = layout.features[group.places]
        self._size = group.source.size
        self.eager = extractor.eager
        self.tally = Tally(features)
        self.invalid = np.zeros(len(features), dtype=np.int64)
        self._compute = extractor.compute
        # Of the narrowest type; the first rows make it large, and of theirs.
        self._waiting: Array = np.empty((0, len(features)), dtype=bool)
        self._rows = 0

    def fits(self, rows: Array) -> bool:
        """Whether the features of one row and more can be made."""
        wide = rows.size == len(rows) * self._size if self._size else rows.size > 0
        return wide and rows.dtype.kind in _NUMBERS + _OBJECTS

    def take(self, rows: Array) -> None:
        """Takes rows in that fit, of which nothing is kept."""
        # Whatever comes: what is too large for a number is missing.
        with np.errstate(over="ignore", invalid="ignore"):
            table, invalid = self._compute(rows)
        if invalid is not None:
            self.invalid += invalid
        whole = len(table) - len(table) % self.tally.block
        if whole:
            self.tally.add(table[:whole])
        if whole < len(table):
            self._put(table[whole:])

    def count(self) -> None:
        """Counts all rows that were taken in."""
        rows, self._rows = self._waiting[: self._rows], 0
        if len(rows):
            self.tally.add(rows)

    def _put(self, table: Array) -> None:
        kind = np.promote_types(self._waiting.dtype, table.dtype)
        if not len(self._waiting) or kind != self._waiting.dtype:
            self.count()
            self._waiting = np.empty((self.tally.block, table.shape[1]), kind)
        elif self._rows + len(table) > self.tally.block:
            self.count()
        last = self._rows + len(table)
        self._waiting[self._rows : last] = table
        self._rows = last


def _intakes(groups: Iterable[tuple[Group, _Counter]]) -> list[_Intake]:
    """Of each tensor, what its rows are put into."""
    by_tensor: dict[str, list[_Counter]] = {}
    for group, counter in groups:
        by_tensor.setdefault(group.source.tensor, []).append(counter)
    return [_Intake(*one) for one in by_tensor.items()]


def _add(intakes: Sequence[_Intake], requests: Sequence[Tensors]) -> int:
    """Takes requests in; returns how many of their rows do not fit."""
    unfit: set[int] = set()
    for one in intakes:
        name = one.name
        # Without a name it is the first.
        found = [r.get(name) if name else next(iter(r.values()), None) for r in requests]
        unfit.update(one.add(found))
    return sum(_rows(requests[place]) for place in unfit)


def _rows(tensors: Tensors) -> int:
    for one in tensors.values():
        try:
            return len(one)
        except TypeError:
            return 1
    return 0


_SKETCHES: Final[weakref.WeakSet[Sketch]] = weakref.WeakSet()


def _after_fork() -> None:
    for one in _SKETCHES:
        one._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
