"""What a model server tells monitors of the feedback that it got."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel

MAX_SERIES: Final = 64
"""Names times variants that a process counts."""
Sum = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class FeedbackCounts(StatusModel):
    """Sums over the values of one name, about the answers of one variant."""

    name: Annotated[str, Field(max_length=32)]
    """As clients write it."""
    about: Annotated[str, Field(max_length=32)]
    """Variant and model that gave the answers, as in `FeedbackSnapshot.own`."""
    count: Count = 0
    """Values."""
    total: Sum = 0.0
    """Their sum."""
    squares: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The sum of their squares."""
    parts: Count = 0
    """Values from 0 to 1, which are what a proportion is made of."""
    parts_total: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Their sum."""


class FeedbackSnapshot(StatusModel):
    """What one process has counted since it began."""

    process: Annotated[str, Field(min_length=1, max_length=32)]
    """Tells it from others of the same pod."""
    own: Annotated[str, Field(min_length=1, max_length=32)]
    """Variant and model that it serves: what its own feedback ids begin with. Feedback about them
    may be counted by any process of the endpoint."""
    counts: Annotated[list[FeedbackCounts], Field(max_length=MAX_SERIES)] = []
    """Each once."""
