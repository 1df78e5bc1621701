"""Counts what a process sees, as it comes, into the bins of a baseline.

Adding a row must cost next to nothing, so rows are only put aside, and counted some hundreds at a
time. Memory is that of the bins and of one block of rows, whatever comes.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from loopwright.sketch.binning import Array
from loopwright.sketch.counts import Counts
from loopwright.sketch.extract import Extractor
from loopwright.sketch.layout import Group, Layout
from loopwright.sketch.snapshot import Snapshot
from loopwright.sketch.tally import Tally

Tensors = Mapping[str, Any]

# Requests that are put aside before they are counted, and values: rows of images are wide.
_REQUESTS: Final = 1024
_VALUES: Final = 262_144
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
        groups = self.layout.groups
        self._inputs, self._outputs = (
            _Side([one for at, one in self._counters.items() if groups[at].output is output])
            for output in (False, True)
        )

    def add(self, inputs: Tensors, outputs: Tensors | None = None, *, copy: bool = True) -> None:
        """Counts rows. It never raises: what cannot be counted counts as refused.

        Args:
            inputs: The model's inputs by name, each of shape (rows, ...): numbers, or texts in
                object arrays. Others than those of the baseline may be there too.
            outputs: What the model gave for them. Those that are not there are not counted.
            copy: Whether arrays and mappings may change afterwards. Otherwise they are kept until
                they are counted, which is cheaper.
        """
        with self._lock:
            self._refused += self._inputs.add(inputs, copy)
            if outputs:
                self._outputs.add(outputs, copy)

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
        self._refused += self._inputs.flush()
        self._outputs.flush()
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


class _Side:
    """The requests whose inputs, or outputs, wait to be counted."""

    def __init__(self, counters: Sequence[_Counter]) -> None:
        self._eager = [one for one in counters if one.eager]
        self._others = [one for one in counters if not one.eager]
        self._names = {one.tensor for one in self._others}
        values = sum(one.size for one in self._others)
        most = min([one.tally.block for one in self._others], default=1)
        self._most = min(most, -(-_VALUES // max(values, 1)))
        self._waiting: list[Tensors] = []
        self._rows = 0

    def add(self, tensors: Tensors, copy: bool) -> int:
        """Puts a request aside; returns how many rows are refused now, of it or of earlier ones."""
        rows = _rows(tensors)
        if self._eager:
            # Each of them, also after one that does not fit.
            left = [one.take([_tensor(tensors, one.tensor)]) for one in self._eager]
            if any(left):
                return rows
        if not self._others:
            return 0
        if copy or len(tensors) > len(self._names):
            tensors = self._needed(tensors, copy)
        self._waiting.append(tensors)
        self._rows += rows
        full = self._rows >= self._most or len(self._waiting) >= _REQUESTS
        return self.flush() if full else 0

    def _needed(self, tensors: Tensors, copy: bool) -> Tensors:
        """Without others, such as long texts, which would be kept as long."""
        names = self._names
        if "" in names:
            names = {*names, *list(tensors)[:1]}
        kept = {name: one for name, one in tensors.items() if name in names}
        return {name: _copy(one) for name, one in kept.items()} if copy else kept

    def flush(self) -> int:
        """Hands all rows to the counters; returns how many they refused."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return 0
        unfit: set[int] = set()
        for one in self._others:
            name = one.tensor
            unfit.update(
                one.take(
                    [tensors.get(name) for tensors in waiting]
                    if name
                    else [_tensor(tensors, name) for tensors in waiting]
                )
            )
        return sum(_rows(waiting[place]) for place in unfit)


class _Counter:
    """Makes and counts the features of one group."""

    def __init__(self, layout: Layout, group: Group, extractor: Extractor) -> None:
        features = layout.features[group.places]
        self.tensor, self.size = group.source.tensor, group.source.size
        self.eager = extractor.eager
        self.tally = Tally(features)
        self.invalid = np.zeros(len(features), dtype=np.int64)
        self._compute = extractor.compute
        self._extracted: list[Array] = []
        self._rows = 0

    def take(self, arrays: list[Any]) -> list[int]:
        """Takes rows in; returns the places of arrays that have another form, which it leaves."""
        if not self.eager:
            try:
                whole = np.concatenate([one for one in arrays if one is not None])
            except (TypeError, ValueError):
                # There are none, or they differ in shape or type.
                pass
            else:
                if self._fits(whole, _NUMBERS):
                    self._extract(whole)
                    return []
        return [place for place, one in enumerate(arrays) if not self._take_one(one)]

    def count(self) -> None:
        """Counts all rows that were taken in."""
        if self._extracted:
            first, *others = self._extracted
            self.tally.add(np.concatenate(self._extracted) if others else first)
        self._extracted, self._rows = [], 0

    def _take_one(self, rows: Any) -> bool:
        if rows is None:
            return True
        try:
            found = np.asarray(rows)
        except (TypeError, ValueError):
            # Rows of different lengths.
            return False
        if not found.ndim or not self._fits(found, _NUMBERS + _OBJECTS):
            return False
        self._extract(found)
        return True

    def _fits(self, rows: Array, kinds: str) -> bool:
        if not len(rows):
            return True
        wide = rows.size == len(rows) * self.size if self.size else rows.size > 0
        return wide and rows.dtype.kind in kinds

    def _extract(self, rows: Array) -> None:
        if not len(rows):
            return
        # Whatever comes: what is too large for a number is missing.
        with np.errstate(over="ignore", invalid="ignore"):
            table, invalid = self._compute(rows)
        if invalid is not None:
            self.invalid += invalid
        self._extracted.append(table)
        self._rows += len(table)
        if self._rows >= self.tally.block:
            self.count()


def _tensor(tensors: Tensors, name: str) -> Any:
    """By its name; the first when it has none."""
    return tensors.get(name) if name else next(iter(tensors.values()), None)


def _copy(tensor: Any) -> Any:
    try:
        return np.array(tensor)
    except (TypeError, ValueError):
        return tensor


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
