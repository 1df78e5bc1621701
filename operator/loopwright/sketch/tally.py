"""Counts rows of numbers into the bins of their features.

A block of rows is sorted feature by feature, and the cuts are looked up in the sorted values. numpy
sorts with SIMD instructions, so this takes half the time of looking up every value among the cuts.
Blocks are small, so that they stay in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loopwright.sketch.binning import Array, Integers
from loopwright.sketch.layout import Feature

# Sums of a feature's values, as distances from the centre in scales: of the values, of their
# squares, of the distances below the range and of those above.
SUMS: Final = 4
# No value counts as farther from the centre in the sums, which must stay finite whatever comes.
FARTHEST: Final = 1e6
# Values that are sorted at once, if that makes no fewer and no more rows than this.
_VALUES: Final = 65_536
_FEWEST, _MOST = 256, 16_384
# What float32 holds exactly.
_NARROW: Final = ("b", 1), ("i", 1), ("u", 1), ("i", 2), ("u", 2), ("f", 2), ("f", 4)


class Tally:
    """What was counted of the features of one group."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.count = len(features)
        self.rows = 0
        self.bins = np.zeros(sum(one.bins for one in features), dtype=np.int64)
        self.missing = np.zeros(self.count, dtype=np.int64)
        self.sums = np.zeros((self.count, SUMS))
        self.block = int(np.clip(_VALUES // max(self.count, 1), _FEWEST, _MOST))
        """Rows that are counted at once."""
        self._cuts = [one.cuts for one in features]
        ends = np.cumsum([len(one.cuts) + 2 for one in features], dtype=np.int64)
        self._last = ends - 1
        self._first = np.concatenate([[0], ends[:-1]])
        # Of the differences between all numbers of values below a cut, those within a feature.
        self._within = np.delete(np.arange(ends[-1] - 1), self._last[:-1])
        starts = np.concatenate([[0], np.cumsum([one.bins for one in features])])
        self._outer = starts[:-1], starts[1:] - 1
        self._centre = np.array([[one.centre] for one in features])
        self._inverse = np.array([[1 / one.scale] for one in features])
        self._ranged = np.array([one.ranged for one in features], dtype=bool)
        limits = [(one.cuts[0], one.cuts[-1]) if one.ranged else (0.0, 0.0) for one in features]
        with np.errstate(over="ignore"):
            self._limits = (np.array(limits) - self._centre) * self._inverse
        self._by_type: dict[type, _Prepared] = {}

    def add(self, table: Array) -> None:
        """Counts rows.

        Args:
            table: Numbers of shape (rows, features); what is not finite is missing.
        """
        kind = _narrowest(table.dtype)
        prepared = self._by_type.get(kind)
        with np.errstate(over="ignore", invalid="ignore"):
            if prepared is None:
                prepared = self._by_type[kind] = self._prepare(kind)
            for at in range(0, len(table), self.block):
                self._add_block(table[at : at + self.block], prepared)
        self.rows += len(table)

    def _add_block(self, table: Array, prepared: _Prepared) -> None:
        block = prepared.scratch[:, : len(table)]
        np.copyto(block, table.T)
        block.sort(axis=1)
        below = np.concatenate(
            [row.searchsorted(own) for row, own in zip(block, prepared.cuts, strict=True)]
        )
        bins = np.diff(below)[self._within]
        missing = len(table) - (below[self._last] - below[self._first])
        self.bins += bins
        if missing.any():
            self.missing += missing
            # In its place, so that what is finite stays sorted.
            np.copyto(block, prepared.centre, where=~np.isfinite(block))
        np.subtract(block, prepared.centre, out=block)
        np.multiply(block, prepared.inverse, out=block)
        if missing.any() or not -FARTHEST <= block[:, 0].min() <= block[:, -1].max() <= FARTHEST:
            np.nan_to_num(block, copy=False, nan=0.0)
            np.clip(block, -FARTHEST, FARTHEST, out=block)
        self.sums[:, 0] += block.sum(axis=1)
        self.sums[:, 1] += np.einsum("ij,ij->i", block, block)
        self._add_outside(block, bins, below)

    def _add_outside(self, block: Array, bins: Integers, below: Integers) -> None:
        """How far values are outside the range; few ever are, at the ends of what was sorted."""
        low_bin, high_bin = self._outer
        outside = (bins[low_bin] + bins[high_bin] > 0) & self._ranged
        if not outside.any():
            return
        for place in np.flatnonzero(outside).tolist():
            (low, high), first, last = self._limits[place], self._first[place], self._last[place]
            under = block[place, below[first] : below[first + 1]].astype(np.float64)
            over = block[place, below[last - 1] : below[last]].astype(np.float64)
            self.sums[place, 2] += np.maximum(low - under, 0.0).sum()
            self.sums[place, 3] += np.maximum(over - high, 0.0).sum()

    def _prepare(self, kind: type) -> _Prepared:
        # What is below the least finite number is -inf, and what is not below +inf that or NaN.
        ends = [np.finfo(kind).min], [np.inf]
        return _Prepared(
            scratch=np.empty((self.count, self.block), dtype=kind),
            cuts=[np.concatenate([ends[0], one, ends[1]]).astype(kind) for one in self._cuts],
            centre=self._centre.astype(kind),
            inverse=self._inverse.astype(kind),
        )


@dataclass(frozen=True)
class _Prepared:
    """What counting needs, in one type of number."""

    scratch: Array
    cuts: list[Array]
    """Of each feature, between the least finite number and infinity."""
    centre: Array
    inverse: Array
    """Of the scale."""


def _narrowest(dtype: Any) -> type:
    """float32 where it holds all values exactly: it is sorted in half the time."""
    return np.float32 if (dtype.kind, dtype.itemsize) in _NARROW else np.float64
