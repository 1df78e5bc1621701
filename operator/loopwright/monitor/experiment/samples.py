"""What an experiment has counted: sums per variant, apart for times of different weights.

Pure. Sums of different weights must never be added up: when both the weights and the outcomes
change with time, say because the treatment got its traffic at night, the sums of all times show a
difference that no time has (Simpson's paradox). So samples are kept in strata, and variants are
compared only within one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

# When the first stratum ends, in requests; nothing is tested in it.
FIRST: Final = 200
# A stratum also ends when it has brought so many times what was there before. Tests of later
# strata know better what to expect; four gives a dozen strata in a billion requests.
GROWTH: Final = 4
# Restarts of the ratio check that an experiment may have.
MAX_EPOCHS: Final = 20
# Weights are ratios of whole numbers, computed by different hands.
SAME: Final = 1e-9
# How many times more of a variant's requests may have outcomes than of another's; or else, how many
# standard deviations that may be, which comes by chance in one of a million cases.
BALANCE: Final = 1.5
CHANCE: Final = 5.0


@dataclass(frozen=True)
class Totals:
    """Sums over outcomes: of a metric and a variant.

    Raises:
        ValueError: a sum is negative where it cannot be, or not finite.
    """

    count: float = 0.0
    """Outcomes."""
    total: float = 0.0
    """Their sum; of a proportion, the number of successes."""
    squares: float = 0.0
    """The sum of their squares; a proportion needs none."""

    def __post_init__(self) -> None:
        numbers = (self.count, self.total, self.squares)
        if not all(map(math.isfinite, numbers)) or self.count < 0 or self.squares < 0:
            raise ValueError(f"no sums over outcomes: {numbers}")

    def __add__(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    @property
    def mean(self) -> float:
        """The mean; 0 if there are no outcomes."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """The unbiased variance; 0 if there are less than two outcomes.

        It is a difference of sums: a spread of less than a millionth of the mean is lost in it.
        """
        if self.count < 2:
            return 0.0
        return max(0.0, self.squares - self.total * self.mean) / (self.count - 1)


NOTHING: Final = Totals()

Outcomes = Mapping[str, Mapping[str, Totals]]
"""Name of a metric to name of a variant to sums."""


@dataclass(frozen=True)
class Stratum:
    """What was counted while weights stayed as they were."""

    weights: Mapping[str, float]
    """Name of each variant that gets traffic to its part of the traffic; sums to 1."""
    arrivals: Mapping[str, float]
    """Requests that each of them was given, whether answered yet or not."""
    outcomes: Outcomes

    @property
    def size(self) -> float:
        """Requests of all variants."""
        return math.fsum(self.arrivals.values())


@dataclass(frozen=True)
class Pair:
    """Of a stratum, the two variants that are compared."""

    share: float
    """The part of their traffic that the treatment gets; above 0 and below 1."""
    control: Totals
    treatment: Totals


def record(
    strata: Sequence[Stratum],
    weights: Mapping[str, float],
    arrivals: Mapping[str, float],
    outcomes: Outcomes,
) -> tuple[Stratum, ...]:
    """The strata with what was counted since the last time.

    Args:
        weights: By which the gateway split the traffic all that time, in any unit. After a change,
            leave out what is counted until requests of before are answered.
        arrivals: Requests by variant that came since: those answered since, and as many more as
            are in flight now than were then.
        outcomes: Outcomes counted since.

    Raises:
        ValueError: weights or arrivals are negative or not finite, or all weights are 0.
    """
    parts = _normalised(weights)
    came = _numbers({name: arrivals.get(name, 0.0) for name in parts})
    new = Stratum(parts, came, {
        metric: {name: totals[name] for name in parts if name in totals}
        for metric, totals in outcomes.items()
    })  # fmt: skip
    if strata and _same(strata[-1].weights, parts) and not _full(strata):
        return (*strata[:-1], _merged(strata[-1], new))
    return (*strata, new)


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(_numbers(weights).values())
    if total <= 0:
        raise ValueError("no variant gets traffic")
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    for name, number in numbers.items():
        if not math.isfinite(number) or number < 0:
            raise ValueError(f"{name} cannot have {number}")
    return dict(numbers)


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one.keys() == other.keys() and all(abs(one[k] - other[k]) <= SAME for k in one)


def _full(strata: Sequence[Stratum]) -> bool:
    before = math.fsum(one.size for one in strata[:-1])
    return strata[-1].size >= max(FIRST, (GROWTH - 1) * before)


def _merged(one: Stratum, other: Stratum) -> Stratum:
    outcomes: dict[str, dict[str, Totals]] = {}
    for part in (one.outcomes, other.outcomes):
        for metric, totals in part.items():
            into = outcomes.setdefault(metric, {})
            for name, sums in totals.items():
                into[name] = into.get(name, NOTHING) + sums
    arrivals = {name: one.arrivals[name] + other.arrivals[name] for name in one.arrivals}
    return replace(one, arrivals=arrivals, outcomes=outcomes)


def epochs(strata: Sequence[Stratum]) -> tuple[Stratum, ...]:
    """Strata that follow on each other with the same weights, taken together."""
    joined: list[Stratum] = []
    for one in strata:
        if joined and _same(joined[-1].weights, one.weights):
            joined[-1] = _merged(joined[-1], one)
        else:
            joined.append(one)
    return tuple(joined)


def paired(
    strata: Sequence[Stratum], metric: str, control: str, treatment: str
) -> tuple[Pair, ...]:
    """What can be compared: the strata in which both variants got traffic."""
    found = []
    for one in strata:
        both = one.weights.get(control, 0.0), one.weights.get(treatment, 0.0)
        if all(both):
            totals = one.outcomes.get(metric, {})
            share = both[1] / (both[0] + both[1])
            found.append(Pair(share, *(totals.get(name, NOTHING) for name in (control, treatment))))
    return tuple(found)


def joined(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Pairs that follow on each other with the same share, taken together."""
    found: list[Pair] = []
    for one in pairs:
        if found and abs(found[-1].share - one.share) <= SAME:
            last = found[-1]
            found[-1] = Pair(last.share, last.control + one.control, last.treatment + one.treatment)
        else:
            found.append(one)
    return tuple(found)


def followed(pairs: Sequence[Pair]) -> bool:
    """Whether outcomes came to both variants about as their shares say.

    If not, those that are known may be of another kind than the others, or the others are still to
    come; so nothing should be said. That does no harm to a sequential test: it is decided by counts
    alone, and what chance does is let pass.
    """
    counts = [(one.share, one.control.count, one.treatment.count) for one in pairs]
    control = math.fsum(count / (1 - share) for share, count, _ in counts)
    treatment = math.fsum(count / share for share, _, count in counts)
    if treatment <= BALANCE * control and control <= BALANCE * treatment:
        return True
    off = math.fsum(of_treatment - share * (of_control + of_treatment)
                    for share, of_control, of_treatment in counts)  # fmt: skip
    variance = math.fsum(share * (1 - share) * (of_control + of_treatment)
                         for share, of_control, of_treatment in counts)  # fmt: skip
    return off**2 <= CHANCE**2 * variance


class Means(NamedTuple):
    """Of both variants, as if each had been given the traffic of both."""

    control: float
    treatment: float


def standardised(pairs: Sequence[Pair]) -> Means | None:
    """The means, each pair weighted by how many samples it has; None if there are none.

    As pairs weigh the same for both variants, a change of weights does not look like an effect.
    """
    used = [one for one in pairs if one.control.count and one.treatment.count]
    total = math.fsum(one.control.count + one.treatment.count for one in used)
    if not total:
        return None
    weights = [(one.control.count + one.treatment.count) / total for one in used]
    return Means(
        math.fsum(w * one.control.mean for w, one in zip(weights, used, strict=True)),
        math.fsum(w * one.treatment.mean for w, one in zip(weights, used, strict=True)),
    )
