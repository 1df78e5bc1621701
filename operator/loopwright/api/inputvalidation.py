"""Checks of a TrainingJob's input, those against the baseline of an earlier model among them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel
from loopwright.api.maps import distinct
from loopwright.api.modelref import ModelRef
from loopwright.api.monitoring import Threshold, WatchedFeature
from loopwright.api.shared import by_key
from loopwright.api.validation import Validation

_CHECKS: Final = Cel(
    "has(self.schema) || has(self.expectations) || has(self.minRows) || has(self.baselineRef)",
    "set at least one of schema, expectations, minRows and baselineRef",
)
_DRIFT: Final = Cel(
    "!has(self.drift) || has(self.baselineRef)",
    "drift says how data is compared with a baseline; set baselineRef",
)


class InputDrift(ApiModel):
    """How far data may be from the baseline; a monitor's words mean the same."""

    threshold: Threshold | None = None
    """Jensen and Shannon's distance between two distributions from which on a feature has drifted;
    by default 0.1."""
    min_samples: Annotated[int, Field(strict=True, ge=20, le=1_000_000_000), WHOLE] = 500
    """Rows that a comparison needs. Fewer fail a check of their own."""
    features: Annotated[
        list[WatchedFeature],
        Field(max_length=64, json_schema_extra=by_key("name")),
        distinct("name"),
    ] = []
    """What is different about some features."""


class InputValidation(Validation):
    """Checks of the data, and what to do when it fails them."""

    cel: ClassVar[tuple[Cel, ...]] = (_CHECKS, _DRIFT)

    baseline_ref: ModelRef | None = None
    """The model whose baseline profile the data is compared with, feature by feature, before it is
    used: distributions, missing values, wrong types, values out of range, new categories. What it
    means when the job begins is kept for all attempts; approval is not asked for."""
    drift: InputDrift | None = None
    """How far the data may be from the baseline."""

    @model_validator(mode="after")
    def _checks(self) -> InputValidation:
        found = (self.schema_, self.expectations, self.min_rows, self.baseline_ref)
        if all(one is None for one in found):
            raise ValueError(_CHECKS.message)
        if self.drift is not None and self.baseline_ref is None:
            raise ValueError(_DRIFT.message)
        return self
