"""What windows are compared with: the baseline of the model, or another window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from loopwright.api.baseline import CATEGORICAL, Baseline
from loopwright.sketch import Counts, Feature, Layout
from loopwright.sketch.binning import Floats, Integers


@dataclass(frozen=True, eq=False)
class Reference:
    """Counts of a sample whose distribution is the right one."""

    layout: Layout
    bins: Integers
    """Of all features, one after the other."""
    missing: Integers
    """Of each feature."""
    outside: Floats
    """Of shape (features, 2): how far values are below and above the range, summed, in scales."""
    fitted: bool
    """Whether the range and the categories are those of this very sample."""

    @classmethod
    def of(cls, baseline: Baseline, layout: Layout | None = None) -> Reference:
        """The training data.

        Raises:
            ValueError: the baseline contradicts itself.
        """
        layout = layout or Layout.of(baseline)
        bins = [_bins(one) for one in layout.features]
        missing = [one.profile.missing for one in layout.features]
        return cls(
            layout,
            np.concatenate([np.zeros(0), *bins]).astype(np.int64),
            np.array(missing, dtype=np.int64),
            np.zeros((len(layout), 2)),
            fitted=True,
        )

    @classmethod
    def window(cls, counts: Counts) -> Reference:
        """An earlier window: whether things change, rather than whether they are as in training."""
        return cls(counts.layout, counts.bins, counts.missing, counts.sums[:, 2:], fitted=False)

    @cached_property
    def values(self) -> Integers:
        """Of each feature those that were numbers, or categories."""
        return self.layout.sums(self.bins)

    @cached_property
    def counts(self) -> Floats:
        """Of shape (features, bins of the largest)."""
        return self.layout.matrix(self.bins)


def _bins(feature: Feature) -> list[int]:
    counts = feature.profile.counts
    if feature.profile.kind == CATEGORICAL:
        # Nothing was new.
        return [*counts, 0]
    if feature.ranged:
        # Nor outside its own range.
        return [0, *counts, 0]
    return [sum(counts)]
