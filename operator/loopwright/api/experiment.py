"""An A/B experiment between the variants of an endpoint: what is compared, and what follows."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel
from loopwright.api.delivery import VariantName, check_one, exactly_one

FEEDBACK_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$"

FeedbackName = Annotated[str, Field(min_length=1, max_length=32, pattern=FEEDBACK_NAME)]
Effect = Annotated[
    str, Field(max_length=24, pattern=r"^(0*[1-9][0-9]{0,9}(\.[0-9]{1,9})?|0+\.0*[1-9][0-9]{0,9})$")
]
"""Above 0, as text."""
Margin = Annotated[str, Field(max_length=17, pattern=r"^0\.0{0,5}[1-9][0-9]{0,9}$")]
"""A part of all requests, above 0 and below 1, as text."""
Level = Annotated[
    str, Field(max_length=17, pattern=r"^0\.([1-4][0-9]{0,9}|0{1,4}[1-9][0-9]{0,9})$")
]
"""Above 0 and below 0.5, as text."""
# Milliseconds that end a bucket of the model server's histogram: between them nobody knows.
Milliseconds = Literal[1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000]


class Feedback(ApiModel):
    """What clients report about answers that they got."""

    name: FeedbackName
    """Name, as clients write it."""
    kind: Literal["Proportion", "Mean"] = "Proportion"
    """Proportion: each value is between 0 and 1, such as a conversion or none. Mean: any number,
    such as a revenue; its test is approximate, and takes minSamples before it says anything."""
    direction: Literal["Increase", "Decrease"] = "Increase"
    """Where the better variant is."""


class ErrorRatio(ApiModel):
    """The part of the requests that are answered with code 500 or more; the fewer the better."""


class Slow(ApiModel):
    """The part of the requests that take longer than so much; the fewer the better. A p99 below
    250 ms is the same as less than 0.01 of them above 250 ms."""

    slower_than_milliseconds: Annotated[Milliseconds, WHOLE]
    """What is slow: one of the bounds of the model server's histogram."""


_METRIC: Final = exactly_one("feedback", "errorRatio", "latency")


class ExperimentMetric(ApiModel):
    """Exactly one outcome of each request."""

    cel: ClassVar[tuple[Cel, ...]] = (_METRIC,)

    feedback: Feedback | None = None
    """What clients report; all variants need Loopwright's own model server."""
    error_ratio: ErrorRatio | None = None
    """Errors of the server."""
    latency: Slow | None = None
    """Slow answers."""

    @model_validator(mode="after")
    def _one(self) -> ExperimentMetric:
        check_one(_METRIC, self.feedback, self.error_ratio, self.latency)
        return self


class ErrorRatioGuardrail(ApiModel):
    """A variant must not answer with more errors than the control."""

    max_increase: Margin = "0.01"
    """By how much its part of errors may be greater."""


class LatencyGuardrail(Slow):
    """A variant must not be slow more often than the control."""

    max_increase: Margin = "0.01"
    """By how much its part of slow answers may be greater. With the control's p99 as bound, 0.01
    lets them become twice as many."""


class Guardrails(ApiModel):
    """What a variant must keep to, besides being better. A winner is proven to; one that is proven
    not to is out."""

    error_ratio: ErrorRatioGuardrail | None = None
    """Errors of the server."""
    latency: LatencyGuardrail | None = None
    """Slow answers."""


_OTHER: Final = Cel(
    "(!has(self.metric.errorRatio) || !has(self.guardrails.errorRatio))"
    " && (!has(self.metric.latency) || !has(self.guardrails.latency))",
    "a guardrail must be another outcome than the metric, which has to be better anyway",
)


class Experiment(ApiModel):
    """Which variant is better, judged by requests that the weights divide. All verdicts hold
    however often one looks at them."""

    cel: ClassVar[tuple[Cel, ...]] = (_OTHER,)

    control: VariantName
    """The variant that the others are compared with."""
    metric: ExperimentMetric
    """By what they are compared."""
    min_samples: Annotated[int, Field(strict=True, ge=100, le=1_000_000_000), WHOLE] = 1000
    """Outcomes that each of two variants must have before one of them can win."""
    max_duration_seconds: Annotated[int, Field(strict=True, ge=60, le=31_536_000), WHOLE] = (
        1_209_600
    )
    """When it ends without a decision; by default after 14 days."""
    alpha: Level = "0.05"
    """The probability that any variant that is as good as the control is called better or worse,
    over all variants and all looks together."""
    smallest_effect: Effect | None = None
    """In the metric's unit: once no variant can be better by so much, it ends with NoDifference;
    by default only time ends it."""
    guardrails: Guardrails = Guardrails()
    """What a winner must keep to."""
    on_win: Literal["Notify", "Promote"] = "Notify"
    """Promote gives all traffic to the winner until spec.experiment, or a variant's weight or model
    in the spec, changes. It is kept in the status; write it into the spec to make it last."""

    @model_validator(mode="after")
    def _rules(self) -> Experiment:
        metric, guardrails = self.metric, self.guardrails
        for one, other in (
            (metric.error_ratio, guardrails.error_ratio),
            (metric.latency, guardrails.latency),
        ):
            if one is not None and other is not None:
                raise ValueError(_OTHER.message)
        return self
