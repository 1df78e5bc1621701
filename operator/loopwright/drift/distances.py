"""Distances between two samples that were counted into the same bins, for many features at once.

All take counts of shape (features, bins), the reference first; bins that a feature does not have
hold zeros. What binning hides is bounded in docs/concepts/drift-statistics.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from loopwright.sketch.binning import Floats

# Cells with fewer expected in the smaller sample are put together (Cochran, "Some methods for
# strengthening the common chi-square tests", Biometrics 1954); a cell with less is no cell.
_FEW, _NONE = 5.0, 1.0
_LOG2: Final = float(np.log(2.0))


def shares(counts: Floats) -> Floats:
    """Of each bin in its feature; zeros where a feature has nothing."""
    totals = counts.sum(axis=1, keepdims=True)
    found: Floats = counts / np.maximum(totals, 1.0)
    return found


def psi(reference: Floats, window: Floats) -> Floats:
    """Population stability index: the sum of (q - p) ln(q / p), Jeffreys' divergence in nats.

    A bin that one sample lacks counts as half a value of it, since the logarithm of 0 is none.
    """
    p, q = (_without_zeros(one) for one in (reference, window))
    found: Floats = np.where(reference + window > 0, (q - p) * np.log(q / p), 0.0).sum(axis=1)
    return found


def _without_zeros(counts: Floats) -> Floats:
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    found: Floats = np.maximum(counts, 0.5) / totals
    return found


def jensen_shannon(reference: Floats, window: Floats) -> Floats:
    """Jensen and Shannon's divergence in bits, between 0 and 1; its square root is a distance.

    Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 1991.
    """
    p, q = shares(reference), shares(window)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / middle), 0.0)
        terms += np.where(q > 0, q * np.log(q / middle), 0.0)
    found: Floats = np.clip(terms.sum(axis=1) / (2 * _LOG2), 0.0, 1.0)
    return found


def kolmogorov_smirnov(reference: Floats, window: Floats) -> Floats:
    """The largest difference of the distribution functions at a cut.

    Between cuts the samples may differ by more, at most by the smaller share of a bin.
    """
    found: Floats = np.abs(cumulated(reference, window)).max(axis=1, initial=0.0)
    return found


def cumulated(reference: Floats, window: Floats) -> Floats:
    """Differences of the distribution functions at the end of each bin but the last."""
    differences = shares(window) - shares(reference)
    found: Floats = np.cumsum(differences, axis=1)[:, :-1]
    return found


def wasserstein(reference: Floats, window: Floats, widths: Floats) -> Floats:
    """The area between the distribution functions, within the range of the reference.

    Within a bin values are taken to lie evenly; by that it is wrong by at most half the sum of
    width (p + q) over the bins.

    Args:
        reference: Counts.
        window: Counts.
        widths: Of the bins; 0 where they have no end.
    """
    differences = shares(window) - shares(reference)
    after = np.cumsum(differences, axis=1)
    before = after - differences
    low, high = np.abs(before), np.abs(after)
    crossing = before * after < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # Two triangles, where the difference changes its sign.
        crossed = (low**2 + high**2) / (2 * (low + high))
    found: Floats = (widths * np.where(crossing, crossed, (low + high) / 2)).sum(axis=1)
    return found


def chi_square(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Pearson's statistic of the table of both samples, and its degrees of freedom.

    Its probability is right where enough is in each bin, as `pooled` takes care of.
    """
    m, n = (one.sum(axis=1, keepdims=True) for one in (reference, window))
    together = reference + window
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (window * np.sqrt(m / n) - reference * np.sqrt(n / m)) ** 2 / together
    statistic: Floats = np.where(together > 0, terms, 0.0).sum(axis=1)
    cells = (together > 0).sum(axis=1)
    enough = ((m > 0) & (n > 0))[:, 0]
    freedom: Floats = np.where(enough, np.maximum(cells - 1, 0), 0).astype(np.float64)
    return np.where(freedom > 0, statistic, 0.0), freedom


def pooled(
    reference: Floats, window: Floats, rest: NDArray[np.bool_] | None = None
) -> tuple[Floats, Floats]:
    """The same counts, but with one bin more, for all bins in which too few values are expected.

    Those are bins with fewer than five in the smaller sample, if both are alike. If even together
    they have less than one, they go to the largest bin, where they matter least.

    Args:
        reference: Counts.
        window: Counts.
        rest: Which bins go there in any case.
    """
    m, n = (one.sum(axis=1, keepdims=True) for one in (reference, window))
    smaller = np.minimum(m, n) / np.maximum(m + n, 1.0)
    together = reference + window
    few = together * smaller < _FEW
    if rest is not None:
        few |= rest
    lone = np.where(few, together, 0.0).sum(axis=1) * smaller[:, 0] < _NONE
    rows, largest = np.arange(len(together)), np.where(few, -1.0, together).argmax(axis=1)

    def moved(counts: Floats) -> Floats:
        kept = np.where(few, 0.0, counts)
        gone = counts.sum(axis=1) - kept.sum(axis=1)
        kept[rows, largest] += np.where(lone, gone, 0.0)
        found: Floats = np.concatenate([kept, np.where(lone, 0.0, gone)[:, None]], axis=1)
        return found

    return moved(reference), moved(window)
