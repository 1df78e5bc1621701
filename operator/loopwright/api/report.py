"""The mailbox: what a job's driver writes into its report ConfigMap, and the operator reads.

It is untrusted input to the operator, so every field is bounded.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.trainingjob_status import (
    Artifacts,
    Cause,
    CheckpointStatus,
    DataLineage,
    MetricValue,
    Progress,
)

MAX_REPORT_BYTES = 64 * 1024


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


class Report(StatusModel):
    """The whole content of the mailbox; each write replaces it."""

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
    progress: Progress | None = None
    """How far training is."""
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """Latest metrics."""
    checkpoint: CheckpointStatus | None = None
    """The newest complete checkpoint."""
    resumed_from: Annotated[str, Field(max_length=2048)] | None = None
    """The checkpoint this run continued from."""
    inputs: Annotated[list[DataLineage], Field(max_length=20)] = []
    """Inputs as read."""
    artifacts: Artifacts | None = None
    """Results, in the final report."""
    error: RunError | None = None
    """Why it failed."""
