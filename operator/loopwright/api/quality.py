"""How good a model's answers are: the spec's part, and what the container that joins is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel, MetricName, WriteUri
from loopwright.api.capture import CaptureDestination
from loopwright.api.maps import distinct
from loopwright.api.shared import SecretRef, by_key

MAX_SLICES: Final = 4
ERRORS: Final = ("MAE", "RMSE")
"""Metrics of numbers; the less the better."""
OF_ONE_CLASS: Final = ("Precision", "Recall", "F1")

ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00]+$")]
Value = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
Share = Annotated[str, Field(max_length=17, pattern=r"^(0(\.[0-9]{1,15})?|1(\.0{1,15})?)$")]

_SECRET: Final = Cel(
    "!has(self.secretRef) || self.uri.startsWith('s3://')", "secretRef goes with s3://"
)
_BOUND: Final = Cel(
    "has(self.maxDifference) || has(self.minRatio)",
    "bias takes a bound: maxDifference, minRatio or both",
)
_POSITIVE: Final = Cel(
    f"has(self.positive) || (!(self.metric in {list(OF_ONE_CLASS)}) && !has(self.bias))",
    "Precision, Recall, F1 and bias are about one class; name it in positive",
)
_NUMBERS: Final = Cel(
    f"!(self.metric in {list(ERRORS)})"
    " || (!has(self.bias) && !has(self.positive) && !has(self.answer.cutoff))",
    "MAE and RMSE are about numbers; positive, bias and answer.cutoff are about classes",
)


class Labels(ApiModel):
    """What was right, in files that come later."""

    cel: ClassVar[tuple[Cel, ...]] = (_SECRET,)

    uri: WriteUri
    """A folder, s3://bucket/path or pvc://claim/path. All .parquet, .csv, .jsonl and .ndjson below
    it are read, of those that were written since the requests; a file of csv has a header."""
    secret_ref: SecretRef | None = None
    """Credentials to read there; by default those of the pod."""
    request_id: ColumnName = "request_id"
    """Column with the request's id: what the client sent as X-Request-Id, or was answered."""
    label: ColumnName = "label"
    """Column with what would have been right: a class or a number; of a request with several rows
    a list of them, which csv does not have."""
    delay_seconds: Annotated[int, Field(strict=True, ge=0, le=2_592_000), WHOLE] = 86_400
    """How long after the end of a window labels may come; then it is judged, once."""

    @property
    def folder(self) -> CaptureDestination:
        """Where they are, as storage is opened."""
        return CaptureDestination(uri=self.uri, secret_ref=self.secret_ref)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.secret_ref is not None and not self.uri.startswith("s3://"):
            raise ValueError(_SECRET.message)
        return self


class Answer(ApiModel):
    """Where in a response the prediction is."""

    output: ColumnName | None = None
    """Name of an output of v2 and gRPC; by default the first. v1 has only one."""
    cutoff: (
        Annotated[str, Field(max_length=24, pattern=r"^-?[0-9]{1,6}(\.[0-9]{1,15})?$")] | None
    ) = None
    """The model answers one score a row: from this on its class is 1, below it 0. Without, one
    value is the class, and of several the place of the greatest, from 0, is."""


class Slice(ApiModel):
    """A part of the requests."""

    column: ColumnName
    """Column of the label files; each of its 20 most frequent values is a slice."""


class Bias(ApiModel):
    """Compares groups of requests, each with the privileged one: the shares that get the positive
    answer (demographic parity), and of those that should have got it (equal opportunity; Hardt,
    Price and Srebro 2016)."""

    cel: ClassVar[tuple[Cel, ...]] = (_BOUND,)

    column: ColumnName
    """Column of the label files with the group."""
    privileged: Value
    """The group that others are compared with."""
    max_difference: Share | None = None
    """How much smaller a group's share may be than the privileged one's."""
    min_ratio: Share | None = None
    """How small it may be as a multiple of that; 0.8 is known as the four-fifths rule."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.max_difference is None and self.min_ratio is None:
            raise ValueError(_BOUND.message)
        return self


class WorseThanBaseline(ApiModel):
    """A bound that each version brings with it: what it reached when it was registered."""

    metric: MetricName
    """Name of the metric in the ModelVersion's spec.metrics. It must be in the same unit as the
    monitor's, such as 0.93 and not 93."""
    by: Annotated[str, Field(max_length=24, pattern=r"^[0-9]{1,6}(\.[0-9]{1,15})?$")] = "0"
    """How much worse than that the answers may be: less of a share, more of an error."""


class Quality(ApiModel):
    """Compares captured answers with labels that come later."""

    cel: ClassVar[tuple[Cel, ...]] = (_POSITIVE, _NUMBERS)

    labels: Labels
    """What was right."""
    metric: Literal["Accuracy", "Precision", "Recall", "F1", "MAE", "RMSE"] = "Accuracy"
    """Accuracy over all classes; Precision, Recall and F1 of the class `positive`; the mean
    absolute error and the root of the mean squared error of numbers. The monitor's threshold is the
    least that is allowed, or the greatest error."""
    worse_than_baseline: WorseThanBaseline | None = None
    """Instead of the monitor's threshold: each version is compared with its own metric."""
    positive: Value | None = None
    """The class that Precision, Recall, F1 and bias are about."""
    answer: Answer = Answer()
    """Where the prediction is."""
    slices: Annotated[
        list[Slice],
        Field(max_length=MAX_SLICES, json_schema_extra=by_key("column")),
        distinct("column"),
    ] = []
    """Parts that must keep the threshold as well."""
    bias: Bias | None = None
    """Groups that are to be treated alike."""

    @property
    def is_error(self) -> bool:
        """Whether less is better."""
        return self.metric in ERRORS

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.positive is None and (self.metric in OF_ONE_CLASS or self.bias is not None):
            raise ValueError(_POSITIVE.message)
        classes = self.bias is not None or self.positive is not None
        if self.is_error and (classes or self.answer.cutoff is not None):
            raise ValueError(_NUMBERS.message)
        return self
