"""The spec of a ModelEndpoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Argument, Cel, Flag
from loopwright.api.capture import DataCapture
from loopwright.api.delivery import Autoscaling, Replicas, Rollout, Routing, VariantName
from loopwright.api.experiment import Experiment
from loopwright.api.maps import distinct
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.modelref import ModelRef
from loopwright.api.monitoring import Monitors
from loopwright.api.shared import DNS_LABEL, EnvVars, PodOverrides, Resources, by_key

KIND = "ModelEndpoint"
PLURAL = "modelendpoints"

_IMAGE: Final = Cel(
    "!has(self.image) || (!has(self.format) && !has(self.servingRuntime))",
    "image is a server of your own; format and servingRuntime choose one of KServe's",
)
_COMMAND: Final = Cel(
    "!has(self.command) || has(self.image)",
    "command goes with image; the other servers have theirs",
)
_VERSION: Final = Cel("!has(self.formatVersion) || has(self.format)", "formatVersion needs format")


class Runtime(ApiModel):
    """Which server serves a model. By default Loopwright's own for ONNX and safetensors, and
    for any other format the one of KServe's ServingRuntimes that takes it."""

    cel: ClassVar[tuple[Cel, ...]] = (_IMAGE, _COMMAND, _VERSION)

    format: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$", max_length=32)] | None = None
    """Format, by a name that KServe knows; by default the model's."""
    format_version: Annotated[str, Field(max_length=16, pattern=r"^[0-9][0-9.]*$")] | None = None
    """Version of the format."""
    serving_runtime: (
        Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)] | None
    ) = None
    """A ServingRuntime or ClusterServingRuntime, by name."""
    image: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+$")] | None = None
    """A server of your own that listens on port 8080. It finds the model's URI in
    LOOPWRIGHT_MODEL_URI, and what is on a claim under /mnt/loopwright/pvc/<claim>."""
    command: Annotated[list[Argument], Field(min_length=1, max_length=64)] | None = None
    """Program of the image, never through a shell; by default the image's."""
    args: Annotated[list[Argument], Field(min_length=1, max_length=64)] | None = None
    """Arguments of the server."""
    protocol: Literal["v1", "v2"] = "v2"
    """Protocol of a server of KServe's or your own: one that speaks v2 is ready when
    /v2/health/ready says so, another when it accepts connections."""
    env: EnvVars = []
    """Variables of the server."""

    @model_validator(mode="after")
    def _rules(self) -> Runtime:
        stock = self.format is not None or self.serving_runtime is not None
        if self.image is not None and stock:
            raise ValueError(_IMAGE.message)
        if self.command is not None and self.image is None:
            raise ValueError(_COMMAND.message)
        if self.format_version is not None and self.format is None:
            raise ValueError(_VERSION.message)
        return self


class Batcher(ApiModel):
    """Lets Loopwright's own server compute several requests at once."""

    max_batch_size: Annotated[int, Field(strict=True, ge=2, le=4096), WHOLE] = 32
    """Rows of a batch."""
    max_latency_ms: Annotated[int, Field(strict=True, ge=1, le=10_000), WHOLE] = 5
    """How long a request waits for others."""


_SHADOW: Final = Cel(
    "self.role == 'Shadow' || !has(self.mirrorPercent)", "mirrorPercent goes with role: Shadow"
)
_WEIGHT: Final = Cel(
    "self.role == 'Serving' || !has(self.weight)",
    "weight goes with role: Serving; what a Shadow gets is mirrorPercent",
)


class Variant(ApiModel):
    """One model behind the endpoint."""

    cel: ClassVar[tuple[Cel, ...]] = (_SHADOW, _WEIGHT)

    name: VariantName
    """Name, unique within the endpoint."""
    model: ModelRef
    """Which model. Another one starts a rollout."""
    weight: Annotated[int, Field(strict=True, ge=0, le=1000), WHOLE] | None = None
    """Share of the traffic, relative to the other variants'; by default 100."""
    role: Literal["Serving", "Shadow"] = "Serving"
    """A Shadow gets copies of requests, and its answers are thrown away."""
    mirror_percent: Annotated[int, Field(strict=True, ge=1, le=100), WHOLE] | None = None
    """Share of the requests that a Shadow gets; by default 100."""
    runtime: Runtime = Runtime()
    """Server."""
    resources: Resources = Resources()
    """Resources of each pod."""
    replicas: Replicas | None = None
    """Number of pods, by default the endpoint's."""
    autoscaling: Autoscaling | None = None
    """Autoscaling, by default the endpoint's."""
    pod: PodOverrides = PodOverrides()
    """Additions to the pods."""

    @property
    def serving(self) -> bool:
        """Whether its answers reach clients."""
        return self.role == "Serving"

    @property
    def share(self) -> int:
        """The weight, or what stands for it."""
        weight = 100 if self.weight is None else self.weight
        return weight if self.serving else 0

    @model_validator(mode="after")
    def _rules(self) -> Variant:
        if self.serving and self.mirror_percent is not None:
            raise ValueError(_SHADOW.message)
        if not self.serving and self.weight is not None:
            raise ValueError(_WEIGHT.message)
        return self


_SOME: Final = Cel(
    "self.variants.exists(v, v.role == 'Serving' && (!has(v.weight) || v.weight > 0))",
    "at least one variant with role: Serving must have a weight above 0",
)
_ONE_SHADOW: Final = Cel(
    "self.variants.filter(v, v.role == 'Shadow').size() <= 1", "only one variant may be a Shadow"
)
_MONITORED: Final = Cel(
    "self.monitors.all(m, m.variants.all(n, self.variants.exists(v, v.name == n)))",
    "monitors[].variants must name variants of this endpoint",
)
_CAPTURED: Final = Cel(
    "self.monitors.all(m, !has(m.quality)) || (has(self.dataCapture)"
    " && self.dataCapture.mode != 'Request')",
    "a monitor of kind ModelQuality needs dataCapture with a mode that keeps answers",
)
_KEPT: Final = Cel(
    "!has(self.dataCapture) || !has(self.dataCapture.retentionDays)"
    " || self.monitors.all(m, !has(m.quality)"
    " || m.quality.labels.delaySeconds + m.everySeconds < self.dataCapture.retentionDays * 86400)",
    "dataCapture.retentionDays must exceed quality.labels.delaySeconds and everySeconds together",
)
_KNOWN: Final = Cel(
    "self.routing.rules.all(r, self.variants.exists(v, v.name == r.variant"
    " && v.role == 'Serving'))",
    "routing.rules must name variants of this endpoint with role: Serving",
)

_WEIGHTED: Final = "v.role == 'Serving' && (!has(v.weight) || v.weight > 0)"
_CONTROL: Final = Cel(
    "!has(self.experiment)"
    f" || self.variants.exists(v, v.name == self.experiment.control && {_WEIGHTED})",
    "experiment.control must name a variant with role: Serving and a weight above 0",
)
_TREATMENT: Final = Cel(
    f"!has(self.experiment) || self.variants.filter(v, {_WEIGHTED}).size() >= 2",
    "an experiment takes another variant than the control with a weight above 0",
)
_DIVIDED: Final = Cel(
    "!has(self.experiment) || (!has(self.routing.sticky) && self.routing.rules.size() == 0)",
    "an experiment compares requests that the weights divide by chance; do without routing.sticky"
    " and routing.rules meanwhile",
)


class ModelEndpointSpec(ApiModel):
    """What to serve, and how."""

    cel: ClassVar[tuple[Cel, ...]] = (
        _SOME, _ONE_SHADOW, _KNOWN, _MONITORED, _CAPTURED, _KEPT, _CONTROL, _TREATMENT, _DIVIDED,
    )  # fmt: skip

    variants: Annotated[
        list[Variant],
        Field(min_length=1, max_length=8, json_schema_extra=by_key("name")),
        distinct("name"),
    ]
    """Models, by variant."""
    replicas: Replicas = 1
    """Pods of each variant that has neither replicas of its own nor autoscaling."""
    autoscaling: Autoscaling | None = None
    """Autoscaling of each variant; by default there is none."""
    rollout: Rollout = Rollout()
    """How a variant changes to another model or server."""
    routing: Routing = Routing()
    """How requests get here, and to which variant."""
    batcher: Batcher | None = None
    """Request batching by Loopwright's own server; by default none."""
    monitors: Monitors = []
    """What is watched about the traffic. Nothing of a request is kept, but for kind ModelQuality:
    the model server counts into the bins of the baseline profile that training stored with the
    model."""
    data_capture: DataCapture | None = None
    """Keeps a sample of requests and answers; by default nothing of a request is kept."""
    experiment: Experiment | None = None
    """Which of the variants with a weight is better. Begins anew when a weight or a model changes
    before it is over."""
    require_approval: Flag | None = None
    """Serve approved ModelVersions only; by default as the operator's
    LOOPWRIGHT_REQUIRE_APPROVAL says. A Model's own spec.requireApproval counts in any case."""
    suspend: Flag = False
    """Scale everything to zero."""

    @model_validator(mode="after")
    def _rules(self) -> ModelEndpointSpec:
        if not any(variant.share for variant in self.variants):
            raise ValueError(_SOME.message)
        if sum(not variant.serving for variant in self.variants) > 1:
            raise ValueError(_ONE_SHADOW.message)
        known = {variant.name for variant in self.variants if variant.serving}
        if not {rule.variant for rule in self.routing.rules} <= known:
            raise ValueError(_KNOWN.message)
        names = {variant.name for variant in self.variants}
        if not all(set(one.variants) <= names for one in self.monitors):
            raise ValueError(_MONITORED.message)
        self._check_quality()
        if self.experiment is not None:
            self._check_experiment(self.experiment)
        return self

    def _check_quality(self) -> None:
        asked = [one for one in self.monitors if one.quality is not None]
        capture = self.data_capture
        if asked and (capture is None or capture.mode == "Request"):
            raise ValueError(_CAPTURED.message)
        days = capture.retention_days if capture is not None else None
        for one in asked:
            delay = one.measures.labels.delay_seconds
            if days is not None and delay + one.every_seconds >= days * 86_400:
                raise ValueError(_KEPT.message)

    def _check_experiment(self, experiment: Experiment) -> None:
        weighted = {variant.name for variant in self.variants if variant.share}
        if experiment.control not in weighted:
            raise ValueError(_CONTROL.message)
        if len(weighted) < 2:
            raise ValueError(_TREATMENT.message)
        if self.routing.sticky is not None or self.routing.rules:
            raise ValueError(_DIVIDED.message)

    def scaling(self, variant: Variant) -> Autoscaling:
        """How a variant scales; mode None stands for a fixed number."""
        own = variant.autoscaling or (None if variant.replicas else self.autoscaling)
        return own or Autoscaling(mode="None")

    def fixed(self, variant: Variant) -> int:
        """How many pods a variant has that does not scale by itself."""
        return variant.replicas or self.replicas


class ModelEndpoint(ApiModel):
    """Serves one or more models under one address."""

    model_config = ConfigDict(extra="ignore")

    spec: ModelEndpointSpec
    """What to serve."""
    status: ModelEndpointStatus = ModelEndpointStatus()
    """What the operator knows."""
