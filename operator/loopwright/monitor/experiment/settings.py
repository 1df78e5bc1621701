"""What an A/B experiment asks: the variants, the metric, and how sure one wants to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from loopwright.api.shared import Direction
from loopwright.monitor.experiment.sequential import Border, Side, tuning


class Kind(StrEnum):
    """What outcomes are."""

    PROPORTION = "Proportion"
    """Successes, or anything between 0 and 1."""
    MEAN = "Mean"
    """Any numbers."""


@dataclass(frozen=True)
class Metric:
    """What is measured of each request."""

    name: str
    """As in `Stratum.outcomes`."""
    kind: Kind
    direction: Direction

    @property
    def good(self) -> Side:
        """Where a treatment is that is better than the control."""
        return Side.BELOW if self.direction is Direction.MINIMIZE else Side.ABOVE

    @property
    def bad(self) -> Side:
        """Where one is that is worse."""
        return Side(-self.good)


@dataclass(frozen=True)
class Guardrail:
    """A metric in which a treatment must not be worse than the control by more than a margin.

    Raises:
        ValueError: the margin is negative, or 0 where a proof is wanted, which then cannot be had.
    """

    metric: Metric
    margin: float
    """In the metric's unit, or as a part of the control's mean, which then must be positive."""
    relative: bool = False
    proof: bool = True
    """Whether a winner needs proof that it is within; else that no violation is proven will do."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError("the margin of a guardrail cannot be negative")
        if self.proof and not self.margin:
            raise ValueError("that there is no difference at all cannot be proven; give a margin")
        if self.relative and self.margin >= 1 and self.metric.direction is Direction.MAXIMIZE:
            raise ValueError("a margin of the whole mean allows anything")

    @property
    def border(self) -> Border:
        """Between what is allowed and what is not."""
        worse = self.margin if self.metric.direction is Direction.MINIMIZE else -self.margin
        return Border(0.0, 1 + worse) if self.relative else Border(worse, 1.0)


@dataclass(frozen=True)
class Experiment:
    """What is asked.

    Raises:
        ValueError: it makes no sense.
    """

    control: str
    treatments: tuple[str, ...]
    metric: Metric
    guardrails: tuple[Guardrail, ...] = ()
    alpha: float = 0.05
    """The probability that any treatment that is as good as the control is called otherwise."""
    min_samples: int = 1000
    """Outcomes that each variant must have for anything to be decided."""
    max_seconds: float | None = None
    """When to give up."""
    smallest_effect: float | None = None
    """In the metric's unit: if no treatment can be better by that much, there is no difference."""
    ratio_alpha: float | None = 0.001
    """The probability of a false alarm of the ratio check; None turns it off, for requests that are
    not assigned independently of each other, as those of sticky clients are."""
    tuned_for: int | None = None
    """Samples of two variants together at which intervals shall be narrowest; by default four times
    `min_samples`. At a tenth or a thousand times as many they are a quarter wider than could be."""

    def __post_init__(self) -> None:
        names = (self.control, *self.treatments)
        metrics = [self.metric.name, *(one.metric.name for one in self.guardrails)]
        if not self.treatments or len(set(names)) < len(names):
            raise ValueError("an experiment has a control and treatments of different names")
        if len(set(metrics)) < len(metrics):
            raise ValueError("the metric and the guardrails must be different metrics")
        if not all(0 < one <= 0.5 for one in (self.alpha, self.ratio_alpha) if one is not None):
            raise ValueError("alpha is between 0 and 0.5")
        if not all(one >= 1 for one in (self.min_samples, self.tuned_for) if one is not None):
            raise ValueError("samples are at least 1")
        if self.smallest_effect is not None and not self.smallest_effect > 0:
            raise ValueError("the smallest effect that matters is above 0")

    @property
    def level(self) -> float:
        """A treatment's part of alpha."""
        return self.alpha / len(self.treatments)

    @property
    def tuning(self) -> float:
        """As of `sequential.tuning`."""
        return tuning(self.level, self.tuned_for or 4 * self.min_samples)
