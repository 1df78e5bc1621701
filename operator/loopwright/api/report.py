"""The mailbox: what a job's driver writes into its report ConfigMap, and the operator reads.

It is untrusted input to the operator, so every field is bounded.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from loopwright.api.base import MetricName, StatusModel
from loopwright.api.model import Signature
from loopwright.api.trainingjob_status import (
    Artifacts,
    Cause,
    CheckpointStatus,
    DataLineage,
    MetricValue,
    Progress,
)
from loopwright.api.validation import MAX_RESULTS, ValidationResult

MAX_REPORT_BYTES = 64 * 1024
MAX_CURVES = 6
MAX_POINTS = 64
Finite = Annotated[float, Field(allow_inf_nan=False)]


class RunState(StrEnum):
    """Where the driver is."""

    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    STOPPED = "Stopped"


FINAL_STATES = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED})


class RunError(StatusModel):
    """Why a run failed."""

    cause: Cause
    """Whose fault it was; the driver knows Application from Infrastructure."""
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Machine-readable, for example ScriptFailed or StorageRefused."""
    message: Annotated[str, Field(max_length=1024)]
    """One line of what to do, then the tail of the log."""
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    """Of the training code."""
    permanent: bool = False
    """Whether trying again is pointless, as with data that is wrong."""

    @field_validator("cause")
    @classmethod
    def _is_budgeted(cls, value: Cause) -> Cause:
        # The others are the operator's to tell: no retry budget counts them.
        if value not in (Cause.APPLICATION, Cause.INFRASTRUCTURE):
            raise ValueError("must be Application or Infrastructure")
        return value


class ModelReport(StatusModel):
    """What the registry wants to know about a model, besides where it is."""

    signature: Signature | None = None
    """Inputs and outputs, when the code told them."""
    baseline: bool = False
    """Whether model.json holds a profile of the training data."""


class Curve(StatusModel):
    """A metric over time, for pictures; of long ones some points are left out."""

    name: MetricName
    """Name of the metric."""
    steps: Annotated[list[int], Field(max_length=256)] = []
    """Where it was measured."""
    values: Annotated[list[Finite], Field(max_length=256)] = []
    """What was measured there."""


class JobReport(StatusModel):
    """What the driver of a job of any kind reports. Each write replaces the whole."""

    version: int = 1
    """Of this format."""
    attempt: Annotated[int, Field(ge=1)]
    """Which attempt wrote it; the operator ignores reports of others."""
    run_id: Annotated[str, Field(min_length=1, max_length=64)]
    """Random at each start of the driver."""
    state: RunState
    """Where the driver is."""
    time: datetime
    """When it was written."""
    resumed_from: Annotated[str, Field(max_length=2048)] | None = None
    """The checkpoint this run continued from."""
    error: RunError | None = None
    """Why it failed."""


class Report(JobReport):
    """The whole content of a TrainingJob's mailbox."""

    progress: Progress | None = None
    """How far training is."""
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """Latest metrics."""
    curves: Annotated[list[Curve], Field(max_length=MAX_CURVES)] = []
    """The first metrics over the steps of this run. The operator has no use for them; they are for
    those who look."""
    checkpoint: CheckpointStatus | None = None
    """The newest complete checkpoint."""
    kept_seconds: Annotated[int, Field(ge=0)] = 0
    """Seconds of training that this run had done when it made that checkpoint."""
    inputs: Annotated[list[DataLineage], Field(max_length=20)] = []
    """Inputs as read."""
    validations: Annotated[list[ValidationResult], Field(max_length=MAX_RESULTS)] = []
    """Inputs that were checked, in the order in which the checks ended."""
    artifacts: Artifacts | None = None
    """Results, in the final report."""
    model: ModelReport | None = None
    """More about the model, in the final report."""
