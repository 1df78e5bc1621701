"""How models and their versions are named, referred to, and asked for by a training job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from loopwright.api.base import NO_NUL, ApiModel, Cel, DnsName, Flag, MetricName
from loopwright.api.maps import AS_SET, DISTINCT, distinct
from loopwright.api.names import MAX_MODEL_NAME, MAX_VERSION
from loopwright.api.shared import DNS_LABEL, Number, by_key
from loopwright.api.trainingjob_status import MetricValue

VERSION = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ModelName = Annotated[str, Field(min_length=1, max_length=MAX_MODEL_NAME, pattern=DNS_LABEL)]
VersionName = Annotated[str, Field(min_length=1, max_length=MAX_VERSION, pattern=VERSION)]
Alias = Annotated[str, Field(min_length=1, max_length=40, pattern=DNS_LABEL)]
Card = Annotated[str, Field(max_length=16384, pattern=NO_NUL)]


AliasNames = Annotated[
    list[Alias],
    Field(max_length=8, json_schema_extra=AS_SET),
    DISTINCT,
]


class ModelVersionByName(ApiModel):
    """A ModelVersion of the same namespace."""

    name: DnsName
    """Name of the ModelVersion."""


class ModelByAlias(ApiModel):
    """A version of a Model of the same namespace: exactly one of `alias` and `version`."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.alias) != has(self.version)", "set exactly one of alias and version"),
    )

    name: ModelName
    """Name of the Model."""
    alias: Alias | None = None
    """The version that this alias of the Model points to, now and after it moved."""
    version: VersionName | None = None
    """This version, for good."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelByAlias:
        if (self.alias is None) == (self.version is None):
            raise ValueError("set exactly one of alias and version")
        return self


class TrainingJobByName(ApiModel):
    """A TrainingJob of the same namespace."""

    name: DnsName
    """Name of the TrainingJob."""


class SweepByName(ApiModel):
    """A HyperparameterSweep of the same namespace."""

    name: DnsName
    """Name of the HyperparameterSweep."""


_REFS = ("modelRef", "modelVersionRef", "trainingJobRef", "sweepRef")
_KINDS = "set exactly one of " + ", ".join(_REFS)


class ModelRef(ApiModel):
    """Which model: one of `modelRef`, `modelVersionRef`, `trainingJobRef` and `sweepRef`."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            f"[{', '.join(f'has(self.{name})' for name in _REFS)}].filter(x, x).size() == 1",
            _KINDS,
        ),
    )

    model_ref: ModelByAlias | None = None
    """A version of a Model, by alias or version."""
    model_version_ref: ModelVersionByName | None = None
    """A ModelVersion, by its name."""
    training_job_ref: TrainingJobByName | None = None
    """What a TrainingJob has trained, once it has succeeded."""
    sweep_ref: SweepByName | None = None
    """What the best trial of a HyperparameterSweep has trained, once that has succeeded."""

    @model_validator(mode="after")
    def _exactly_one(self) -> ModelRef:
        refs = (self.model_ref, self.model_version_ref, self.training_job_ref, self.sweep_ref)
        if sum(ref is not None for ref in refs) != 1:
            raise ValueError(_KINDS)
        return self


class MetricRequirement(ApiModel):
    """A bound that a metric must keep."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.min) || has(self.max)", "set min, max or both"),
    )

    metric: MetricName
    """Name of the metric."""
    min: Number | None = None
    """Least value, as text."""
    max: Number | None = None
    """Greatest value, as text."""

    @model_validator(mode="after")
    def _bounded(self) -> MetricRequirement:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both")
        return self


class Register(ApiModel):
    """Make the trained model a version of a Model, once its final metrics are good enough."""

    model: ModelName
    """Name of the Model; one that does not exist is created."""
    aliases: AliasNames = []
    """Aliases that shall point to the newest usable version which asks for them. What the Model's
    own spec.aliases says comes first."""
    require_metrics: Annotated[
        list[MetricRequirement],
        Field(max_length=16, json_schema_extra=by_key("metric")),
        distinct("metric"),
    ] = []
    """What the final metrics must reach; otherwise no version is made, and the condition
    ModelRegistered says which was missed."""
    card: Card | None = None
    """Text about the version, in Markdown."""
    allow_unsafe: Flag = False
    """Accept a format that can run code when it is loaded, such as pickle."""

    def unmet(self, metrics: Iterable[MetricValue]) -> list[str]:
        """What the final metrics miss, in words; nothing when the model may be registered."""
        return unmet(self.require_metrics, {one.name: one.value for one in metrics})


def unmet(required: Iterable[MetricRequirement], metrics: Mapping[str, str]) -> list[str]:
    """What metrics miss, in words; nothing when all that is required is reached."""
    missed = []
    for one in required:
        value = _number(metrics.get(one.metric, ""))
        if value is None:
            missed.append(f"{one.metric} was not reported")
        elif one.min is not None and not value >= float(one.min):
            missed.append(f"{one.metric} is {value:g}, below {one.min}")
        elif one.max is not None and not value <= float(one.max):
            missed.append(f"{one.metric} is {value:g}, above {one.max}")
    return missed


def _number(text: str) -> float | None:
    # Code of others has reported it.
    try:
        return float(text)
    except ValueError:
        return None
