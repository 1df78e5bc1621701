"""A sequential test of two proportions that is valid at every sample size.

Somebody who does not believe in the hypothesis bets on each outcome with fair odds under it; the
money he has made is the evidence against it. The gain per unit staked on a request is the score

    (outcome - guess) / share          if the treatment answered it,
    -slope * (outcome - guess) / share if the control did,

with that variant's share of the traffic and guesses that are on the border. On the border its
expectation is 0 whatever the true proportions and however bad the guesses, so that the money is a
martingale: no approximation, no smallest number of samples, and proportions may change with time as
long as the hypothesis holds at each. It multiplies over requests, of which a proportion has four
sorts; so counts of them are all that is needed. How much to stake depends on the unknown effect:
the money is split among bettors whose stakes come from a half-normal distribution of effects
(method of mixtures, Robbins 1970).

Guesses come from earlier strata, so they are close: then the test loses little to one that knows
the proportions, and where outcomes do not quite come by the shares, that costs only the product of
both errors. Strata in which they do not at all are left out, as if nobody had bet: so much
deviation does not come by chance, say when one variant answers late.

Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B
86(1). Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro (2022), Anytime-valid off-policy
inference for contextual bandits, arXiv:2210.10768 (the doubly robust score). For two proportions
the bets are those of the growth-optimal e-variable of Turner, Ly and Gruenwald (2024), Generic
E-variables for exact sequential k-sample tests that allow for optional stopping, JSPI 230.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log1p
from operator import mul
from typing import Final, NamedTuple

from loopwright.monitor.experiment.samples import (
    NOTHING,
    Pair,
    Totals,
    followed,
    joined,
    standardised,
)
from loopwright.monitor.experiment.sequential import Border, Interval, Side

# Samples of both variants that a guess is made from.
BURN_IN: Final = 50
# Nobody stakes so much that one outcome can ruin him.
BOLDEST: Final = 0.9
# Ends of intervals are found to this part of their distance from the estimate.
FINE: Final = 1e-4
STEPS: Final = 40


class Bettor(NamedTuple):
    """One of those who share the money."""

    boldness: float
    """The effect that he believes in, in standard deviations of those that are looked for."""
    part: float
    """His part of the money."""


def _bettors() -> tuple[Bettor, ...]:
    """A half-normal distribution in 16 steps, which is coarse: it costs at most 0.06 nats."""
    low, high, steps = 0.02, 4.0, 16
    factor = (high / low) ** (1 / (steps - 1))
    middles = [low * factor**step for step in range(steps)]
    ends = [0.0, *(middle * math.sqrt(factor) for middle in middles[:-1]), math.inf]
    below = [math.erf(end / math.sqrt(2)) for end in ends]
    parts = [below[step + 1] - below[step] for step in range(steps)]
    return tuple(map(Bettor, middles, parts))


BETTORS: Final = _bettors()


Returns = tuple[float, float, float, float]
"""What one outcome does to the logarithm of a bettor's money: a success of the control, a failure
of the control, a success of the treatment, a failure of the treatment."""


def returns(
    control: Totals, treatment: Totals, share: float, border: Border, side: Side, tuning: float
) -> Iterator[Returns]:
    """The returns of each of BETTORS, as they stake after having seen these totals.

    Args:
        share: The treatment's share of the traffic that is bet on.
        tuning: As of `sequential.tuning`.
    """
    slope, spread = border.slope, math.sqrt(tuning)
    low, high = _guesses(control, treatment, border)
    rest = 1 - share
    deviation = math.sqrt(high * (1 - high) / share + slope**2 * low * (1 - low) / rest)
    units = (
        -side * slope * (1 - low) / rest,
        side * slope * low / rest,
        side * (1 - high) / share,
        -side * high / share,
    )
    limit = BOLDEST / max(-min(units), 1e-9)
    for bettor in BETTORS:
        stake = min(bettor.boldness * spread / max(deviation, 1e-12), limit)
        a, b, c, d = units
        yield log1p(stake * a), log1p(stake * b), log1p(stake * c), log1p(stake * d)


def _guesses(control: Totals, treatment: Totals, border: Border) -> tuple[float, float]:
    """Both proportions: the point of the border that is next to what was seen."""
    intercept, slope = border
    below, above = ((one.total + 0.5) / (one.count + 1) for one in (control, treatment))
    weights = control.count + 1, (treatment.count + 1) * slope
    nearest = (weights[0] * below + weights[1] * (above - intercept)) / (
        weights[0] + weights[1] * slope
    )
    lowest, highest = max(0.0, -intercept / slope), min(1.0, (1 - intercept) / slope)
    # Not at an end, as if no outcome of the other sort could ever come.
    margin = (highest - lowest) / 2 / (control.count + treatment.count + 1)
    guess = min(max(nearest, lowest + margin), highest - margin)
    return guess, intercept + slope * guess


@dataclass(frozen=True)
class BettingComparison:
    """Of two proportions, or of means of outcomes between 0 and 1.

    Of outcomes between 0 and 1 only the sum is known. As the logarithm is concave, the money is
    then at least what is computed here: still valid, but less powerful than knowing the variance.

    Raises:
        ValueError: there are more successes than outcomes, or less than none.
    """

    pairs: Sequence[Pair]
    """Slices in the order of time, each closed before the next began."""
    tuning: float
    """As of `sequential.tuning`."""

    def __post_init__(self) -> None:
        for one in self.pairs:
            for totals in (one.control, one.treatment):
                if not 0 <= totals.total <= totals.count:
                    raise ValueError(f"{totals.total} successes in {totals.count} outcomes")

    def log_evidence(self, border: Border, side: Side) -> float:
        """The natural logarithm of the evidence; 0 as long as there is none.

        Infinite where no two proportions are on the border, so that it needs no evidence.
        """
        if border.intercept >= 1 or border.intercept + border.slope <= 0:
            return math.inf if (border.intercept < 1) == (side is Side.ABOVE) else -math.inf
        logs = [0.0] * len(BETTORS)
        control, treatment = NOTHING, NOTHING
        for one in self.pairs:
            if control.count + treatment.count >= BURN_IN and followed([one]):
                counts = (*_sorts(one.control), *_sorts(one.treatment))
                made = returns(control, treatment, one.share, border, side, self.tuning)
                for number, each in enumerate(made):
                    logs[number] += sum(map(mul, counts, each))
            control, treatment = control + one.control, treatment + one.treatment
        top = max(logs)
        parts = (who.part * math.exp(log - top) for who, log in zip(BETTORS, logs, strict=True))
        return top + math.log(math.fsum(parts))

    def interval(self, alpha: float) -> Interval:
        """Where treatment - control is, with an error of at most alpha/2 at each end.

        It is looked for as if evidence only grew while the border moves away from the estimate. In
        one of thousands of random cases, all of them tiny, it did not, and an end was too near.
        """
        means = standardised(joined(self.pairs))
        if means is None:
            return Interval(-1.0, 1.0)
        enough, estimate = math.log(2 / alpha), means.treatment - means.control
        return Interval(*(self._end(side, estimate, enough) for side in (Side.ABOVE, Side.BELOW)))

    def _end(self, side: Side, estimate: float, enough: float) -> float:
        """The border, next to the estimate, that is refuted by evidence of the side."""
        inside, outside = estimate, float(-side)
        for _ in range(STEPS):
            if abs(outside - inside) <= FINE * abs(outside - estimate):
                break
            middle = (inside + outside) / 2
            if self.log_evidence(Border(middle), side) >= enough:
                outside = middle
            else:
                inside = middle
        return outside


def _sorts(totals: Totals) -> tuple[float, float]:
    return float(totals.total), float(totals.count - totals.total)
