"""Types that several kinds share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema, model_validator

from loopwright.api.base import (
    NO_NUL,
    WHOLE,
    AbsolutePath,
    ApiModel,
    Cel,
    Digest,
    DnsName,
    EnvName,
    Flag,
    MetricName,
    ReadUri,
    RelativePath,
)
from loopwright.api.maps import Annotations, Labels, PodLabels, distinct
from loopwright.api.quantity import Quantity

Number = Annotated[
    str,
    Field(max_length=32, pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?$"),
]
"""A decimal number as text: floats in CRDs do not survive every client unchanged."""


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def by_key(key: str) -> dict[str, Any]:
    """Schema of a list that is a map by `key`: server-side apply merges its items one by one."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


Opaque = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""An object of Kubernetes' own, which the API server checks when the pod is created."""


class SecretRef(ApiModel):
    """A Secret in the same namespace, by name."""

    name: DnsName
    """Name of the Secret. For s3:// it holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and
    may hold AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL."""


class ConfigMapRef(ApiModel):
    """A ConfigMap in the same namespace, by name."""

    name: DnsName
    """Name of the ConfigMap."""


class DataSource(ApiModel):
    """Where data comes from: exactly one of `uri` and `configMapRef`."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.uri) != has(self.configMapRef)",
            "set exactly one of uri and configMapRef",
        ),
        Cel(
            "!has(self.secretRef) || has(self.uri)",
            "secretRef goes with uri; a ConfigMap needs no credentials",
        ),
    )

    uri: ReadUri | None = None
    """s3://bucket/path, pvc://claim/path, https:// or http://."""
    config_map_ref: ConfigMapRef | None = None
    """A ConfigMap whose keys become files."""
    secret_ref: SecretRef | None = None
    """Credentials for `uri`; by default those of the pod."""
    digest: Digest | None = None
    """The expected content; a job whose input has another digest fails before it trains.
    For a single file the sha256 of its bytes; for a folder that of the sorted list of its files
    (`<sha256>  <relative path>` a line, as sha256sum prints it)."""

    @model_validator(mode="after")
    def _exactly_one(self) -> DataSource:
        if (self.uri is None) == (self.config_map_ref is None):
            raise ValueError("set exactly one of uri and configMapRef")
        if self.secret_ref is not None and self.uri is None:
            raise ValueError("secretRef goes with uri; a ConfigMap needs no credentials")
        return self


class Resources(ApiModel):
    """Compute resources of one pod; they become both its requests and its limits."""

    cpu: Quantity = "1"
    """CPU cores."""
    memory: Quantity = "2Gi"
    """Memory, including what /dev/shm holds."""
    gpu: Annotated[int, Field(strict=True, ge=0, le=16), WHOLE] = 0
    """Number of GPUs."""
    gpu_resource: Annotated[
        str,
        Field(
            max_length=128,
            pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        ),
    ] = "nvidia.com/gpu"
    """The extended resource that counts GPUs on the nodes."""
    ephemeral_storage: Quantity | None = None
    """Scratch space on the node's disk."""
    shm_size: Quantity | None = None
    """Upper bound of /dev/shm; it counts against memory. By default half of the memory."""


class KeySelector(ApiModel):
    """One key of a Secret or ConfigMap."""

    name: DnsName
    """Name of the object."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key within it."""
    optional: Flag = False
    """Whether a missing object or key is fine."""


class FieldSelector(ApiModel):
    """A field of the pod itself."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """Path of the field, for example metadata.name."""


class EnvSource(ApiModel):
    """Where a variable's value comes from: exactly one source."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]"
            ".filter(x, x).size() == 1",
            "set exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        ),
    )

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""

    @model_validator(mode="after")
    def _exactly_one(self) -> EnvSource:
        sources = (self.secret_key_ref, self.config_map_key_ref, self.field_ref)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("set exactly one of secretKeyRef, configMapKeyRef and fieldRef")
        return self


class EnvVar(ApiModel):
    """An environment variable of every Ray container."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "!has(self.value) || !has(self.valueFrom)",
            "set value or valueFrom, not both",
        ),
        Cel(
            "!self.name.startsWith('LOOPWRIGHT_')",
            "names that start with LOOPWRIGHT_ belong to the operator; choose another",
        ),
    )

    name: EnvName
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32768, pattern=NO_NUL)] | None = None
    """Literal value."""
    value_from: EnvSource | None = None
    """Source of the value."""

    @model_validator(mode="after")
    def _rules(self) -> EnvVar:
        if self.value is not None and self.value_from is not None:
            raise ValueError("set value or valueFrom, not both")
        if self.name.startswith("LOOPWRIGHT_"):
            raise ValueError("names that start with LOOPWRIGHT_ belong to the operator")
        return self


class EnvFrom(ApiModel):
    """All keys of one Secret or ConfigMap as variables."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.secretRef) != has(self.configMapRef)",
            "set exactly one of secretRef and configMapRef",
        ),
    )

    prefix: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Put before each name."""
    secret_ref: SecretRef | None = None
    """A Secret."""
    config_map_ref: ConfigMapRef | None = None
    """A ConfigMap."""

    @model_validator(mode="after")
    def _exactly_one(self) -> EnvFrom:
        if (self.secret_ref is None) == (self.config_map_ref is None):
            raise ValueError("set exactly one of secretRef and configMapRef")
        return self


class Toleration(ApiModel):
    """A taint that the pods tolerate, as in a pod's spec."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint; none means all."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How key and value are compared."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Value of the taint, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect to tolerate; none means all."""
    toleration_seconds: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), WHOLE] | None = None
    """For NoExecute: how long to stay."""


Tolerations = Annotated[list[Toleration], Field(max_length=32)]
EnvVars = Annotated[
    list[EnvVar],
    Field(max_length=128, json_schema_extra=by_key("name")),
    distinct("name"),
]


_VOLUME_SOURCES = (
    "configMap",
    "secret",
    "persistentVolumeClaim",
    "emptyDir",
    "projected",
    "downwardAPI",
    "csi",
    "ephemeral",
)


class ProjectedSource(ApiModel):
    """One of the sources of a projected volume. Tokens of ServiceAccounts are absent: code of a job
    or a model has no business with the API server."""

    secret: Opaque | None = None
    """Keys of a Secret."""
    config_map: Opaque | None = None
    """Keys of a ConfigMap."""
    downward_api: Annotated[Opaque | None, Field(alias="downwardAPI")] = None
    """Fields of the pod."""


class Projected(ApiModel):
    """Several sources in one folder."""

    sources: Annotated[list[ProjectedSource], Field(max_length=32)] = []
    """Secrets, ConfigMaps and fields of the pod."""
    default_mode: Annotated[int, Field(strict=True, ge=0, le=0o777), WHOLE] | None = None
    """Mode of the files."""


class Volume(ApiModel):
    """A pod's volume. Sources that restricted Pod Security forbids (hostPath, say) are absent."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "[" + ", ".join(f"has(self.{name})" for name in _VOLUME_SOURCES) + "]"
            ".filter(x, x).size() == 1",
            "set exactly one of " + ", ".join(_VOLUME_SOURCES),
        ),
        Cel(
            "!self.name.startsWith('loopwright-')",
            "names that start with loopwright- belong to the operator; choose another",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
    """Name of the volume, for volumeMounts. Names that start with loopwright- are taken."""
    config_map: Opaque | None = None
    """A ConfigMap."""
    secret: Opaque | None = None
    """A Secret."""
    persistent_volume_claim: Opaque | None = None
    """A claim."""
    empty_dir: Opaque | None = None
    """Scratch space."""
    projected: Projected | None = None
    """Several sources in one folder."""
    downward_api: Annotated[Opaque | None, Field(alias="downwardAPI")] = None
    """Fields of the pod."""
    csi: Opaque | None = None
    """An inline CSI volume."""
    ephemeral: Opaque | None = None
    """A claim made for the pod."""

    @model_validator(mode="after")
    def _rules(self) -> Volume:
        if len(self.wire()) != 2:
            raise ValueError("set exactly one of " + ", ".join(_VOLUME_SOURCES))
        if self.name.startswith("loopwright-"):
            raise ValueError("names that start with loopwright- belong to the operator")
        return self


class VolumeMount(ApiModel):
    """Where a volume appears in the Ray container."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
    """Name of the volume."""
    mount_path: AbsolutePath
    """Folder in the container."""
    sub_path: RelativePath | None = None
    """Path within the volume."""
    read_only: Flag = False
    """Whether it may only be read."""


class PodOverrides(ApiModel):
    """Additions to the pods that the operator makes."""

    node_selector: Labels = {}
    """Labels that a node must have."""
    tolerations: Tolerations = []
    """Taints that the pods tolerate."""
    affinity: Opaque | None = None
    """Node and pod affinity, as in a pod."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16)] = []
    """Secrets with registry credentials."""
    volumes: Annotated[
        list[Volume], Field(max_length=32, json_schema_extra=by_key("name")), distinct("name")
    ] = []
    """Further volumes."""
    volume_mounts: Annotated[
        list[VolumeMount],
        Field(max_length=32, json_schema_extra=by_key("mountPath")),
        distinct("mount_path"),
    ] = []
    """Where they are mounted in the Ray container."""
    labels: PodLabels = {}
    """Further labels of the pods. Those of the operator win."""
    annotations: Annotations = {}
    """Further annotations of the pods."""


class Direction(StrEnum):
    """Whether less or more of a metric is better."""

    MINIMIZE = "Minimize"
    MAXIMIZE = "Maximize"


class Objective(ApiModel):
    """The metric that the job is about."""

    metric: MetricName
    """Name of the metric."""
    direction: Direction = Direction.MINIMIZE
    """Whether less or more is better."""


Regex = Annotated[str, Field(min_length=1, max_length=512)]


class MetricSource(ApiModel):
    """How metrics reach the operator."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "(self.kind == 'Stdout') == has(self.regex)",
            "kind Stdout needs regex, and only Stdout takes it; for example"
            " regex: ['(?P<name>loss|accuracy)=(?P<value>[0-9.]+)']",
        ),
    )

    kind: Literal["Push", "Stdout"] = "Push"
    """Push: the training code calls loopwright.train.report. Stdout: read from its output."""
    regex: Annotated[list[Regex], Field(min_length=1, max_length=16)] | None = None
    """For Stdout: patterns with groups `name` and `value`, and optionally `step`; a group named
    after a metric also works. Matched a line at a time."""

    @model_validator(mode="after")
    def _regex_goes_with_stdout(self) -> MetricSource:
        if (self.kind == "Stdout") != (self.regex is not None):
            raise ValueError("kind Stdout needs regex, and only Stdout takes it")
        return self
