"""What is known of an experiment, as its monitor reports it and as the status shows it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.monitoring_status import Figure, Text
from loopwright.api.shared import by_key

MAX_ARMS: Final = 8

Name = Annotated[str, Field(max_length=16)]
Reason = Annotated[str, Field(max_length=64, pattern=r"^([A-Z][A-Za-z0-9]*)?$")]


class ExperimentState(StrEnum):
    """Where an experiment stands."""

    WAITING = "Waiting"
    """Nothing is counted right now; the message says why."""
    RUNNING = "Running"
    CONCLUDED = "Concluded"
    """Nothing more can come."""


class Arm(StatusModel):
    """A variant that takes part, as it was when the experiment began."""

    variant: Name
    """Name of the variant."""
    revision: Name
    """Its revision; another one begins the experiment anew."""
    weight: Annotated[int, Field(ge=1, le=1000)]
    """Its weight, likewise."""


class GuardrailFinding(StatusModel):
    """How a variant keeps to a guardrail."""

    metric: Annotated[str, Field(max_length=32)]
    """errorRatio or latency."""
    state: Annotated[str, Field(max_length=16)]
    """Passed or Violated, both proven, or Undecided."""
    effect: Figure = ""
    """By how much more than the control's."""


class ArmFinding(StatusModel):
    """A variant of the experiment."""

    name: Name
    """Name of the variant."""
    samples: int = 0
    """Outcomes that are known."""
    mean: Figure = ""
    """Of these."""
    effect: Figure = ""
    """Mean of the variant less that of the control; empty for the control itself."""
    low: Figure = ""
    """Lower end of the effect's confidence interval, which holds at all times together."""
    high: Figure = ""
    """Upper end."""
    p_value: Figure = ""
    """Always-valid p-value of the hypothesis that it is as good as the control, corrected for the
    number of variants."""
    guardrails: Annotated[list[GuardrailFinding], Field(max_length=4)] = []
    """How it keeps to each."""


class Ratio(StatusModel):
    """Whether the traffic is split by the weights."""

    p_value: Figure = ""
    """Always-valid p-value of the hypothesis that it is."""
    expected: Annotated[str, Field(max_length=256)] = ""
    """Parts of the traffic, by variant."""
    observed: Annotated[str, Field(max_length=256)] = ""
    """What came."""


class ExperimentFinding(StatusModel):
    """What the monitor says."""

    reason: Reason
    """In one word: Won, NoDifference, GuardrailFailed or SampleRatioMismatch once it is over;
    before that what is waited for."""
    message: Text = ""
    """The same in a sentence."""
    winner: Name = ""
    """The variant that has won; it may be the control."""
    decided_at: datetime | None = None
    """When it was over."""
    p_value: Figure = ""
    """The smallest of the variants'."""
    sample_ratio: Ratio = Ratio()
    """Whether the traffic is split by the weights."""
    variants: Annotated[
        list[ArmFinding], Field(max_length=MAX_ARMS, json_schema_extra=by_key("name"))
    ] = []
    """Each variant that takes part, the control first."""


class ExperimentStatus(ExperimentFinding):
    """The experiment of an endpoint."""

    state: ExperimentState = ExperimentState.WAITING
    """Where it stands."""
    reason: Reason = ""
    """In one word: Won, NoDifference, GuardrailFailed or SampleRatioMismatch once it is over;
    before that what is waited for."""
    asked: Annotated[str, Field(max_length=16)] = ""
    """A digest of what the spec asks for; another one is another experiment."""
    run: Annotated[str, Field(max_length=32)] = ""
    """Names this attempt; what its monitor says of another one does not count."""
    arms: Annotated[list[Arm], Field(max_length=MAX_ARMS)] = []
    """Who takes part."""
    started_at: datetime | None = None
    """When counting began."""
    reported_at: datetime | None = None
    """When the monitor last said something."""
    restarts: int = 0
    """How often it has begun anew, because a model or a weight changed."""
    restarted: Text = ""
    """Why it last did."""
    promoted: Name = ""
    """The variant that gets all traffic because it has won."""
