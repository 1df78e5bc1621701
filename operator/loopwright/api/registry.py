"""Model and ModelVersion: what was trained, what may be used, and under which names.

A ModelVersion is a record: everything in it but the approval is fixed once it is written, whoever
wrote it. A Model holds what people decide about its versions.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from loopwright.api.autoapprove import AutoApprove
from loopwright.api.base import (
    NO_NUL,
    WHOLE,
    ApiModel,
    Cel,
    Digest,
    Flag,
    MetricName,
    StatusModel,
    WriteUri,
)
from loopwright.api.conditions import Condition
from loopwright.api.maps import WITHOUT_NULLS, Keys, distinct
from loopwright.api.modelref import Alias, AliasNames, Card, ModelName, VersionName
from loopwright.api.shared import DNS_LABEL, SecretRef, by_key

MODEL_KIND = "Model"
MODEL_PLURAL = "models"
VERSION_KIND = "ModelVersion"
VERSION_PLURAL = "modelversions"

# Formats whose files run code when they are loaded.
UNSAFE_FORMATS = ("cloudpickle", "joblib", "keras", "mlflow", "pickle", "pytorch", "sklearn")
# Formats that Loopwright loads itself, which it does by a verified model.json.
OWN_FORMATS = ("onnx", "safetensors")

ALIAS = Keys(40, DNS_LABEL, "aliases must have at most 40 characters of a-z, 0-9 and '-'")
Aliases = Annotated[
    dict[str, VersionName],
    Field(max_length=32, json_schema_extra=ALIAS.rule()),
    AfterValidator(ALIAS.check),
    WITHOUT_NULLS,
]
# RFC 3339 in UTC: as text it sorts by time.
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
# A version may be pointed to by all aliases of the spec, and by all that it asks for.
MAX_POINTING = 40
# Those of the spec, and others that versions ask for.
MAX_ALIASES = 256
MAX_REASON = 1024
Size = Annotated[int, Field(strict=True, ge=-1, le=2**31 - 1), WHOLE]


class TensorSpec(ApiModel):
    """A named tensor of a model's signature."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """Name."""
    dtype: Annotated[str, Field(max_length=32)]
    """numpy's name of the element type, for example float32."""
    shape: Annotated[list[Size], Field(max_length=16)]
    """Sizes; -1 where any size will do, as for the batch."""


class Signature(ApiModel):
    """What goes into a model and what comes out."""

    inputs: Annotated[list[TensorSpec], Field(max_length=512)]
    """In the order of the model's arguments."""
    outputs: Annotated[list[TensorSpec], Field(max_length=512)]
    """In the order of its results."""


class ModelMetric(ApiModel):
    """A final metric of a version."""

    name: MetricName
    """Name."""
    value: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[!-~]+$")]
    """Value, as text."""


class BaselineRef(ApiModel):
    """The file that describes the data the model was trained on."""

    uri: WriteUri
    """A file whose field `baseline` holds the profile, as in model.json."""
    digest: Digest | None = None
    """sha256 of the file."""


class JobLineage(ApiModel):
    """The job that trained a version; it may be gone."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name."""
    uid: Annotated[str, Field(min_length=1, max_length=64)]
    """UID."""
    attempt: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1), WHOLE] | None = None
    """The attempt that succeeded."""


class DataVersion(ApiModel):
    """A data set that a version was trained on."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the job's input."""
    uri: Annotated[str, Field(max_length=2048)]
    """Where it came from."""
    digest: Digest | None = None
    """What it contained."""


class VersionLineage(ApiModel):
    """What a version was made from."""

    training_job: JobLineage | None = None
    """The job that trained it."""
    hyperparameter_sweep: JobLineage | None = None
    """The sweep of which its trial was the best."""
    run_id: Annotated[str, Field(max_length=64)] | None = None
    """The driver's own id of the run."""
    trained_at: Annotated[str, Field(max_length=20, pattern=TIME)] | None = None
    """When the job ended, in UTC. Versions are ordered by it, or by their creation without it."""
    inputs: Annotated[list[DataVersion], Field(max_length=20)] = []
    """Data, with the digests of what was read."""
    image: Annotated[str, Field(max_length=500)] | None = None
    """Container image."""
    git_revision: Annotated[str, Field(max_length=128, pattern=r"^[!-~]+$")] | None = None
    """Of the code; the job's annotation loopwright.io/git-revision."""


class ApprovalState(StrEnum):
    """What people have decided about a version."""

    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"


class Approval(ApiModel):
    """Whether a version may be used. Only users with the RBAC verb `approve` may change it."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(self.state == 'Pending') != has(self.by)",
            "state Approved or Rejected needs by: the name of the user who decides; Pending has"
            " none",
        ),
    )

    state: ApprovalState = ApprovalState.PENDING
    """Pending, Approved or Rejected."""
    by: Annotated[str, Field(min_length=1, max_length=253, pattern=NO_NUL)] | None = None
    """Who decided. The API server refuses any name but that of the user who writes it."""
    reason: Annotated[str, Field(max_length=MAX_REASON, pattern=NO_NUL)] | None = None
    """Why."""

    @model_validator(mode="after")
    def _named(self) -> Approval:
        if (self.state is ApprovalState.PENDING) == (self.by is not None):
            raise ValueError("state Approved or Rejected needs by, and Pending has none")
        return self


class OwningModel(ApiModel):
    """The Model that a version belongs to."""

    name: ModelName
    """Name of the Model."""


_UNSAFE = f"{list(UNSAFE_FORMATS)}"
_OWN = f"{list(OWN_FORMATS)}"


class ModelVersionSpec(ApiModel):
    """What a version is. Immutable but for `approval`."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            f"!(self.format in {_UNSAFE}) || self.allowUnsafe",
            "this format can run code when it is loaded; export the model as onnx, or set"
            " allowUnsafe: true to trust whoever wrote it",
        ),
        Cel(
            f"!(self.format in {_OWN}) || has(self.digest)",
            "onnx and safetensors need digest, the sha256 of the model's model.json, which is"
            " checked before the model is loaded",
        ),
    )
    immutable: ClassVar[frozenset[str]] = frozenset(
        {
            "modelRef", "version", "uri", "secretRef", "digest", "format", "signature", "metrics",
            "baselineRef", "lineage", "card", "allowUnsafe", "aliases",
        }
    )  # fmt: skip

    model_ref: OwningModel
    """The Model it belongs to. The ModelVersion's own name must be <model>-<version>."""
    version: VersionName
    """The version, unique within the Model."""
    uri: WriteUri
    """The model directory: s3://bucket/path or pvc://claim/path."""
    secret_ref: SecretRef | None = None
    """Credentials to read `uri`; by default those of the pod."""
    digest: Digest | None = None
    """sha256 of the directory's model.json, which holds those of all its files."""
    format: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", max_length=32)]
    """onnx, safetensors, or the name of a format that a serving runtime knows."""
    signature: Signature | None = None
    """Inputs and outputs, when known."""
    metrics: Annotated[
        list[ModelMetric], Field(max_length=64, json_schema_extra=by_key("name")), distinct("name")
    ] = []
    """Final metrics, the one to judge by first."""
    baseline_ref: BaselineRef | None = None
    """Where the profile of the training data is, when there is one."""
    lineage: VersionLineage | None = None
    """What it was made from."""
    card: Card | None = None
    """Text about this version, in Markdown."""
    allow_unsafe: Flag = False
    """Accept a format that can run code when it is loaded, such as pickle."""
    aliases: AliasNames = []
    """Aliases that shall point to the newest usable version which asks for them. What the Model's
    own spec.aliases says comes first."""
    approval: Approval = Approval()
    """Whether it may be used. Only users with the RBAC verb `approve` may change it."""

    @model_validator(mode="after")
    def _rules(self) -> ModelVersionSpec:
        if self.format in UNSAFE_FORMATS and not self.allow_unsafe:
            raise ValueError("this format can run code when it is loaded; set allowUnsafe: true")
        if self.format in OWN_FORMATS and self.digest is None:
            raise ValueError("onnx and safetensors need digest, the sha256 of model.json")
        return self


class Stage(StrEnum):
    """One word for people; derived from approval and Model, and never read back."""

    REGISTERED = "Registered"
    """Usable; nobody needs to approve it."""
    PENDING_APPROVAL = "PendingApproval"
    APPROVED = "Approved"
    REJECTED = "Rejected"


class ModelVersionStatus(StatusModel):
    """What the operator knows about a version."""

    observed_generation: int = 0
    """The generation of the spec that the operator last acted on."""
    phase: Stage | None = None
    """One word for people."""
    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them, and Approved."""
    aliases: Annotated[list[Alias], Field(max_length=MAX_POINTING)] = []
    """Aliases that point to it."""
    metric: Annotated[str, Field(max_length=97)] | None = None
    """The first metric, as name=value."""
    approved_by: Annotated[str, Field(max_length=253)] | None = None
    """Who approved it."""
    approved_at: datetime | None = None
    """When the operator saw that."""


class ModelVersion(ApiModel):
    """One trained model: where it is, what it is, and what it was made from."""

    model_config = ConfigDict(extra="ignore")

    spec: ModelVersionSpec
    """What it is."""
    status: ModelVersionStatus = ModelVersionStatus()
    """What the operator knows."""


class Retention(ApiModel):
    """Which versions are deleted by themselves."""

    keep: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE]
    """How many of the newest versions stay. Older ones are deleted unless a person has approved
    them, an alias points to them, or an object of this namespace uses them. The model's files
    stay."""


_NEEDS_APPROVAL = Cel(
    "!has(self.autoApprove) || self.requireApproval",
    "autoApprove needs requireApproval: true; without it versions are used unapproved",
)


class ModelSpec(ApiModel):
    """What people decide about a model."""

    cel: ClassVar[tuple[Cel, ...]] = (_NEEDS_APPROVAL,)

    description: Annotated[str, Field(max_length=1024, pattern=NO_NUL)] | None = None
    """What the model is for."""
    card: Card | None = None
    """Text about the model, in Markdown."""
    require_approval: Flag = False
    """Use only versions that somebody has approved."""
    auto_approve: AutoApprove | None = None
    """Have the operator approve versions that keep these conditions and that nobody has decided
    about. What people decide, before or later, stands."""
    aliases: Aliases = {}
    """Names for versions, for example production: v3. They come before what versions ask for."""
    retention: Retention | None = None
    """Which versions are deleted by themselves; by default none."""

    @model_validator(mode="after")
    def _rules(self) -> ModelSpec:
        if self.auto_approve is not None and not self.require_approval:
            raise ValueError(_NEEDS_APPROVAL.message)
        return self


class ModelStatus(StatusModel):
    """What the operator knows about a model."""

    observed_generation: int = 0
    """The generation of the spec that the operator last acted on."""
    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them."""
    versions: int = 0
    """How many there are."""
    latest_version: VersionName | None = None
    """The newest."""
    aliases: Annotated[dict[str, VersionName], Field(max_length=MAX_ALIASES)] = {}
    """The usable version that each alias points to now."""


class Model(ApiModel):
    """A named model, of which there are versions."""

    model_config = ConfigDict(extra="ignore")

    spec: ModelSpec = ModelSpec()
    """What people decide."""
    status: ModelStatus = ModelStatus()
    """What the operator knows."""
