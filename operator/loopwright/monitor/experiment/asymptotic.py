"""A sequential test of two means that needs no bounds of the outcomes.

The difference of the means, in standard errors, is compared with the boundary that a Brownian
motion crosses with the wanted probability: a likelihood ratio of normal effects against none,
averaged over the effects' size (method of mixtures, Robbins 1970; the mSPRT of Johari et al. is
the same). The sums of outcomes with a finite variance come as close to a Brownian motion as
needed, all of them together, once there are enough. So the guarantee is asymptotic, as that of a
t-test is: for times from the burn-in on, and the better the larger the burn-in is. Outcomes whose
variance lives in a few huge values need a larger one.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), Time-uniform central limit theory and
asymptotic confidence sequences, Annals of Statistics 52(6), arXiv:2103.06476: Robbins' normal
mixture with estimated variance, of which this is the one-sided form; the difference of means is
their randomised experiment without covariates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loopwright.monitor.experiment.samples import Pair, Totals, joined
from loopwright.monitor.experiment.sequential import EVERYTHING, Border, Interval, Side

# The least burn-in; and what a time of other weights must have of each variant to be used.
FEWEST: Final = 100
# No boundary is that many standard errors away.
FARTHEST: Final = 60.0
STEPS: Final = 40


def log_evidence(z: float, signal: float) -> float:
    """For a normal effect above 0, its size from a half-normal distribution.

    Args:
        z: The effect in standard errors.
        signal: Variance of the effects that are looked for, in squared standard errors.
    """
    gain = signal / (1 + signal)
    tail = math.erfc(-z * math.sqrt(gain / 2))
    if not tail:
        return -math.inf
    return math.log(tail) + (z * z * gain - math.log1p(signal)) / 2


@dataclass(frozen=True)
class AsymptoticComparison:
    """Of two means."""

    pairs: Sequence[Pair]
    tuning: float
    """As of `sequential.tuning`."""
    burn_in: float
    """Samples of each variant without which nothing is said."""

    def log_evidence(self, border: Border, side: Side) -> float:
        """The natural logarithm of the evidence; 0 as long as there is none."""
        used = self._used()
        count = _count(used)
        variance = _variance(used, border.slope)
        if not count or not variance:
            return 0.0
        off = _difference(used, border.slope) - border.intercept
        return log_evidence(side * off / math.sqrt(variance), count * self.tuning)

    def interval(self, alpha: float) -> Interval:
        """Where treatment - control is, with an error of at most alpha/2 at each end."""
        used = self._used()
        count = _count(used)
        variance = _variance(used, 1.0)
        if not count or not variance:
            return EVERYTHING
        effect = _difference(used, 1.0)
        half = math.sqrt(variance) * boundary(alpha / 2, count * self.tuning)
        return Interval(effect - half, effect + half)

    def _used(self) -> list[Pair]:
        """None before the burn-in is over."""
        used = [
            one for one in joined(self.pairs)
            if min(one.control.count, one.treatment.count) >= FEWEST
        ]  # fmt: skip
        for side in ("control", "treatment"):
            if math.fsum(getattr(one, side).count for one in used) < max(self.burn_in, FEWEST):
                return []
        return used


def boundary(alpha: float, signal: float) -> float:
    """The standard errors at which evidence of one side reaches 1/alpha."""
    enough = -math.log(alpha)
    low, high = 0.0, FARTHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if log_evidence(middle, signal) >= enough else (middle, high)
    return high


def _count(used: Sequence[Pair]) -> float:
    return math.fsum(one.control.count + one.treatment.count for one in used)


def _difference(used: Sequence[Pair], slope: float) -> float:
    """Of the means, treatment - slope * control; pairs weigh as much as they have samples."""
    count = _count(used)
    return math.fsum(
        (one.control.count + one.treatment.count)
        / count
        * (one.treatment.mean - slope * one.control.mean)
        for one in used
    )


def _variance(used: Sequence[Pair], slope: float) -> float:
    """Of the difference."""
    count = _count(used)
    return math.fsum(
        ((one.control.count + one.treatment.count) / count) ** 2
        * (_error(one.treatment) + slope**2 * _error(one.control))
        for one in used
    )


def _error(totals: Totals) -> float:
    return totals.variance / totals.count
