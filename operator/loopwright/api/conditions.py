"""metav1.Condition, and the three kstatus conditions that every kind carries."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loopwright.api.base import StatusModel

MAX_MESSAGE = 1024


class Truth(StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One observation about the object, in Kubernetes' standard shape."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Name of the condition, in CamelCase."""
    status: Truth
    """Whether the condition holds."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this was computed from."""
    last_transition_time: datetime
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Machine-readable cause, in PascalCase."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """What happened and, when something is to be done, what."""
