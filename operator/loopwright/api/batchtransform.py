"""BatchTransform: run a model over files, on a Ray cluster that lives as long as the job."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from loopwright.api.base import (
    NO_NUL,
    WHOLE,
    ApiModel,
    Cel,
    Flag,
    WriteUri,
    cel_schema,
    matches,
)
from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.budget import Budget
from loopwright.api.delivery import VariantName, check_one, exactly_one
from loopwright.api.modelref import ModelRef
from loopwright.api.monitoring import Watches
from loopwright.api.names import MAX_ENDPOINT_NAME
from loopwright.api.policy import Retry, RunPolicy, Scheduling, Spot
from loopwright.api.shared import DNS_LABEL, EnvFrom, EnvVars, PodOverrides, Resources, SecretRef
from loopwright.api.trainingjob import MODULE_CALLABLE, Head, ProcsPerWorker
from loopwright.api.validation import CHECKED_FORMATS, Validation

KIND = "BatchTransform"
PLURAL = "batchtransforms"

_LINES = ("csv", "jsonl", "text")
Glob = Annotated[str, Field(min_length=1, max_length=256, pattern=NO_NUL)]


_ROOTED = r"^[$][^\x00]*$"
_ROOT = "must be a JSONPath from the record on, for example $.features"


JsonPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=cel_schema(f"self.matches(r'{_ROOTED}')", _ROOT),
    ),
    AfterValidator(matches(_ROOTED, _ROOT)),
]


class BatchInput(ApiModel):
    """The records: files of one format below a URI."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            f"self.compression == 'Auto' || self.format in {list(_LINES)}",
            "compression goes with csv, jsonl and text; parquet and images carry their own, so"
            " leave it out",
        ),
    )

    uri: WriteUri
    """s3://bucket/path or pvc://claim/path: a file, or a folder with files at any depth. Names
    that begin with '_' or '.' are left out."""
    secret_ref: SecretRef | None = None
    """Credentials for `uri`; by default those of the pod."""
    format: Literal["csv", "jsonl", "parquet", "text", "images"]
    """What the files are. A record is a row of csv (with a header line) or parquet, a line of
    jsonl or text, or an image."""
    compression: Literal["Auto", "None", "Gzip"] = "Auto"
    """Of csv, jsonl and text. Auto goes by the file's name: .gz is gzip."""
    include: Annotated[list[Glob], Field(max_length=32)] = []
    """Globs on paths below `uri`; with any, only files that match one are read. `**` spans
    folders."""
    exclude: Annotated[list[Glob], Field(max_length=32)] = []
    """Globs on paths below `uri`; files that match one are not read."""

    @model_validator(mode="after")
    def _rules(self) -> BatchInput:
        if self.compression != "Auto" and self.format not in _LINES:
            raise ValueError("compression goes with csv, jsonl and text")
        return self


class BatchOutput(ApiModel):
    """Where the results go. Readers see nothing until all is there: files, a manifest with the
    sha256 of each, and _SUCCESS."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.compression == 'None' || !has(self.format) || self.format != 'parquet'",
            "parquet compresses its own columns; leave compression out",
        ),
    )

    uri: WriteUri
    """s3://bucket/path or pvc://claim/path: a folder that is neither in input.uri nor round it."""
    secret_ref: SecretRef | None = None
    """Credentials for `uri`; by default those of the pod."""
    format: Literal["csv", "jsonl", "parquet"] | None = None
    """By default that of the input, and jsonl for text and images."""
    overwrite: Literal["Fail", "Skip", "Replace"] = "Fail"
    """What to do where another job has published already: fail, succeed without doing anything, or
    replace its files once this job is done."""
    compression: Literal["None", "Gzip"] = "None"
    """Of csv and jsonl."""

    @model_validator(mode="after")
    def _rules(self) -> BatchOutput:
        if self.compression != "None" and self.format == "parquet":
            raise ValueError("parquet compresses its own columns; leave compression out")
        return self


class Predictor(ApiModel):
    """How the model is run, when onnxruntime is not the way."""

    class_: Annotated[str, Field(alias="class", max_length=253, pattern=MODULE_CALLABLE)]
    """`module:Class` of the image. It is made once in each process with the folder of the model (a
    pathlib.Path); its method predict takes a mini-batch as a dict of numpy arrays by column and
    returns the results in the same form."""


class EndpointRef(ApiModel):
    """A ModelEndpoint of the same namespace that is asked over HTTP, in the Open Inference Protocol
    (v2)."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_ENDPOINT_NAME, pattern=DNS_LABEL)]
    """Name of the ModelEndpoint."""
    variant: VariantName | None = None
    """The variant that is asked, past the Gateway; also one with role: Shadow. By default the
    weights divide the requests, as they do with all others."""


class DataProcessing(ApiModel):
    """What of a record goes into the model, and what comes out with the result."""

    input_filter: JsonPath | None = None
    """JSONPath of what the model gets of each record, for example $['age', 'income']; by default
    all columns that the model's signature names."""
    join_source: Literal["None", "Input"] = "None"
    """Input: the record's columns come before the results."""
    output_filter: JsonPath | None = None
    """JSONPath of what is written of each result, joined columns included."""


class Batching(ApiModel):
    """Mini-batches."""

    batch_size: Annotated[int, Field(strict=True, ge=1, le=65536), WHOLE] = 256
    """Records that the model gets at once."""
    max_concurrent: Annotated[int, Field(strict=True, ge=1, le=64), WHOLE] | None = None
    """Requests that each process has under way at an endpoint; by default 4. Goes with
    endpointRef."""


class Errors(ApiModel):
    """Bad records: those that cannot be read, do not fit the model, or that it fails on. With
    neither limit, the first fails the job."""

    max_failed_records: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), WHOLE] | None = None
    """The job fails with more bad records."""
    max_failed_percent: Annotated[int, Field(strict=True, ge=0, le=100), WHOLE] | None = None
    """The job fails when more of all records are bad, at the end."""
    dead_letter_uri: WriteUri | None = None
    """A folder for bad records with file, line and reason; by default <output.uri>/_dead_letter.
    Read and written with output.secretRef."""
    on_schema_mismatch: Literal["Fail", "DeadLetter"] = "Fail"
    """What to do about a file that lacks a column which the model needs: fail at once, or take all
    its records for bad."""


class Resume(ApiModel):
    """Shards: the parts of the input that a retry does not do again once they are done."""

    enabled: Flag = True
    """Whether an attempt goes on where the last one ended."""
    shard_size_mb: Annotated[int, Field(alias="shardSizeMB", strict=True, ge=1, le=4096), WHOLE] = (
        128
    )
    """About how much input a shard has, in MiB. A file of images, and a compressed one, is never
    split."""


def _folder(uri: str) -> str:
    return uri if uri.endswith("/") else f"{uri}/"


def _inside(inner: str, outer: str) -> bool:
    return _folder(inner).startswith(_folder(outer))


def _cel_inside(inner: str, outer: str) -> str:
    return (
        f"({inner}.endsWith('/') ? {inner} : {inner} + '/')"
        f".startsWith({outer}.endsWith('/') ? {outer} : {outer} + '/')"
    )


_APART = "output.uri must be neither in input.uri nor round it, or results would be read as input"
_LETTERS_APART = "errors.deadLetterUri must not be in input.uri, or it would be read as input"
_CHECKED = "validation checks columns, which only csv, jsonl and parquet have; leave it out"
_ONE = exactly_one("model", "endpointRef")
_CONCURRENT = "batching.maxConcurrent goes with endpointRef; procsPerWorker is for a model"
_SERVED = (
    "an endpoint runs its model itself and has monitors of its own; leave predictor and monitors"
    " out, or name a model"
)
_SPOT = "spot needs resume.enabled, or an interruption would lose all work"


class BatchTransformSpec(ApiModel):
    """Which model to run over what. Immutable but for budget, suspend, the TTL, the number of
    workers, and the pods' details (head, pod), which a running attempt keeps and the next one takes
    up."""

    cel: ClassVar[tuple[Cel, ...]] = (
        _ONE,
        Cel("!has(self.batching.maxConcurrent) || has(self.endpointRef)", _CONCURRENT),
        Cel(
            "!has(self.endpointRef) || (!has(self.predictor) && self.monitors.size() == 0)", _SERVED
        ),
        Cel(
            f"!{_cel_inside('self.output.uri', 'self.input.uri')} &&"
            f" !{_cel_inside('self.input.uri', 'self.output.uri')}",
            _APART,
        ),
        Cel(
            "!has(self.errors.deadLetterUri) ||"
            f" !{_cel_inside('self.errors.deadLetterUri', 'self.input.uri')}",
            _LETTERS_APART,
        ),
        Cel("!has(self.spot) || !self.spot.enabled || self.resume.enabled", _SPOT),
        Cel(f"!has(self.validation) || self.input.format in {list(CHECKED_FORMATS)}", _CHECKED),
    )
    immutable: ClassVar[frozenset[str]] = frozenset(
        {
            "model", "endpointRef", "predictor", "image", "rayVersion", "env", "envFrom", "input",
            "output", "dataProcessing", "batching", "errors", "resume", "resourcesPerWorker",
            "procsPerWorker", "spot", "retry", "scheduling", "validation", "monitors",
        }
    )  # fmt: skip

    model: ModelRef | None = None
    """Which model. What it means when the job begins is used to the end."""
    endpoint_ref: EndpointRef | None = None
    """A ModelEndpoint that is asked instead, where the model cannot be loaded into the job's own
    processes. What serves there may change meanwhile."""
    predictor: Predictor | None = None
    """How it is run; by default by onnxruntime, which takes the format onnx."""
    image: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+$")] | None = None
    """Container image; by default the operator's runtime image."""
    ray_version: (
        Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] | None
    ) = None
    """Version of Ray in the image; by default that of the operator's runtime image."""
    env: EnvVars = []
    """Variables of the Ray containers."""
    env_from: Annotated[list[EnvFrom], Field(max_length=32)] = []
    """Secrets and ConfigMaps whose keys become variables."""
    input: BatchInput
    """Records."""
    output: BatchOutput
    """Results."""
    data_processing: DataProcessing = DataProcessing()
    """Filters and joins."""
    batching: Batching = Batching()
    """Mini-batches."""
    errors: Errors = Errors()
    """Bad records."""
    resume: Resume = Resume()
    """Shards."""
    num_workers: Annotated[int, Field(strict=True, ge=0, le=256), WHOLE] = 1
    """Worker pods. 0 works in the head pod alone, with resourcesPerWorker. Another number, which
    kubectl scale can set too, ends the attempt; the next one skips the shards that are done."""
    resources_per_worker: Resources = Resources()
    """Resources of each worker pod."""
    procs_per_worker: ProcsPerWorker = "auto"
    """Processes with a copy of the model in each worker pod; auto is one for each GPU, or for each
    whole CPU core."""
    head: Head = Head()
    """The coordinating pod."""
    spot: Spot | None = None
    """Interruptible nodes."""
    retry: Retry = Retry()
    """Failure budgets."""
    budget: Budget | None = None
    """What it may cost; by default all it takes."""
    run_policy: RunPolicy = RunPolicy()
    """Limits, suspension and clean-up."""
    scheduling: Scheduling | None = None
    """Queue and priority."""
    validation: Validation | None = None
    """Checks of a csv, jsonl or parquet input, made while it is read; with onFailure Fail nothing
    is published that does not pass them."""
    monitors: Watches = []
    """What is compared with the model's training data: all records of the batch, and what the model
    says of them. Results are published whatever the monitors say."""
    pod: PodOverrides = PodOverrides()
    """Additions to all pods of the job."""

    @model_validator(mode="after")
    def _rules(self) -> BatchTransformSpec:
        check_one(_ONE, self.model, self.endpoint_ref)
        if self.endpoint_ref is None and self.batching.max_concurrent is not None:
            raise ValueError(_CONCURRENT)
        if self.endpoint_ref is not None and (self.predictor is not None or self.monitors):
            raise ValueError(_SERVED)
        source, target = self.input.uri, self.output.uri
        if _inside(target, source) or _inside(source, target):
            raise ValueError(_APART)
        letters = self.errors.dead_letter_uri
        if letters is not None and _inside(letters, source):
            raise ValueError(_LETTERS_APART)
        if self.spot is not None and self.spot.enabled and not self.resume.enabled:
            raise ValueError(_SPOT)
        if self.validation is not None and self.input.format not in CHECKED_FORMATS:
            raise ValueError(_CHECKED)
        return self

    @property
    def budgets(self) -> Retry:
        """Failures of attempts that are forgiven."""
        return self.retry

    @property
    def output_format(self) -> Literal["csv", "jsonl", "parquet"]:
        """What is written."""
        read: Any = self.input.format
        return self.output.format or (read if read in ("csv", "jsonl", "parquet") else "jsonl")


class BatchTransform(ApiModel):
    """Runs a model over files, on a Ray cluster that lives as long as the job."""

    model_config = ConfigDict(extra="ignore")

    spec: BatchTransformSpec
    """What to run over what."""
    status: BatchTransformStatus = BatchTransformStatus()
    """What the operator knows."""
