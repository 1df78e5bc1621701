"""What was counted, as a value: replicas add up, and what a process had counted is subtracted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from loopwright.sketch.binning import Floats, Integers
from loopwright.sketch.layout import Layout
from loopwright.sketch.tally import FARTHEST, SUMS


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of all features of a layout."""

    layout: Layout
    rows: Integers
    """Of each group."""
    bins: Integers
    """Of all features, one after the other."""
    missing: Integers
    """Of each feature: NaN, infinite, None."""
    invalid: Integers
    """Of each feature: of a wrong type."""
    sums: Floats
    """Of shape (features, 4): of the distances from the centre, of their squares, and of how far
    values are below and above the range; in the feature's scale."""
    refused: int
    """Rows that the model's signature did not admit, or of which an input did not have the form
    that the baseline's has; that input is counted nowhere else."""

    @classmethod
    def zero(cls, layout: Layout) -> Counts:
        """Nothing counted yet."""
        features, groups = len(layout), len(layout.groups)
        return cls(
            layout,
            np.zeros(groups, dtype=np.int64),
            np.zeros(layout.total_bins, dtype=np.int64),
            np.zeros(features, dtype=np.int64),
            np.zeros(features, dtype=np.int64),
            np.zeros((features, SUMS)),
            0,
        )

    @classmethod
    def total(cls, layout: Layout, counts: Iterable[Counts]) -> Counts:
        """The sum of several, of replicas or of shards.

        Raises:
            ValueError: one has another layout.
        """
        found = cls.zero(layout)
        for one in counts:
            found = found + one
        return found

    def __add__(self, other: Counts) -> Counts:
        """Both together.

        Raises:
            ValueError: they have different layouts.
        """
        return self._with(other, 1)

    def __sub__(self, before: Counts) -> Counts:
        """What the same process has counted since.

        Raises:
            ValueError: they have different layouts.
        """
        return self._with(before, -1)

    def follows(self, before: Counts) -> bool:
        """Whether one process may have counted `before` first and this later."""
        return (
            self.layout == before.layout
            and self.refused >= before.refused
            and bool((self.rows >= before.rows).all())
            and bool((self.bins >= before.bins).all())
            and bool((self.missing >= before.missing).all())
            and bool((self.invalid >= before.invalid).all())
        )

    @property
    def most_rows(self) -> int:
        """Of the group that has most."""
        return int(self.rows.max(initial=0))

    @property
    def values(self) -> Integers:
        """Of each feature those that were numbers, or categories."""
        return self.layout.sums(self.bins)

    @property
    def feature_rows(self) -> Integers:
        """Of each feature."""
        return self.rows[self.layout.group_of]

    def check(self) -> None:
        """Whether every row was counted once in each feature, as in any true count.

        Raises:
            ValueError: one was not.
        """
        for one in (self.rows, self.bins, self.missing, self.invalid):
            if (one < 0).any():
                raise ValueError("a count is negative")
        if (self.values + self.missing + self.invalid != self.feature_rows).any():
            raise ValueError("the counts of a feature do not make the rows of its group")
        largest = 2 * FARTHEST**2 * np.maximum(self.values, 1)[:, None]
        # Of what is no number, no comparison is true.
        if not (np.abs(self.sums) <= largest).all() or (self.sums[:, 1:] < -1e-6).any():
            raise ValueError("a sum is not possible")

    def _with(self, other: Counts, sign: int) -> Counts:
        if self.layout != other.layout:
            raise ValueError("counts of different layouts cannot be put together")
        return Counts(
            self.layout,
            self.rows + sign * other.rows,
            self.bins + sign * other.bins,
            self.missing + sign * other.missing,
            self.invalid + sign * other.invalid,
            self.sums + sign * other.sums,
            self.refused + sign * other.refused,
        )
