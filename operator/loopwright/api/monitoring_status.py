"""What monitors found, as they report it and as the status shows it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel

MAX_VIOLATIONS: Final = 10
MAX_RETRAINS: Final = 10

Text = Annotated[str, Field(max_length=512)]
Figure = Annotated[str, Field(max_length=24)]
"""A number as text."""


class MonitorState(StrEnum):
    """What is known. NoData and Unknown never mean that all is well."""

    OK = "OK"
    """Judged, and as it should be."""
    VIOLATED = "Violated"
    """Beyond a limit, and more than by chance; of a monitor: in enough of the newest windows."""
    NO_DATA = "NoData"
    """Too little to judge by."""
    UNKNOWN = "Unknown"
    """There may be data, but they cannot be seen or compared."""


class Violation(StatusModel):
    """One feature beyond a threshold."""

    feature: Annotated[str, Field(max_length=128)]
    """Name of the feature, or a slice's column=value; empty when it is about all of them, or whole
    rows."""
    check: Annotated[str, Field(max_length=32)]
    """What was looked at: Drift, PredictionDrift, Missing, OutOfRange, Unseen, Invalid, Refused or
    DriftShare; of kind ModelQuality the metric, or PositiveRateDifference, PositiveRateRatio,
    TruePositiveRateDifference or TruePositiveRateRatio."""
    value: Figure
    """What was measured: a distance, a share, a metric."""
    threshold: Figure
    """What it should not be beyond."""


class Judged(StatusModel):
    """What a monitor says."""

    name: Annotated[str, Field(max_length=30)]
    """Name of the monitor."""
    state: MonitorState
    """What is known; of an endpoint over the newest windows."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """Why it is not known, in one word."""
    message: Text = ""
    """The same in full, or what is in violation."""
    samples: int = 0
    """Rows that were judged."""
    features: int = 0
    """Features that were judged, or metrics, with those of slices and groups."""
    drifted: int = 0
    """Of those, in violation."""
    worst: Figure = ""
    """The greatest value, as a multiple of its threshold."""
    violations: Annotated[list[Violation], Field(max_length=MAX_VIOLATIONS)] = []
    """The worst ones first."""


class Measured(StatusModel):
    """A metric of a window, from answers whose labels have come."""

    metric: Annotated[str, Field(max_length=16)]
    """Name of the metric."""
    value: Figure = ""
    """The metric."""
    low: Figure = ""
    """From here"""
    high: Figure = ""
    """to here it may be, with probability 1 - 2 alpha."""
    captured: int = 0
    """Rows of requests that were captured and looked at."""
    labelled: int = 0
    """Of those, with a label."""
    unusable: int = 0
    """Of those, with an answer or a label that could not be compared."""
    worst_slice: Annotated[str, Field(max_length=256)] = ""
    """The slice that is worst of all, as column=value."""
    worst_value: Figure = ""
    """The metric of that slice."""


class WindowVerdict(Judged):
    """What the newest window of a monitor says about one revision."""

    variant: Annotated[str, Field(max_length=16)]
    """The variant."""
    revision: Annotated[str, Field(max_length=16)]
    """Revision of the variant; another one begins anew."""
    window_start: datetime | None = None
    """Of the newest window."""
    window_end: datetime | None = None
    """Of the newest window."""
    recent: Annotated[list[bool], Field(max_length=12)] = []
    """Of the newest windows that were judged, the newest last: whether each was in violation."""
    quality: Measured | None = None
    """What kind ModelQuality has measured."""


class RetrainOutcome(StrEnum):
    """How a retraining went."""

    PENDING = "Pending"
    """It is to be made."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    GONE = "Gone"
    """The job was deleted before it had ended."""
    REFUSED = "Refused"
    """It could not be made; the message says why."""


class RetrainStatus(StatusModel):
    """A TrainingJob that a monitor started."""

    monitor: Annotated[str, Field(max_length=30)]
    """Name of the monitor."""
    variant: Annotated[str, Field(max_length=16)]
    """The variant whose window was in violation."""
    training_job: Annotated[str, Field(max_length=63)]
    """Name of the job."""
    template: Annotated[str, Field(max_length=253)]
    """Name of the job whose spec it has."""
    time: datetime
    """When it was decided."""
    window_start: datetime | None = None
    """Of the window that was in violation."""
    window_end: datetime | None = None
    """Of the window that was in violation."""
    outcome: RetrainOutcome = RetrainOutcome.PENDING
    """How it went."""
    message: Text = ""
    """More about that."""


class Held(StatusModel):
    """A variant's weight, cut by a monitor."""

    monitor: Annotated[str, Field(max_length=30)]
    """Which."""
    revision: Annotated[str, Field(max_length=16)]
    """The revision that it is about; another one gets its full weight."""
    weight: int
    """What is left."""
