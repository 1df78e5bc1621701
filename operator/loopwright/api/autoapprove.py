"""When a version of a model is approved without a person."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from loopwright.api.base import ApiModel, MetricName
from loopwright.api.maps import distinct
from loopwright.api.modelref import Alias, MetricRequirement
from loopwright.api.shared import Direction, by_key

Tolerance = Annotated[str, Field(max_length=31, pattern=r"^[0-9]{1,15}(\.[0-9]{1,15})?$")]


class NotWorse(ApiModel):
    """A metric that must keep up with that of another version."""

    metric: MetricName
    """Name of the metric."""
    direction: Direction
    """Whether less or more is better."""
    tolerance: Tolerance = "0"
    """By how much it may be worse, as text."""


class NotWorseThan(ApiModel):
    """The version that a new one is compared with."""

    alias: Alias
    """The version that this alias of the Model points to. While it points to none, nothing is
    compared."""
    metrics: Annotated[
        list[NotWorse],
        Field(min_length=1, max_length=16, json_schema_extra=by_key("metric")),
        distinct("metric"),
    ]
    """What must not be worse."""


class AutoApprove(ApiModel):
    """What a version must keep for the operator to approve it."""

    require_metrics: Annotated[
        list[MetricRequirement],
        Field(min_length=1, max_length=16, json_schema_extra=by_key("metric")),
        distinct("metric"),
    ]
    """What its metrics must reach."""
    not_worse_than: NotWorseThan | None = None
    """The version that it must keep up with."""
