"""What is measured of a window, feature by feature: distances, what chance makes of them, tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from loopwright.drift import distances, pvalues
from loopwright.drift.reference import Reference
from loopwright.drift.rules import Method
from loopwright.sketch import Counts, Layout
from loopwright.sketch.binning import Array, Floats, Integers

# Bins within the range for all distances that know no order. More make chance larger and tests
# weaker; fewer hide changes within a bin. Small samples have fewer, with so many values each.
GROUPS: Final = 16
_PER_GROUP: Final = 20
# The mean of a normal variable's absolute value.
_MEAN_NORMAL: Final = float(np.sqrt(2 / np.pi))


@dataclass(frozen=True, eq=False)
class Distance:
    """One method, of all features."""

    value: Floats
    """As measured."""
    effect: Floats
    """Without what chance alone makes of it on average: about 0 where nothing has drifted."""
    pvalue: Floats
    """The probability of this much by chance."""


@dataclass(frozen=True, eq=False)
class Figures:
    """Of each feature of a layout, in order."""

    layout: Layout
    reference_values: Integers
    """Numbers, or categories, of the reference."""
    values: Integers
    """Of the window."""
    rows: Integers
    """Of the window, with what is missing."""
    distances: Mapping[Method, Distance]
    """KS and Wasserstein mean nothing of categories."""
    missing: Integers
    """Missing values of the window."""
    reference_missing: Integers
    """Of the reference."""
    outside: Integers
    """Numbers outside the range, in the window."""
    reference_outside: Integers
    """In the reference: none, if the range is its own."""
    unseen: Integers
    """Values of new categories in the window."""
    reference_unseen: Integers
    """In the reference: none, if the categories are its own."""
    invalid: Integers
    """Values of a wrong type in the window."""
    mean_shift: Floats
    """How far the window's mean is from the baseline's, in standard deviations of the baseline; NaN
    of categories and without values."""
    std_ratio: Floats
    """The window's standard deviation by the baseline's; NaN likewise."""


def compare(reference: Reference, window: Counts) -> Figures:
    """Measures a window.

    Raises:
        ValueError: it was counted in other bins.
    """
    layout = reference.layout
    if layout != window.layout:
        raise ValueError("the window was counted with another baseline")
    shift, ratio = _moments(window, layout.ranged)
    known, news = (_outermost(layout, one.bins) for one in (reference, window))
    return Figures(
        layout=layout,
        reference_values=reference.values,
        values=window.values,
        rows=window.feature_rows,
        distances=_distances(reference, window),
        missing=window.missing,
        reference_missing=reference.missing,
        outside=news[0],
        reference_outside=known[0],
        unseen=news[1],
        reference_unseen=known[1],
        invalid=window.invalid,
        mean_shift=shift,
        std_ratio=ratio,
    )


def _distances(reference: Reference, window: Counts) -> dict[Method, Distance]:
    m, n = reference.values.astype(np.float64), window.values.astype(np.float64)
    with np.errstate(divide="ignore"):
        # Of a difference of two shares that are the same: times share (1 - share).
        variance = np.where((m > 0) & (n > 0), 1 / m + 1 / n, 0.0)
    before, now = _grouped(reference, window, m, n)
    statistic, freedom = distances.chi_square(before, now)
    chi_p = pvalues.chi_square_sf(statistic, freedom)
    psi = distances.psi(before, now)
    divergence = distances.jensen_shannon(before, now)
    squares = _squares(before, now)
    noise = freedom * variance
    # All three are, but for a factor, the statistic when differences are small.
    found = {
        Method.PSI: Distance(psi, np.maximum(psi - noise, 0.0), chi_p),
        Method.JENSEN_SHANNON: Distance(
            np.sqrt(divergence),
            np.sqrt(np.maximum(divergence - noise / (8 * np.log(2)), 0.0)),
            chi_p,
        ),
        Method.CHI_SQUARE: Distance(
            np.sqrt(squares), np.sqrt(np.maximum(squares - noise, 0.0)), chi_p
        ),
    }
    return found | _ordered(reference, window, variance, (m, n))


def _ordered(
    reference: Reference, window: Counts, variance: Floats, sizes: tuple[Floats, Floats]
) -> dict[Method, Distance]:
    """Distances that know an order, in all bins."""
    layout = reference.layout
    before, now = reference.counts, layout.matrix(window.bins)
    largest = distances.kolmogorov_smirnov(before, now)
    ks_p = pvalues.kolmogorov_sf(largest, *sizes)
    deviation = _MEAN_NORMAL * np.sqrt(variance)
    together = np.cumsum(distances.shares(before) + distances.shares(now), axis=1) / 2
    spread = np.sqrt(np.clip(together * (1 - together), 0.0, None))
    ks_noise = deviation * spread.max(axis=1, initial=0.0)
    area = distances.wasserstein(before, now, layout.widths)
    halves = np.concatenate([np.zeros((len(layout), 1)), spread], axis=1)
    area_noise = deviation * (layout.widths * (halves[:, 1:] + halves[:, :-1]) / 2).sum(axis=1)
    outside = [
        one / np.maximum(size, 1.0)[:, None]
        for one, size in zip((reference.outside, window.sums[:, 2:]), sizes, strict=True)
    ]
    area += np.abs(outside[1] - outside[0]).sum(axis=1)
    return {
        Method.KOLMOGOROV_SMIRNOV: Distance(largest, _beyond(largest, ks_noise), ks_p),
        Method.WASSERSTEIN: Distance(area, _beyond(area, area_noise), ks_p),
    }


def _beyond(value: Floats, noise: Floats) -> Floats:
    """Chance adds like the other side of a right angle: much where there is nothing else, and
    little beside a large difference."""
    found: Floats = np.sqrt(np.maximum(value**2 - noise**2, 0.0))
    return found


def _squares(reference: Floats, window: Floats) -> Floats:
    p, q = distances.shares(reference), distances.shares(window)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = 2 * (q - p) ** 2 / (p + q)
    found: Floats = np.where(p + q > 0, terms, 0.0).sum(axis=1)
    return found


def _grouped(reference: Reference, window: Counts, m: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Both in bins of about equal shares of the reference; those outside the range, and those of
    categories, as they are, as long as enough is in each."""
    layout = reference.layout
    rows = np.repeat(np.arange(len(layout)), layout.bins)
    places = np.arange(layout.total_bins) - layout.starts[rows]
    cumulated = np.cumsum(reference.counts, axis=1)[rows, places]
    middle = (cumulated - reference.bins / 2) / np.maximum(m, 1.0)[rows]
    groups = np.clip(np.minimum(m, n) // _PER_GROUP, 2, GROUPS).astype(np.int64)[rows]
    ranged = layout.ranged[rows]
    inner = 1 + np.clip(middle * groups, 0, groups - 1).astype(np.int64)
    last = places == layout.bins[rows] - 1
    columns = np.where(ranged, np.where(places == 0, 0, np.where(last, groups + 1, inner)), places)
    width = int(columns.max(initial=0)) + 1
    cells = rows * width + columns

    def counted(bins: Integers) -> Floats:
        found = np.zeros(len(layout) * width)
        np.add.at(found, cells, bins)
        return found.reshape(-1, width)

    # A sample has no categories that are new to itself, so rare ones and new ones are alike.
    tail = ~layout.categorical[:, None] | (np.arange(width) < layout.bins[:, None] - 2)
    return distances.pooled(counted(reference.bins), counted(window.bins), ~tail)


def _outermost(layout: Layout, bins: Integers) -> tuple[Integers, Integers]:
    """Values outside the range of numeric features, and of new categories of the others."""
    if not len(layout):
        return bins, bins
    first, last = bins[layout.starts], bins[layout.starts + layout.bins - 1]
    return np.where(layout.ranged, first + last, 0), np.where(layout.categorical, last, 0)


def _moments(window: Counts, ranged: Array) -> tuple[Floats, Floats]:
    """Mean and standard deviation, in the baseline's scale."""
    values = window.values
    known = ranged & (values > 0)
    size = np.maximum(values, 1)
    mean = window.sums[:, 0] / size
    variance = np.maximum(window.sums[:, 1] / size - mean**2, 0.0)
    return np.where(known, mean, np.nan), np.where(known, np.sqrt(variance), np.nan)
