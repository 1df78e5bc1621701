"""What an endpoint's monitor reports of data capture; in its mailbox, under a key of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.endpoint_report import MAX_REVISIONS
from loopwright.api.monitoring_status import MonitorState

MAX_CAPTURE_BYTES: Final = 64 * 1024
# A report says again what it said after that time; one that is much older says nothing about now.
REPEAT: Final = timedelta(minutes=10)
STALE: Final = timedelta(minutes=25)


class VariantCapture(StatusModel):
    """What is known of one revision."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """The variant's."""
    revision: Annotated[str, Field(min_length=1, max_length=63)]
    """Of the variant."""
    state: MonitorState
    """OK; Violated when requests of the sample are not stored; NoData without pods; Unknown when
    pods do not answer, or their server captures nothing."""
    reason: Annotated[str, Field(max_length=64, pattern=r"^([A-Z][A-Za-z0-9]*)?$")] = ""
    """Why it is not OK: UploadsFailing, RecordsDropped, NoPods, PodsUnreachable or NotCapturing."""
    message: Annotated[str, Field(max_length=512)] = ""
    """The same for people, with what to do."""


class CaptureReport(StatusModel):
    """All revisions; written when something about them changes, and after REPEAT."""

    version: int = 1
    """Of this format."""
    uid: Annotated[str, Field(max_length=64)]
    """Of the endpoint; the operator ignores reports of others."""
    time: datetime
    """When it was written."""
    variants: Annotated[list[VariantCapture], Field(max_length=MAX_REVISIONS)] = []
    """Each revision of each variant that has a Service, ordered."""

    def variant(self, name: str, revision: str) -> VariantCapture | None:
        """What it says of one revision."""
        wanted = (name, revision)
        return next((one for one in self.variants if (one.name, one.revision) == wanted), None)
