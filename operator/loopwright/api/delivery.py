"""How an endpoint's variants scale, are rolled out, and share the traffic."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from loopwright.api.base import NO_NUL, WHOLE, ApiModel, Cel, DnsName, Flag
from loopwright.api.maps import AS_SET, DISTINCT, distinct
from loopwright.api.quantity import Quantity
from loopwright.api.shared import DNS_LABEL, Number, by_key

Percent = Annotated[int, Field(strict=True, ge=0, le=100), WHOLE]
Replicas = Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE]
Positive = Annotated[
    str, Field(max_length=32, pattern=r"^[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?$")
]
"""A number that is not negative, as text."""
HeaderName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_|~]+$")
]
VariantName = Annotated[
    str, Field(min_length=1, max_length=10, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
]
Query = Annotated[str, Field(min_length=1, max_length=4096, pattern=NO_NUL)]


def exactly_one(*fields: str) -> Cel:
    """A rule that one of some fields is set, and no other."""
    has = ", ".join(f"has(self.{field})" for field in fields)
    names = f"{', '.join(fields[:-1])} and {fields[-1]}"
    return Cel(f"[{has}].filter(x, x).size() == 1", f"set exactly one of {names}")


def check_one(rule: Cel, *values: object) -> None:
    """What the API server checks by `exactly_one`."""
    if sum(value is not None for value in values) != 1:
        raise ValueError(rule.message)


class CpuMetric(ApiModel):
    """CPU time that pods use."""

    utilization: Annotated[int, Field(strict=True, ge=1, le=100), WHOLE] = 80
    """Percent of resources.cpu, on average over the pods."""


class MemoryMetric(ApiModel):
    """Memory that pods use."""

    average: Quantity
    """Amount for each pod, on average; below resources.memory."""


class PrometheusMetric(ApiModel):
    """A PromQL query; needs KEDA and the operator's LOOPWRIGHT_PROMETHEUS_URL."""

    query: Query
    """Gives one number. {{endpoint}}, {{namespace}}, {{variant}} and {{revision}} stand for the
    names."""
    threshold: Positive
    """What one replica takes on."""


class RpsMetric(ApiModel):
    """Requests a second, from the model servers' own metrics in Prometheus; needs KEDA."""

    per_replica: Annotated[int, Field(strict=True, ge=1, le=1_000_000), WHOLE]
    """What one replica takes on."""


class ScalingMetric(ApiModel):
    """What the number of replicas follows: exactly one source."""

    RULE: ClassVar[Cel] = exactly_one("cpu", "memory", "prometheus", "rps")
    cel: ClassVar[tuple[Cel, ...]] = (RULE,)

    cpu: CpuMetric | None = None
    """CPU time."""
    memory: MemoryMetric | None = None
    """Memory."""
    prometheus: PrometheusMetric | None = None
    """A PromQL query."""
    rps: RpsMetric | None = None
    """Requests a second."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ScalingMetric:
        check_one(self.RULE, self.cpu, self.memory, self.prometheus, self.rps)
        return self


_BOUNDS: Final = Cel("self.min <= self.max", "min must not exceed max")
_HPA: Final = Cel(
    "self.mode != 'HPA' || self.metrics.all(m, has(m.cpu) || has(m.memory))",
    "mode HPA follows cpu and memory only; set mode: KEDA for prometheus and rps",
)


class Autoscaling(ApiModel):
    """How many replicas a variant has."""

    cel: ClassVar[tuple[Cel, ...]] = (_BOUNDS, _HPA)

    mode: Literal["HPA", "KEDA", "External", "None"] = "HPA"
    """HPA: a HorizontalPodAutoscaler. KEDA: a ScaledObject, which needs KEDA. External: whoever
    scales the variant's Deployment may; the operator does not. None: `replicas` says."""
    min: Replicas = 1
    """Least number."""
    max: Replicas = 3
    """Greatest number."""
    metrics: Annotated[list[ScalingMetric], Field(min_length=1, max_length=8)] = [
        ScalingMetric(cpu=CpuMetric())
    ]
    """What it follows; of several, the one that asks for most."""
    scale_down_window_seconds: Annotated[int, Field(strict=True, ge=0, le=3600), WHOLE] = 300
    """It shrinks only when all of this time would have allowed it."""

    @model_validator(mode="after")
    def _rules(self) -> Autoscaling:
        if self.min > self.max:
            raise ValueError(_BOUNDS.message)
        others = any(one.cpu is None and one.memory is None for one in self.metrics)
        if self.mode == "HPA" and others:
            raise ValueError(_HPA.message)
        return self


class ErrorRateCheck(ApiModel):
    """Requests answered with code 500 or more."""

    max_percent: Positive = "5"
    """Greatest share, in percent."""


class LatencyCheck(ApiModel):
    """Time that answers take: exactly one bound."""

    RULE: ClassVar[Cel] = exactly_one("maxMilliseconds", "maxRatio")
    cel: ClassVar[tuple[Cel, ...]] = (RULE,)

    quantile: Literal["p50", "p99"] = "p99"
    """Which part of the distribution."""
    max_milliseconds: Positive | None = None
    """Greatest latency."""
    max_ratio: Positive | None = None
    """Greatest latency, as a multiple of that of the revision that is being replaced."""

    @model_validator(mode="after")
    def _exactly_one(self) -> LatencyCheck:
        check_one(self.RULE, self.max_milliseconds, self.max_ratio)
        return self


_BOUNDED: Final = Cel("has(self.min) || has(self.max)", "set min, max or both")


class PrometheusCheck(ApiModel):
    """A PromQL query; needs the operator's LOOPWRIGHT_PROMETHEUS_URL."""

    cel: ClassVar[tuple[Cel, ...]] = (_BOUNDED,)

    query: Query
    """Gives one number. {{endpoint}}, {{namespace}}, {{variant}}, {{revision}} (the new one) and
    {{window}} (a duration such as 60s) are replaced."""
    min: Number | None = None
    """Least value."""
    max: Number | None = None
    """Greatest value."""

    @model_validator(mode="after")
    def _bounded(self) -> PrometheusCheck:
        if self.min is None and self.max is None:
            raise ValueError(_BOUNDED.message)
        return self


class Check(ApiModel):
    """What a new revision must keep: exactly one measure."""

    RULE: ClassVar[Cel] = exactly_one("errorRate", "latency", "prometheus")
    cel: ClassVar[tuple[Cel, ...]] = (RULE,)

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=DNS_LABEL)]
    """Name, for the status."""
    error_rate: ErrorRateCheck | None = None
    """Errors."""
    latency: LatencyCheck | None = None
    """Latency."""
    prometheus: PrometheusCheck | None = None
    """Anything that Prometheus knows."""
    failure_limit: Annotated[int, Field(strict=True, ge=1, le=10), WHOLE] = 2
    """So many failed intervals in a row end the rollout."""
    on_no_data: Literal["Ignore", "Fail"] = "Ignore"
    """What an interval with too few requests, or a query without a result, counts as."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Check:
        check_one(self.RULE, self.error_rate, self.latency, self.prometheus)
        return self


DEFAULT_CHECKS: Final = [
    Check(name="errors", error_rate=ErrorRateCheck()),
    Check(name="latency", latency=LatencyCheck(max_ratio="2")),
]
_PREVIEW: Final = Cel(
    "self.canaryPercent > 0 || self.strategy == 'Manual'",
    "canaryPercent: 0 goes with strategy: Manual, where a person lets traffic in",
)


class Rollout(ApiModel):
    """How a variant's traffic moves to a new revision. Until that is done, the old one stays."""

    cel: ClassVar[tuple[Cel, ...]] = (_PREVIEW,)

    strategy: Literal["AllAtOnce", "Canary", "Linear", "Manual"] = "AllAtOnce"
    """AllAtOnce: all traffic once the new revision is ready (blue/green). Canary: canaryPercent,
    then all. Linear: stepPercent more each time. Manual: canaryPercent, until the annotation
    loopwright.io/promote names the revision."""
    canary_percent: Annotated[int, Field(strict=True, ge=0, le=50), WHOLE] = 10
    """First share of Canary and Manual."""
    step_percent: Annotated[int, Field(strict=True, ge=10, le=50), WHOLE] = 20
    """Each step of Linear."""
    bake_seconds: Annotated[int, Field(strict=True, ge=0, le=3600), WHOLE] = 600
    """How long each step, the last one too, is watched before the next."""
    checks: Annotated[
        list[Check], Field(max_length=10, json_schema_extra=by_key("name")), distinct("name")
    ] = DEFAULT_CHECKS
    """What is watched. An empty list lets time alone decide."""
    check_seconds: Annotated[int, Field(strict=True, ge=5, le=300), WHOLE] = 30
    """How often checks are made, each over so much time."""
    min_requests: Annotated[int, Field(strict=True, ge=1, le=1_000_000), WHOLE] = 20
    """Requests that a window needs to be judged by."""
    auto_rollback: Flag = True
    """Return to the old revision when a check fails; otherwise the rollout waits where it is."""
    max_duration_seconds: Annotated[int, Field(strict=True, ge=60, le=28800), WHOLE] = 3600
    """How long a rollout may wait for its pods, or for its checks once a step's time is over, until
    it is rolled back. A Manual one waits for its person as long as it takes."""
    keep_previous_seconds: Annotated[int, Field(strict=True, ge=0, le=86400), WHOLE] = 600
    """How long the old revision runs on after a rollout, so that going back takes no time."""

    @model_validator(mode="after")
    def _rules(self) -> Rollout:
        if self.canary_percent == 0 and self.strategy != "Manual":
            raise ValueError(_PREVIEW.message)
        return self


class GatewayRef(ApiModel):
    """A Gateway of the Gateway API."""

    name: DnsName
    """Name."""
    namespace: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)] | None = None
    """Namespace, by default the endpoint's."""
    section_name: DnsName | None = None
    """One of its listeners; by default all."""


class Sticky(ApiModel):
    """Keeps a client with its variant: exactly one way. Each answer names the variant that gave it,
    and a request that brings this name along goes there, while the variant takes traffic."""

    RULE: ClassVar[Cel] = exactly_one("header", "cookie")
    cel: ClassVar[tuple[Cel, ...]] = (RULE,)

    header: HeaderName | None = None
    """A header that the client sends back, for example x-variant."""
    cookie: (
        Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] | None
    ) = None
    """A cookie, which browsers send back by themselves."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Sticky:
        check_one(self.RULE, self.header, self.cookie)
        return self


class HeaderValue(ApiModel):
    """A header that a request must have."""

    name: HeaderName
    """Name; case does not matter."""
    value: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[ -~]+$")]
    """Exact value."""


class HeaderRule(ApiModel):
    """Requests with all of these headers go to one variant, whatever the weights are."""

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=DNS_LABEL)]
    """Name of the rule."""
    headers: Annotated[
        list[HeaderValue],
        Field(min_length=1, max_length=8, json_schema_extra=by_key("name")),
        distinct("name"),
    ]
    """Headers."""
    variant: VariantName
    """Name of the variant."""


Hostname = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]


# Gateways refuse segments that consist of dots.
_SEGMENT: Final = "[a-zA-Z0-9_~-][a-zA-Z0-9._~-]*"


class Routing(ApiModel):
    """How requests from outside reach the endpoint."""

    gateway_ref: GatewayRef | None = None
    """The Gateway; by default the operator's LOOPWRIGHT_GATEWAY."""
    hostnames: Annotated[
        list[Hostname], Field(max_length=8, json_schema_extra=AS_SET), DISTINCT
    ] = []
    """Host names it answers to; by default all that the Gateway has."""
    path: (
        Annotated[
            str, Field(min_length=1, max_length=256, pattern=rf"^/({_SEGMENT}(/{_SEGMENT})*)?$")
        ]
        | None
    ) = None
    """Path before the model server's own, which it does not see; by default / when there are
    hostnames, otherwise /<namespace>/<name>."""
    sticky: Sticky | None = None
    """Keep clients with their variant."""
    rules: Annotated[
        list[HeaderRule], Field(max_length=7, json_schema_extra=by_key("name")), distinct("name")
    ] = []
    """Requests that choose their variant; the first rule that fits counts."""
    timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=3600), WHOLE] | None = None
    """How long a request may take; by default as long as the Gateway lets it."""
