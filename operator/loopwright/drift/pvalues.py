"""Probabilities under which nothing has drifted, with numpy and math alone."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from loopwright.sketch.binning import Floats

_TERMS: Final = 64
_EPSILON: Final = 1e-17


def chi_square_sf(statistic: Floats, freedom: Floats) -> Floats:
    """The probability of at least this statistic, for whole degrees of freedom.

    The finite sums of Abramowitz and Stegun 26.4.4 and 26.4.5, all of whose terms are positive; 1
    without degrees of freedom.
    """
    found = np.ones(len(statistic))
    half = np.maximum(statistic, 0.0) / 2
    for value in np.unique(freedom[freedom > 0]).tolist():
        rows = freedom == value
        found[rows] = _gamma_sf(half[rows], int(value))
    return found


def _gamma_sf(half: Floats, freedom: int) -> Floats:
    odd = freedom % 2
    powers = np.arange(freedom // 2) + odd / 2
    norms = np.array([math.lgamma(power + 1) for power in powers])
    with np.errstate(divide="ignore", invalid="ignore"):
        # At 0 the power 0 of 0 is 1.
        logs = np.where(powers > 0, powers * np.log(half)[:, None], 0.0)
    total = np.exp(logs - half[:, None] - norms).sum(axis=1)
    if odd:
        total = total + np.array([math.erfc(math.sqrt(one)) for one in half.tolist()])
    found: Floats = np.clip(total, 0.0, 1.0)
    return found


def kolmogorov_sf(difference: Floats, reference: Floats, window: Floats) -> Floats:
    """The probability of at least this difference of distribution functions, asymptotically.

    Of continuous values that are not binned; binning can only make the difference smaller, and so
    the probability larger than it is. Smirnov 1948, with the correction for small samples of
    Stephens 1970.

    Args:
        difference: Kolmogorov and Smirnov's.
        reference: Size of that sample.
        window: Size of that sample.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(reference * window / (reference + window))
        scaled = np.where(root > 0, (root + 0.12 + 0.11 / root) * difference, 0.0)
    # Below this it is 1 to all digits, and the series would take many terms.
    scaled = np.maximum(scaled, 0.2)
    k = np.arange(1, 101)[:, None]
    terms = np.where(k % 2 == 1, 2.0, -2.0) * np.exp(-2.0 * k**2 * scaled**2)
    found: Floats = np.clip(terms.sum(axis=0), 0.0, 1.0)
    return found


def increase_p(hits: int, size: int, before: int, size_before: int) -> float:
    """The probability of so many hits in the window or more, given how many both have together.

    Fisher's exact test against an increase; 1 where the share is not larger than before.
    """
    if hits * size_before <= before * size or not size_before:
        return 1.0
    together = hits + before
    start = (
        _log_choose(size, hits)
        + _log_choose(size_before, before)
        - _log_choose(size + size_before, together)
    )
    return min(1.0, math.exp(min(0.0, start)) * _tail(hits, size, before, size_before))


def _tail(hits: int, size: int, before: int, size_before: int) -> float:
    """The sum of this and all larger hypergeometric terms, in units of this one."""
    total, term, at = 1.0, 1.0, 0
    while at < before and hits + at < size:
        steps = np.arange(at, min(at + _TERMS, before, size - hits), dtype=np.float64)
        ratios = (size - hits - steps) * (before - steps)
        ratios /= (hits + steps + 1) * (size_before - before + steps + 1)
        terms = term * np.cumprod(ratios)
        total, term, at = total + float(terms.sum()), float(terms[-1]), at + len(steps)
        if term < _EPSILON * total:
            break
    return total


def outside_p(hits: int, size: int, size_before: int) -> float:
    """The probability of so many values outside the range of another sample, or more.

    Exact for continuous values, whatever their distribution: what lies outside the range is as
    likely as what lies above the second largest value (Wilks, "Determination of sample sizes for
    setting tolerance limits", Ann. Math. Stat. 1941). For that, of the hits + 1 largest values of
    both samples at most one must be of the other.
    """
    if not hits or size_before < 2:
        return 1.0
    every = _log_choose(size + size_before, hits + 1)
    none = _log_choose(size, hits + 1) if hits < size else -math.inf
    one = _log_choose(size, hits) + math.log(size_before)
    return min(1.0, math.exp(none - every) + math.exp(one - every))


def novelty_p(hits: int, size: int, singletons: int, doubletons: int, size_before: int) -> float:
    """The probability of so many values of categories that another sample lacks, or more.

    A value is of a new category about as often as one of the other sample is alone in its category
    (Good, "The population frequencies of species", Biometrika 1953), give or take what Esty found
    ("A normal limit law for a nonparametric estimator of the coverage of a random sample", Ann.
    Stat. 1983). With a gamma distribution of that mean and variance, hits are negative binomial.
    One more that is alone is assumed than there are, to be on the safe side.

    Args:
        hits: Values of new categories.
        size: All values.
        singletons: Categories that the other sample has once.
        doubletons: Categories that it has twice.
        size_before: Its values.
    """
    if not hits or not size_before:
        return 1.0
    mean = size * (singletons + 1) / size_before
    if hits <= mean:
        return 1.0
    shape = (singletons + 1) ** 2 / (singletons + 1 + 2 * doubletons)
    ratio = mean / (mean + shape)
    log = math.lgamma(hits + shape) - math.lgamma(shape) - math.lgamma(hits + 1)
    log += hits * math.log(ratio) + shape * math.log1p(-ratio)
    total, term, at = 1.0, 1.0, float(hits)
    while term >= _EPSILON * total:
        steps = at + np.arange(_TERMS)
        terms = term * np.cumprod((steps + shape) / (steps + 1) * ratio)
        total, term, at = total + float(terms.sum()), float(terms[-1]), at + _TERMS
    return min(1.0, math.exp(min(0.0, log)) * total)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
