"""TrainingJob: train a model on a Ray cluster that lives as long as the job."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from loopwright.api.base import (
    NO_NUL,
    WHOLE,
    AbsolutePath,
    ApiModel,
    Argument,
    Cel,
    Digest,
    EnvName,
    ReadUri,
    RelativePath,
    ResumeUri,
    WriteUri,
)
from loopwright.api.budget import Budget
from loopwright.api.inputvalidation import InputValidation
from loopwright.api.maps import WITHOUT_NULLS, Keys, Text, distinct
from loopwright.api.modelref import Register
from loopwright.api.policy import Retry, RunPolicy, Scheduling, Spot
from loopwright.api.shared import (
    DNS_LABEL,
    ConfigMapRef,
    DataSource,
    EnvFrom,
    EnvVars,
    MetricSource,
    Objective,
    PodOverrides,
    Resources,
    SecretRef,
    by_key,
)
from loopwright.api.trainingjob_status import TrainingJobStatus
from loopwright.api.validation import Validation

KIND = "TrainingJob"
PLURAL = "trainingjobs"

MODULE_CALLABLE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"


class Script(ApiModel):
    """A training script: exactly one of `inline`, `configMapRef` and `archiveUri`."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.inline), has(self.configMapRef), has(self.archiveUri)]"
            ".filter(x, x).size() == 1",
            "set exactly one of inline, configMapRef and archiveUri",
        ),
        Cel(
            "!has(self.inline) || !has(self.path)",
            "path names a file in configMapRef or archiveUri; inline has none",
        ),
        Cel(
            "has(self.archiveUri) || (!has(self.secretRef) && !has(self.digest))",
            "secretRef and digest go with archiveUri",
        ),
    )

    inline: Annotated[str, Field(min_length=1, max_length=65536, pattern=NO_NUL)] | None = None
    """The script itself."""
    config_map_ref: ConfigMapRef | None = None
    """A ConfigMap whose keys are the files."""
    archive_uri: ReadUri | None = None
    """A .tar.gz, .tar or .zip archive."""
    path: RelativePath | None = None
    """The file to run, by default train.py."""
    secret_ref: SecretRef | None = None
    """Credentials for archiveUri."""
    digest: Digest | None = None
    """The expected sha256 of the archive."""

    @model_validator(mode="after")
    def _rules(self) -> Script:
        sources = (self.inline, self.config_map_ref, self.archive_uri)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("set exactly one of inline, configMapRef and archiveUri")
        if self.inline is not None and self.path is not None:
            raise ValueError("path names a file in configMapRef or archiveUri; inline has none")
        if self.archive_uri is None and (self.secret_ref is not None or self.digest is not None):
            raise ValueError("secretRef and digest go with archiveUri")
        return self


class Head(ApiModel):
    """The pod that coordinates the cluster; with numWorkers 0 it also trains."""

    resources: Resources = Resources()
    """Its resources when there are workers."""
    pod: PodOverrides = PodOverrides()
    """Additions to the head pod alone, on top of spec.pod."""


class TrialInput(ApiModel):
    """A named data set, made available as files before training starts."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
    """Name of the input; scripts also find its folder in SM_CHANNEL_<NAME>."""
    source: DataSource
    """Where it comes from. pvc:// and ConfigMaps are mounted, other URIs are downloaded."""
    mount_path: AbsolutePath | None = None
    """Folder in which the files appear, by default /opt/loopwright/inputs/<name>; part of
    a claim is mounted there, read-only."""
    env: EnvName | None = None
    """A variable that gets the folder's path."""
    validation: Validation | None = None
    """Checks of the files that end with .csv, .jsonl, .ndjson or .parquet, .gz after it or not;
    made before training begins."""


class Input(TrialInput):
    """A named data set, made available as files before training starts."""

    validation: InputValidation | None = None
    """Checks of the files that end with .csv, .jsonl, .ndjson or .parquet, .gz after it or not;
    made before training begins."""


Inputs = Annotated[
    list[Input], Field(max_length=20, json_schema_extra=by_key("name")), distinct("name")
]


class Output(ApiModel):
    """Where the model directory and logs go."""

    uri: WriteUri
    """s3://bucket/path or pvc://claim/path. The model is written to <uri>/model; one that is to be
    registered to <uri>/models/<version>, so that no later job overwrites it."""
    secret_ref: SecretRef | None = None
    """Credentials for `uri`; by default those of the pod."""


class Checkpoint(ApiModel):
    """Where training state is kept, so that a retry continues instead of starting over."""

    uri: WriteUri | None = None
    """By default <output.uri>/checkpoints."""
    secret_ref: SecretRef | None = None
    """Credentials for `uri`, by default those of the output."""
    keep: Annotated[int, Field(strict=True, ge=1, le=100), WHOLE] = 3
    """How many of the newest checkpoints are kept."""
    local_path: AbsolutePath | None = None
    """For scripts that write checkpoints to a folder themselves: this folder is copied to `uri`
    every intervalHintSeconds and at the end, and restored before a retry."""
    interval_hint_seconds: Annotated[int, Field(strict=True, ge=1, le=86400), WHOLE] = 300
    """How often a checkpoint should be made; loopwright.train.should_checkpoint() follows it."""
    resume_from: ResumeUri = "Latest"
    """Where a job with no checkpoints of its own begins. Latest: at the newest complete checkpoint
    under `uri` since a job last succeeded there. None: from nothing. Or at the checkpoint with this
    URI. Once the job has made a checkpoint, it always continues from its newest."""


class Metrics(ApiModel):
    """What the job measures."""

    source: MetricSource = MetricSource()
    """How metrics reach the status."""
    objective: Objective | None = None
    """The metric to show first, and to judge the model by."""


def _procs(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError('must be "auto" or a number of at least 1')


ProcsPerWorker = Annotated[
    Literal["auto"] | Annotated[int, Field(strict=True, ge=1, le=64)],
    BeforeValidator(_procs),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-validations": [
                {
                    "rule": "type(self) == int ? self >= 1 && self <= 64 : self == 'auto'",
                    "message": 'must be "auto" or a number from 1 to 64',
                }
            ],
        }
    ),
]


HYPERPARAMETER = Keys(64, NO_NUL, "keys must have 1 to 64 characters, none of them NUL")
Hyperparameters = Annotated[
    dict[str, Text],
    Field(max_length=100, json_schema_extra=HYPERPARAMETER.rule()),
    AfterValidator(HYPERPARAMETER.check),
    WITHOUT_NULLS,
]


_WAYS = "set exactly one of script, function and command"
_ARGS = "args go with script or command; a function gets hyperparameters"


class Training(ApiModel):
    """What is run on which pods, be it once or in each trial of a sweep."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.__function__), has(self.command), has(self.script)]"
            ".filter(x, x).size() == 1",
            _WAYS,
        ),
        Cel("!has(self.__function__) || !has(self.args)", _ARGS),
    )
    immutable: ClassVar[frozenset[str]] = frozenset(
        {
            "image", "rayVersion", "function", "command", "args", "script", "hyperparameters",
            "hyperparameterStyle", "env", "envFrom", "numWorkers", "resourcesPerWorker",
            "procsPerWorker", "inputs", "output", "checkpoint",
        }
    )  # fmt: skip

    image: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+$")] | None = None
    """Container image with the training code; by default the operator's runtime image."""
    ray_version: (
        Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")] | None
    ) = None
    """Version of Ray in the image; by default that of the operator's runtime image."""
    script: Script | None = None
    """A script that every worker process runs, with torchrun's and SageMaker's environment."""
    function: Annotated[str, Field(max_length=253, pattern=MODULE_CALLABLE)] | None = None
    """`module:callable`, called in every worker process inside a torch process group."""
    command: Annotated[list[Argument], Field(min_length=1, max_length=128)] | None = None
    """A program that is run once, as the Ray driver. Never goes through a shell."""
    args: Annotated[list[Argument], Field(min_length=1, max_length=128)] | None = None
    """Arguments of the script or command."""
    hyperparameters: Hyperparameters = {}
    """Named values for the training code."""
    hyperparameter_style: Literal["Env", "Args", "File"] = "Env"
    """How a script or command gets them, besides SM_HPS and the file hyperparameters.json in the
    folder SM_INPUT_CONFIG_DIR: Env as SM_HP_<NAME>, Args as `--name=value` after args, File not in
    any other way."""
    env: EnvVars = []
    """Variables of the Ray containers."""
    env_from: Annotated[list[EnvFrom], Field(max_length=32)] = []
    """Secrets and ConfigMaps whose keys become variables."""
    num_workers: Annotated[int, Field(strict=True, ge=0, le=1024), WHOLE] = 1
    """Worker pods. 0 trains in the head pod alone, with resourcesPerWorker."""
    resources_per_worker: Resources = Resources()
    """Resources of each worker pod."""
    procs_per_worker: ProcsPerWorker = "auto"
    """Processes in each worker pod; auto is one for each GPU, or one."""
    inputs: Annotated[
        list[TrialInput], Field(max_length=20, json_schema_extra=by_key("name")), distinct("name")
    ] = []
    """Data sets."""
    output: Output | None = None
    """Where results go; required unless the operator has a default output."""
    checkpoint: Checkpoint | None = None
    """Checkpoints; with none, those that the code makes go to <output.uri>/checkpoints."""
    pod: PodOverrides = PodOverrides()
    """Additions to all pods of the job."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.function, self.command, self.script)) != 1:
            raise ValueError(_WAYS)
        if self.function is not None and self.args is not None:
            raise ValueError(_ARGS)
        return self


class TrainingJobSpec(Training):
    """What to train, on what, with which guarantees. Immutable but for budget, suspend, the
    TTL, and the pods' details (head, pod), which a running attempt keeps and the next one takes
    up."""

    cel: ClassVar[tuple[Cel, ...]] = (
        *Training.cel,
        Cel(
            "!has(self.spot) || !self.spot.enabled || has(self.checkpoint)",
            "spot needs checkpoint, or an interruption would lose all work; add checkpoint: {}",
        ),
    )
    immutable: ClassVar[frozenset[str]] = Training.immutable | {
        "spot", "retry", "scheduling", "metrics", "register",
    }  # fmt: skip

    inputs: Inputs = []  # type: ignore[assignment]  # Nobody appends to it.
    """Data sets."""
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
    metrics: Metrics = Metrics()
    """Metrics and the objective."""
    register_: Annotated[Register | None, Field(alias="register")] = None
    """Make the trained model a version of a Model."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.spot is not None and self.spot.enabled and self.checkpoint is None:
            raise ValueError("spot needs checkpoint, or an interruption would lose all work")
        return self

    @property
    def budgets(self) -> Retry:
        """Failures of attempts that are forgiven."""
        return self.retry


class TrainingJob(ApiModel):
    """Trains a model on a Ray cluster that lives as long as the job."""

    model_config = ConfigDict(extra="ignore")

    spec: TrainingJobSpec
    """What to train."""
    status: TrainingJobStatus = TrainingJobStatus()
    """What the operator knows."""
