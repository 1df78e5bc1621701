"""What is watched about the rows that models get, and what follows when they are unexpected."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel, DnsName, Flag
from loopwright.api.delivery import VariantName
from loopwright.api.maps import AS_SET, DISTINCT, distinct
from loopwright.api.quality import Quality, Share
from loopwright.api.shared import DNS_LABEL, by_key

MAX_MONITORS: Final = 8

MonitorName = Annotated[str, Field(min_length=1, max_length=30, pattern=DNS_LABEL)]
Threshold = Annotated[str, Field(max_length=24, pattern=r"^[0-9]{1,6}(\.[0-9]{1,15})?$")]
Alpha = Annotated[str, Field(max_length=17, pattern=r"^0\.(0{0,5}[1-9][0-9]{0,9})$")]
"""Above 0 and below 1, as text."""
FeatureName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]+$")]


class WatchedFeature(ApiModel):
    """What is different about one feature."""

    name: FeatureName
    """Name, as in the model's baseline profile."""
    threshold: Threshold | None = None
    """Instead of the one for all features."""
    ignore: Flag = False
    """Leave it out."""


class RetrainTemplate(ApiModel):
    """A TrainingJob of the same namespace whose spec is used again."""

    name: DnsName
    """Name; with runPolicy.suspend: true it serves as a template and never runs itself."""


class Retrain(ApiModel):
    """Train again, with a new TrainingJob."""

    training_job_ref: RetrainTemplate | None = None
    """What to run; by default the job that trained the version being served, while it exists. Let
    it `register` its model with the alias that the variant follows, and the new version is rolled
    out as spec.rollout says."""
    cooldown_seconds: Annotated[int, Field(strict=True, ge=60, le=2_592_000), WHOLE] = 86_400
    """From the beginning of one such job to the next, of the whole endpoint."""
    max_per_day: Annotated[int, Field(strict=True, ge=1, le=10), WHOLE] = 1
    """In 24 hours."""


class Severity(StrEnum):
    """How urgent an alert is, as its label `severity` says."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class AlertPolicy(ApiModel):
    """The alert in the endpoint's PrometheusRule, where the cluster has that kind."""

    severity: Severity = Severity.WARNING
    """critical, warning or info."""


class OnViolation(ApiModel):
    """What follows from a violation, beyond the condition, the Event and the metrics."""

    alert: AlertPolicy = AlertPolicy()
    """How people are alerted."""
    rollback: Flag = False
    """Give up a new revision: one that a rollout leads to, or that has just replaced another which
    still runs (rollout.keepPreviousSeconds)."""
    scale_weight_to: Annotated[int, Field(strict=True, ge=0, le=1000), WHOLE] | None = None
    """Cut the variant's weight to this, until it serves another model or this field is removed.
    While it is the only one with a weight, it keeps it."""
    retrain: Retrain | None = None
    """Train again."""


_HYSTERESIS: Final = Cel(
    "self.violatedWindows <= self.ofWindows", "violatedWindows must not exceed ofWindows"
)
_METHOD: Final = Cel(
    "self.kind != 'DataQuality' || self.method == 'Auto'",
    "method chooses a distance between distributions; kind DataQuality has none",
)
_SHARE: Final = Cel(
    "self.kind == 'DataDrift' || !has(self.driftShare)",
    "driftShare goes with kind DataDrift",
)


_QUALITY: Final = Cel(
    "(self.kind == 'ModelQuality') == has(self.quality)",
    "quality goes with kind ModelQuality, which needs it",
)
_BOUND: Final = Cel(
    "self.kind != 'ModelQuality' || !has(self.quality)"
    " || has(self.threshold) != has(self.quality.worseThanBaseline)",
    "kind ModelQuality needs either a threshold, the least that is allowed or the greatest error,"
    " or quality.worseThanBaseline",
)
_SHARED: Final = Cel(
    "self.kind != 'ModelQuality' || !has(self.quality) || !has(self.threshold)"
    " || self.quality.metric in ['MAE', 'RMSE'] || double(self.threshold) <= 1.0",
    "this metric is at most 1, and so is its threshold",
)
_FIGURES: Final = Cel(
    "self.kind != 'ModelQuality' || (self.method == 'Auto' && self.features.size() == 0)",
    "method and features are about distributions; kind ModelQuality has none",
)


class Watch(ApiModel):
    """Compares rows with what their model was trained on."""

    cel: ClassVar[tuple[Cel, ...]] = (_METHOD, _SHARE)

    name: MonitorName
    """Name, unique among the monitors."""
    kind: Literal["DataDrift", "PredictionDrift", "DataQuality"]
    """DataDrift: the features' distributions. PredictionDrift: those of the predictions and of how
    sure the model is. DataQuality: missing values, wrong types, values out of the range of the
    training data, categories that it did not have."""
    min_samples: Annotated[int, Field(strict=True, ge=20, le=1_000_000_000), WHOLE] = 500
    """Rows that a verdict needs. With fewer the state is NoData, which says nothing."""
    method: Literal["Auto", "PSI", "JS", "KS", "Wasserstein", "ChiSquare"] = "Auto"
    """Distance between two distributions: the population stability index, Jensen and Shannon's
    (JS, which Auto means), Kolmogorov and Smirnov's (KS), Wasserstein's in standard deviations, or
    Cohen's w of a chi-square test."""
    threshold: Threshold | None = None
    """Distance, or share of bad values beyond that of the training data, from which on a feature
    is in violation; by default as suits the method or the check."""
    alpha: Alpha = "0.01"
    """What is beyond its threshold by chance is not in violation: the probability that any feature
    is when nothing has drifted."""
    correction: Literal["BH", "None"] = "BH"
    """Takes into account that many features are tested at once, after Benjamini and Hochberg; with
    None, alpha is that of each feature alone."""
    features: Annotated[
        list[WatchedFeature],
        Field(max_length=64, json_schema_extra=by_key("name")),
        distinct("name"),
    ] = []
    """What is different about some features."""
    drift_share: Share | None = None
    """Of the features, how many must have drifted for the data to have; by default 0.5. With 0 one
    will do."""

    @model_validator(mode="after")
    def _distance(self) -> Self:
        if self.kind == "DataQuality" and self.method != "Auto":
            raise ValueError(_METHOD.message)
        if self.kind != "DataDrift" and self.drift_share is not None:
            raise ValueError(_SHARE.message)
        return self


class Monitor(Watch):
    """Compares what comes to the variants with what their models were trained on, or what they
    answered with what was right."""

    cel: ClassVar[tuple[Cel, ...]] = (
        _HYSTERESIS, _QUALITY, _BOUND, _SHARED, _FIGURES, *Watch.cel,
    )  # fmt: skip

    kind: Literal["DataDrift", "PredictionDrift", "DataQuality", "ModelQuality"]  # type: ignore[assignment]
    """DataDrift: the features' distributions. PredictionDrift: those of the predictions and of how
    sure the model is. DataQuality: missing values, wrong types, values out of the range of the
    training data, categories that it did not have. ModelQuality: how good the answers were, once
    labels have come; needs quality, spec.dataCapture, and threshold or quality's
    worseThanBaseline."""
    quality: Quality | None = None
    """What kind ModelQuality compares."""
    variants: Annotated[
        list[VariantName], Field(max_length=8, json_schema_extra=AS_SET), DISTINCT
    ] = []
    """Which variants; by default all."""
    every_seconds: Annotated[int, Field(strict=True, ge=10, le=86_400), WHOLE] = 3600
    """Length of a window, and how often there is a verdict."""
    violated_windows: Annotated[int, Field(strict=True, ge=1, le=12), WHOLE] = 2
    """So many windows must be in violation,"""
    of_windows: Annotated[int, Field(strict=True, ge=1, le=12), WHOLE] = 3
    """of so many, the newest, for the monitor to be Violated. It is OK again when fewer are."""
    on_violation: OnViolation = OnViolation()
    """What follows."""

    @model_validator(mode="after")
    def _hysteresis(self) -> Monitor:
        if self.violated_windows > self.of_windows:
            raise ValueError(_HYSTERESIS.message)
        return self

    @model_validator(mode="after")
    def _answers(self) -> Monitor:
        if (self.kind == "ModelQuality") != (self.quality is not None):
            raise ValueError(_QUALITY.message)
        if self.quality is None:
            return self
        if (self.threshold is None) == (self.quality.worse_than_baseline is None):
            raise ValueError(_BOUND.message)
        if not self.quality.is_error and float(self.threshold or 0) > 1:
            raise ValueError(_SHARED.message)
        if self.method != "Auto" or self.features:
            raise ValueError(_FIGURES.message)
        return self

    @property
    def measures(self) -> Quality:
        """What a monitor of kind ModelQuality compares.

        Raises:
            ValueError: it is of another kind.
        """
        if self.quality is None:
            raise ValueError(f"monitor {self.name} is not of kind ModelQuality")
        return self.quality

    def watches(self, variant: str) -> bool:
        """Whether it is about a variant."""
        return not self.variants or variant in self.variants


Monitors = Annotated[
    list[Monitor],
    Field(max_length=MAX_MONITORS, json_schema_extra=by_key("name")),
    distinct("name"),
]

Watches = Annotated[
    list[Watch],
    Field(max_length=MAX_MONITORS, json_schema_extra=by_key("name")),
    distinct("name"),
]
