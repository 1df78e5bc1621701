"""What the container that joins answers with labels is told, and what it tells the monitor.

They are in one pod, and a file in a folder that they share is between them: the account with which
the mailbox is written stays the monitor's, and the keys to the storage stay the container's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, StatusModel
from loopwright.api.capture import CaptureDestination
from loopwright.api.monitoring import MAX_MONITORS, Monitor
from loopwright.api.monitoring_status import WindowVerdict

REPORT_FILE: Final = "report.json"
MAX_QUALITY_BYTES: Final = 512 * 1024
# It says again that it is alive after each round.
ROUND_SECONDS: Final = 30
# A report that is older comes from a container that is in trouble, as one round may take minutes.
STALE: Final = timedelta(minutes=15)
# Between the end of a window and its judgement, for uploads that have to be repeated.
UPLOAD_SECONDS: Final = 60


class QualityConfig(ApiModel):
    """What is to be joined."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    endpoint: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the ModelEndpoint."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID."""
    destination: CaptureDestination
    """Where captured requests are."""
    flush_seconds: int
    """How long they may take to get there."""
    variants: Annotated[list[str], Field(max_length=8)]
    """Names of all variants."""
    monitors: Annotated[list[Monitor], Field(max_length=MAX_MONITORS)]
    """Those of kind ModelQuality."""


class QualityReport(StatusModel):
    """What is known; written after each round."""

    version: int = 1
    """Of this format."""
    uid: Annotated[str, Field(max_length=64)]
    """Of the endpoint."""
    time: datetime
    """When it was written."""
    verdicts: Annotated[list[WindowVerdict], Field(max_length=512)] = []
    """The newest of each monitor and revision that got requests lately; with an empty revision, of
    those that got none."""
