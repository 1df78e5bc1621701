"""The status of a BatchTransform."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.batch_report import (
    BatchOutputs,
    BatchRecords,
    Problem,
    ShardCounts,
    ShardStatus,
)
from loopwright.api.conditions import Condition
from loopwright.api.monitoring import MAX_MONITORS
from loopwright.api.monitoring_status import Judged
from loopwright.api.shared import by_key
from loopwright.api.trainingjob_status import JobStatus
from loopwright.api.validation import ValidationResult

# Of what the report tells; the status is written to all replicas of etcd, every few seconds.
MAX_SHOWN: Final = 8


class BatchModel(StatusModel):
    """The model that all attempts use: what spec.model meant when the first began."""

    uri: Annotated[str, Field(max_length=2048)]
    """The model directory."""
    format: Annotated[str, Field(max_length=32)]
    """onnx, or what predictor.class knows."""
    digest: Annotated[str, Field(max_length=71)] | None = None
    """sha256 of its model.json, which is checked before it is loaded."""
    secret: Annotated[str, Field(max_length=253)] | None = None
    """The Secret with credentials to read `uri`."""
    model_version: Annotated[str, Field(max_length=253)] | None = None
    """The ModelVersion; none when a job's model is used that was not registered."""


class BatchEndpoint(StatusModel):
    """The endpoint that the newest attempt asks, as it was when that began."""

    name: Annotated[str, Field(max_length=63)]
    """The ModelEndpoint, and what models are called there."""
    variant: Annotated[str, Field(max_length=16)] | None = None
    """The variant, if only one is asked."""
    url: Annotated[str, Field(max_length=2048)]
    """Where requests go; an attempt makes way for another when this changes."""


class Shards(ShardCounts):
    """Shards: parts of the input that are done, or done again, as a whole."""

    finished: Annotated[str, Field(max_length=48)] | None = None
    """done/total."""
    shown: Annotated[list[ShardStatus], Field(max_length=MAX_SHOWN)] = []
    """Some that are worked on, then those of which most records failed."""


class BatchProgress(StatusModel):
    """How far it is."""

    percent: int | None = None
    """0 to 100, of the shards."""
    records_per_second: Annotated[str, Field(max_length=32)] | None = None
    """Rate of late; a number as text."""
    eta_seconds: int | None = None
    """Estimated time left."""
    updated_at: datetime | None = None
    """When the driver last reported."""


class BatchTransformStatus(JobStatus):
    """What the operator knows about the job."""

    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them, and ClusterReady, Running, Succeeded,
    Failed, Suspended, Admitted, ModelResolved, DataValidated, RecordsComplete, DriftDetected,
    DataQualityOK, OutputCommitted."""
    model: BatchModel | None = None
    """The model in use."""
    endpoint: BatchEndpoint | None = None
    """The endpoint in use, in place of a model."""
    attempt_workers: int | None = None
    """spec.numWorkers as the newest attempt was told; it is stopped for another number, and the
    next one goes on."""
    progress: BatchProgress | None = None
    """How far it is."""
    records: BatchRecords = BatchRecords()
    """Records."""
    shards: Shards = Shards()
    """Shards."""
    problems: Annotated[list[Problem], Field(max_length=MAX_SHOWN)] = []
    """Why records failed, the most frequent reason first."""
    validation: ValidationResult | None = None
    """What the checks of the input found."""
    monitors: Annotated[
        list[Judged], Field(max_length=MAX_MONITORS, json_schema_extra=by_key("name"))
    ] = []
    """What the monitors say."""
    outputs: BatchOutputs | None = None
    """Results; with manifestUri once they are published as a whole."""
    skipped: bool = False
    """Whether nothing was done, since the output was there already and output.overwrite is Skip."""
