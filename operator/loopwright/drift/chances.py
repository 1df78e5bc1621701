"""Tests and intervals of shares and means. Pure, and without scipy, which servers do not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_TINY: Final = 1e-300
_PRECISION: Final = 1e-14
_STEPS: Final = 100_000


def binomial_cdf(k: int, n: int, p: float) -> float:
    """The probability of at most k successes in n trials of probability p."""
    if k >= n or p <= 0:
        return 1.0
    return 0.0 if k < 0 or p >= 1 else _beta(n - k, k + 1, 1 - p)


def proportion(k: int, n: int, alpha: float) -> tuple[float, float]:
    """An interval for a share of which k of n were seen: each end is wrong with a probability of at
    most alpha, in samples of any size (Clopper and Pearson, Biometrika 1934)."""
    low = 0.0 if k == 0 else _where(lambda p: 1 - binomial_cdf(k - 1, n, p) - alpha, 0.0, 1.0)
    high = 1.0 if k == n else _where(lambda p: alpha - binomial_cdf(k, n, p), 0.0, 1.0)
    return low, high


def student_sf(t: float, freedom: float) -> float:
    """The probability that a variable of Student's distribution is above t."""
    tail = _beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return tail if t >= 0 else 1 - tail


def student_quantile(alpha: float, freedom: float) -> float:
    """What such a variable is above with probability alpha, which is below a half."""
    return _where(lambda t: alpha - student_sf(t, freedom), 0.0, 1e6)


def contrast(less: tuple[int, int], more: tuple[int, int], weight: float, bound: float) -> float:
    """How surprising it is that `weight` times one share exceeds another by more than `bound`.

    Adds one success and one failure to each, without which small samples alarm too often (Price and
    Bonett, "An improved confidence interval for a linear function of binomial proportions",
    Comput. Stat. Data Anal. 2004).

    Args:
        less: Successes and trials of the share that is feared to be too small.
        more: The same of the one that it is compared with.

    Returns:
        The probability of so much, if the difference were just `bound`.
    """
    (p, v), (q, w) = _plus(*less), _plus(*more)
    z = (weight * q - p - bound) / math.sqrt(v + weight * weight * w)
    return _NORMAL.cdf(-z)


def _plus(k: int, n: int) -> tuple[float, float]:
    """A share and its variance."""
    p = (k + 1) / (n + 2)
    return p, p * (1 - p) / (n + 2)


def _where(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises is zero."""
    while high - low > 1e-12 * max(1.0, abs(high)):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by Lentz's continued fraction (Press et al.,
    Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front += a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            h *= d * c
        if abs(d * c - 1) < _PRECISION:
            break
    return math.exp(front) * h / a


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
