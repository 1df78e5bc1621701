"""The status of a TrainingJob, and what it shares with those of other kinds that run on Ray."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loopwright.api.base import MetricName, StatusModel
from loopwright.api.conditions import Condition
from loopwright.api.shared import by_key
from loopwright.api.validation import MAX_RESULTS, InputBaseline, ValidationResult


class Phase(StrEnum):
    """One word for people; derived from conditions and never read back by the operator."""

    PENDING = "Pending"
    QUEUED = "Queued"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Cause(StrEnum):
    """Why an attempt ended without success."""

    APPLICATION = "Application"
    INFRASTRUCTURE = "Infrastructure"
    DEADLINE = "Deadline"
    SUSPENDED = "Suspended"
    BUDGET = "Budget"


class Attempt(StatusModel):
    """One RayJob of this TrainingJob."""

    number: int
    """Counts from 1."""
    ray_job: Annotated[str, Field(max_length=63)]
    """Name of the RayJob."""
    ray_job_uid: Annotated[str, Field(max_length=64)] | None = None
    """Its UID, once it was seen to exist; a RayJob that vanishes after that has failed."""
    ray_cluster: Annotated[str, Field(max_length=63)] | None = None
    """Name of the RayCluster."""
    run_id: Annotated[str, Field(max_length=64)] | None = None
    """The driver's own id; another one within an attempt means that the head pod was lost."""
    cause: Cause | None = None
    """Why it ended, unless it succeeded."""
    exit_code: int | None = None
    """Exit code of the training code."""
    start_time: datetime | None = None
    """When the operator decided on it."""
    running_time: datetime | None = None
    """When its cluster was ready."""
    end_time: datetime | None = None
    """When it ended."""
    resumed_from: Annotated[str, Field(max_length=2048)] | None = None
    """The checkpoint it continued from."""
    spot: bool | None = None
    """True when its workers were asked for on interruptible nodes."""


class Failures(StatusModel):
    """Failures so far, by budget."""

    application: int = 0
    """Of the training code."""
    infrastructure: int = 0
    """Of pods, nodes or the cluster."""


class Progress(StatusModel):
    """How far training is."""

    percent: int | None = None
    """0 to 100."""
    step: int | None = None
    """Steps done."""
    total_steps: int | None = None
    """Steps in all."""
    epoch: int | None = None
    """Epochs done."""
    eta_seconds: int | None = None
    """Estimated time left."""
    updated_at: datetime | None = None
    """When the code last reported."""


class MetricValue(StatusModel):
    """A metric's latest value and its range so far; numbers as text."""

    name: MetricName
    """Name."""
    value: Annotated[str, Field(max_length=32)]
    """Latest value."""
    step: int | None = None
    """Step at which it was measured."""
    min: Annotated[str, Field(max_length=32)] | None = None
    """Least value so far."""
    max: Annotated[str, Field(max_length=32)] | None = None
    """Greatest value so far."""


class CheckpointStatus(StatusModel):
    """The newest complete checkpoint."""

    uri: Annotated[str, Field(max_length=2048)]
    """Where it is."""
    step: int | None = None
    """Step at which it was made."""
    time: datetime | None = None
    """When it was complete."""
    count: int = 0
    """Checkpoints made since the driver started."""


class Artifacts(StatusModel):
    """What training left."""

    model_uri: Annotated[str, Field(max_length=2048)] | None = None
    """The model directory."""
    digest: Annotated[str, Field(max_length=71)] | None = None
    """sha256 of its model.json, which holds those of all files."""
    format: Annotated[str, Field(max_length=32)] | None = None
    """onnx, safetensors, or the code's own word."""
    size: int | None = None
    """Bytes in all."""
    logs_uri: Annotated[str, Field(max_length=2048)] | None = None
    """Folder with a log of each process of the newest attempt."""


class Workers(StatusModel):
    """Worker pods."""

    desired: int = 0
    """Asked for."""
    ready: int = 0
    """Ready."""


class LastError(StatusModel):
    """The newest failure, also when it was retried."""

    reason: Annotated[str, Field(max_length=128)]
    """Machine-readable cause."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What went wrong, ending with the tail of the log."""
    time: datetime | None = None
    """When."""
    retriable: bool = False
    """Whether it was or will be retried."""
    attempt: int | None = None
    """In which attempt."""


class Cost(StatusModel):
    """Resource time over all attempts."""

    gpu_seconds: int = 0
    """GPUs times seconds with a running cluster."""
    cpu_seconds: int = 0
    """CPU cores asked for, times seconds with a running cluster."""
    billable_seconds: int = 0
    """Seconds with a running cluster."""
    estimate: Annotated[str, Field(max_length=32)] | None = None
    """What that costs by the operator's price table, at the prices of the time, as text."""
    currency: Annotated[str, Field(max_length=8)] | None = None
    """Of the estimate."""


class TrainingCost(Cost):
    """Resource time over all attempts, and what checkpoints saved of it."""

    spot_saved_seconds: int | None = None
    """Seconds of training on interruptible nodes that retries need not repeat after infrastructure
    failures, since a checkpoint holds them; each counts once. Absent when there are none."""


class DataLineage(StatusModel):
    """One input as it was read."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the input."""
    uri: Annotated[str, Field(max_length=2048)]
    """Where it came from."""
    digest: Annotated[str, Field(max_length=71)] | None = None
    """What it contained."""
    size: int | None = None
    """Bytes."""


class Lineage(StatusModel):
    """What the result was made from."""

    inputs: list[DataLineage] = []
    """Data."""
    image: Annotated[str, Field(max_length=500)] | None = None
    """Container image asked for."""


class Queue(StatusModel):
    """The job in its Kueue queue."""

    name: Annotated[str, Field(max_length=63)]
    """LocalQueue."""
    admitted: bool = False
    """Whether it was let in."""
    workload: Annotated[str, Field(max_length=253)] | None = None
    """Kueue's Workload of the newest attempt, while it waits."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it waits, in Kueue's words."""
    admitted_time: datetime | None = None
    """When the newest attempt was let in."""


class JobStatus(StatusModel):
    """What the operator knows about a job of any kind that runs on Ray."""

    observed_generation: int = 0
    """The generation of the spec that the operator last acted on."""
    phase: Phase = Phase.PENDING
    """One word for people."""
    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them, and, from when they first hold,
    ClusterReady, Running, Succeeded, Failed, Suspended, Admitted, ModelRegistered, BudgetExceeded.
    """
    last_error: LastError | None = None
    """The newest failure."""
    start_time: datetime | None = None
    """When the first attempt began."""
    completion_time: datetime | None = None
    """When the job ended."""
    attempts: Annotated[list[Attempt], Field(max_length=10)] = []
    """The last ten."""
    attempt: int = 0
    """Number of the newest attempt."""
    used_runtime_seconds: int = 0
    """Runtime of attempts that ended; counts towards maxRuntimeSeconds."""
    failures: Failures = Failures()
    """Failures so far."""
    retry_time: datetime | None = None
    """When the next attempt begins."""
    workers: Workers = Workers()
    """Worker pods."""
    queue: Queue | None = None
    """Queueing."""
    cost: Cost = Cost()
    """Resource time."""
    lineage: Lineage | None = None
    """Provenance."""
    dashboard_url: Annotated[str, Field(max_length=2048)] | None = None
    """Ray's dashboard, inside the cluster."""


class TrainedStatus(JobStatus):
    """The status of a job that leaves a model."""

    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """Metrics, the objective first."""
    artifacts: Artifacts | None = None
    """Results."""
    model_version: Annotated[str, Field(max_length=253)] | None = None
    """The ModelVersion that the model is registered as."""


class TrainingJobStatus(TrainedStatus):
    """What the operator knows about the job."""

    validations: Annotated[list[ValidationResult], Field(max_length=MAX_RESULTS)] = []
    """What the checks of inputs found."""
    baselines: Annotated[list[InputBaseline], Field(max_length=MAX_RESULTS)] = []
    """What inputs are compared with, from the first attempt on."""
    cost: TrainingCost = TrainingCost()
    """Resource time."""
    progress: Progress | None = None
    """How far training is."""
    checkpoint: CheckpointStatus | None = None
    """The newest checkpoint."""
