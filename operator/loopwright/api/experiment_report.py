"""What a monitor is told of an experiment, and what it reports: all that another one goes on from.

The report is a part of the endpoint's mailbox, so it is untrusted input to the operator.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, StatusModel
from loopwright.api.experiment import Experiment
from loopwright.api.experiment_status import MAX_ARMS, Arm, ExperimentFinding

MAX_EXPERIMENT_BYTES: Final = 256 * 1024
MAX_STRATA: Final = 64
MAX_POINTS: Final = 64
# A monitor says something at least so often while it counts, in seconds.
LONGEST_SILENCE: Final = 300

Name = Annotated[str, Field(max_length=64)]
Sum = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExperimentConfig(ApiModel):
    """One attempt at an experiment."""

    model_config = ConfigDict(extra="ignore")

    run: Annotated[str, Field(max_length=32)]
    """Names it; reports carry it."""
    started_at: datetime
    """When it began."""
    paused: bool = False
    """Whether nothing is to be counted, as a rollout goes on or a variant is missing."""
    arms: Annotated[list[Arm], Field(max_length=MAX_ARMS)]
    """Who takes part."""
    experiment: Experiment
    """What is asked."""


class Sums(StatusModel):
    """Sums over the outcomes of a metric, of one variant."""

    metric: Name
    """Name of the metric."""
    variant: Name
    """Name of the variant."""
    count: Count
    """Outcomes."""
    total: Sum
    """Their sum."""
    squares: Count = 0.0
    """The sum of their squares."""


class StratumRecord(StatusModel):
    """A part of an experiment's time: `monitor.experiment.samples.Stratum`."""

    arrivals: Annotated[dict[Name, Count], Field(max_length=MAX_ARMS)]
    """Requests, by variant."""
    outcomes: Annotated[list[Sums], Field(max_length=MAX_ARMS * 4)] = []
    """What is known of them."""


class Known(StatusModel):
    """What was known of a variant's effect."""

    name: Name
    """Name of the variant."""
    effect: Sum
    """Mean less the control's."""
    low: Sum | None = None
    """Lower end of the confidence sequence; none while nothing can be said."""
    high: Sum | None = None
    """Upper end."""


class Point(StatusModel):
    """What was known at a time: for a picture of the confidence sequence."""

    seconds: Count
    """Since the experiment began."""
    variants: Annotated[list[Known], Field(max_length=MAX_ARMS)] = []
    """Each but the control."""


class ExperimentReport(StatusModel):
    """The whole of an experiment."""

    version: int = 1
    """Of this format."""
    uid: Annotated[str, Field(max_length=64)]
    """Of the endpoint; the operator ignores reports of others."""
    run: Annotated[str, Field(max_length=32)]
    """The attempt that it is about."""
    time: datetime
    """When it was written."""
    finding: ExperimentFinding
    """What it says."""
    strata: Annotated[list[StratumRecord], Field(max_length=MAX_STRATA)] = []
    """What was counted."""
    course: Annotated[list[Point], Field(max_length=MAX_POINTS)] = []
    """How it came about."""

    @property
    def arrivals(self) -> float:
        """Requests that were counted."""
        return sum(sum(one.arrivals.values()) for one in self.strata)
