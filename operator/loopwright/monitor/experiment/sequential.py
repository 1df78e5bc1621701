"""What the sequential tests share: hypotheses, evidence, and how far they are tuned.

A test here gives *evidence*: a number whose expectation under the hypothesis is at most 1 at
whatever time one looks (an e-process). By Ville's inequality it ever reaches 1/alpha with a
probability of at most alpha, so one may look after every request and stop when one likes. Its
inverse is an always-valid p-value, and what is not rejected forms a confidence sequence.

Ville (1939), Etude critique de la notion de collectif. Johari, Koomen, Pekelis and Walsh (2022),
Always valid inference: continuous monitoring of A/B tests, Operations Research 70(3). Ramdas,
Gruenwald, Vovk and Shafer (2023), Game-theoretic statistics and safe anytime-valid inference,
Statistical Science 38(4).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, NamedTuple, Protocol


class Side(IntEnum):
    """What evidence is for: that the treatment's mean is above the border, or below it."""

    ABOVE = 1
    BELOW = -1


class Border(NamedTuple):
    """Where two hypotheses meet: treatment = intercept + slope * control, of the means."""

    intercept: float = 0.0
    slope: float = 1.0
    """Above 0."""


class Interval(NamedTuple):
    """Of treatment - control, of the means. Infinite where nothing can be said."""

    low: float
    high: float


EVERYTHING: Final = Interval(-math.inf, math.inf)


class Comparison(Protocol):
    """A treatment and the control, by one metric."""

    def log_evidence(self, border: Border, side: Side) -> float:
        """The natural logarithm of the evidence; 0 as long as there is none."""

    def interval(self, alpha: float) -> Interval:
        """Where treatment - control is, with an error of at most alpha/2 at each end."""


def p_value(log_evidence: float, tests: float = 1) -> float:
    """The always-valid p-value, corrected for a number of tests (Bonferroni)."""
    return min(1.0, math.exp(min(0.0, math.log(tests) - log_evidence)))


def tuning(alpha: float, samples: float) -> float:
    """The variance per sample, in those of the data, of the effects that a test looks for.

    It makes an interval narrowest when there are so many samples; it is valid at all others.

    Waudby-Smith et al. (2024), see `asymptotic`: the approximate optimum.

    Args:
        alpha: Of both sides together.
        samples: Of both variants.
    """
    nats = -2 * math.log(alpha)
    return (nats + math.log1p(nats)) / samples
