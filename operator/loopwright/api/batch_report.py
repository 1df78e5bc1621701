"""The mailbox of a BatchTransform: what its driver reports, and the operator reads.

It is untrusted input to the operator, so every field is bounded; at its largest it is below
`MAX_REPORT_BYTES`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.monitoring import MAX_MONITORS
from loopwright.api.monitoring_status import Judged
from loopwright.api.report import JobReport
from loopwright.api.validation import ValidationResult

MAX_SHARDS: Final = 32
MAX_PROBLEMS: Final = 16

Uri = Annotated[str, Field(max_length=2048)]
Path = Annotated[str, Field(max_length=512)]
Count = Annotated[int, Field(ge=0)]


class BatchRecords(StatusModel):
    """Records of all shards that are done, and of those that are worked on."""

    read: Count = 0
    """Read; each of them is written or failed in the end."""
    written: Count = 0
    """Predicted and written."""
    failed: Count = 0
    """In the dead-letter file."""


class ShardCounts(StatusModel):
    """Shards: parts of the input of which each becomes one file."""

    total: Count = 0
    """In all."""
    done: Count = 0
    """Complete."""
    resumed: Count = 0
    """Of these, found complete when the driver started."""


class ShardState(StrEnum):
    """Where a shard is."""

    RUNNING = "Running"
    DONE = "Done"


class ShardStatus(StatusModel):
    """A shard that is worked on, or that had records which failed."""

    number: Count
    """From 0; in the name of its file."""
    state: ShardState
    """Where it is."""
    file: Path
    """Its input, or the first of its inputs."""
    records: Count = 0
    """Read so far."""
    failed: Count = 0
    """Failed so far."""


class BatchOutputs(StatusModel):
    """What there is to read; complete once the report is final."""

    uri: Uri
    """Folder of the output files."""
    manifest_uri: Uri | None = None
    """List of the files with counts and digests, once they are published."""
    digest: Annotated[str, Field(max_length=71)] | None = None
    """sha256 of the manifest."""
    dead_letter_uri: Uri | None = None
    """The dead-letter file, if a record failed."""
    drift_report_uri: Uri | None = None
    """The page that shows what monitors compared, if there are any."""
    files: Count = 0
    """Files published."""
    bytes: Count = 0
    """Their size."""


class Problem(StatusModel):
    """Failed records of one reason."""

    reason: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Unparsable, WrongType, MissingColumn, ModelError and so on."""
    count: Count
    """How many records."""
    message: Annotated[str, Field(max_length=256)] = ""
    """What was wrong with the first of them."""
    file: Path | None = None
    """Its file."""
    line: int | None = None
    """Its line there, from 1; of a Parquet file its row."""


class BatchReport(JobReport):
    """The whole content of a BatchTransform's mailbox."""

    assembling: bool = False
    """Whether all shards are done, and their files are being published."""
    records: BatchRecords = BatchRecords()
    """Progress in records."""
    shards: ShardCounts = ShardCounts()
    """Progress in shards."""
    shard_states: Annotated[list[ShardStatus], Field(max_length=MAX_SHARDS)] = []
    """Those that are worked on, then those of which most records failed."""
    records_per_second: Annotated[str, Field(max_length=32)] | None = None
    """Rate over the last minute, as text."""
    eta_seconds: Annotated[int, Field(ge=0, le=10**9)] | None = None
    """Estimated time left."""
    outputs: BatchOutputs | None = None
    """What there is to read."""
    skipped: bool = False
    """Whether nothing was done, since the output was there already and overwrite is Skip."""
    model_digest: Annotated[str, Field(max_length=71)] | None = None
    """sha256 of the model.json that was verified and used."""
    problems: Annotated[list[Problem], Field(max_length=MAX_PROBLEMS)] = []
    """Why records failed, the most frequent reason first."""
    validation: ValidationResult | None = None
    """What the checks of the data found, once they are done."""
    monitors: Annotated[list[Judged], Field(max_length=MAX_MONITORS)] = []
    """What the monitors say, once all records are predicted."""
