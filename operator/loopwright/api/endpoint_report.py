"""What an endpoint's monitor is told, and what it reports of the endpoint's variants.

The report is a mailbox as a job's is (`api.report`): untrusted input to the operator, so every
field is bounded.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, Flag, StatusModel
from loopwright.api.experiment_report import ExperimentConfig
from loopwright.api.monitoring import Monitors
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.api.report import MAX_REPORT_BYTES
from loopwright.api.serving import HTTP_PORT

__all__ = ["MAX_REPORT_BYTES", "EndpointReport", "MonitorConfig", "VariantReport", "VariantState"]

# Reports older than this many periods say nothing about now, but for what clocks of nodes differ.
STALE_PERIODS: Final = 3
SKEW: Final = timedelta(seconds=10)
# All monitors of all revisions, each with as much as it may say.
MAX_VERDICTS_BYTES: Final = 512 * 1024
# Three of each of ten variants; that many are below MAX_REPORT_BYTES, whatever they say.
MAX_REVISIONS: Final = 32

Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=63)]


class MonitorConfig(ApiModel):
    """One endpoint's monitor. Which variants there are, it learns from their EndpointSlices."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    endpoint: Name
    """Name of the ModelEndpoint."""
    namespace: Name
    """Its namespace."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID, which its reports carry."""
    report: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the report's ConfigMap."""
    interval_seconds: Annotated[float, Field(ge=0.1, le=300)] = 5
    """How often pods are scraped."""
    report_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10
    """How often a report is written while a rollout goes on."""
    window_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    """Length of the sliding window that is reported."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Requests that a window must have for error ratio and latency to be told."""
    port: Annotated[int, Field(ge=1, le=65_535)] = HTTP_PORT
    """Where pods serve /metrics, if their EndpointSlices list it; else their first port."""
    monitors: Monitors = []
    """What is watched beyond errors and latency."""
    capture: Flag = False
    """Whether the pods capture requests, so that there is something to say of that."""
    experiment: ExperimentConfig | None = None
    """The experiment, once it has begun."""


class VariantState(StrEnum):
    """What is known of a variant's revision."""

    OK = "OK"
    """Measured; whether the figures are good is for the operator to say."""
    NO_DATA = "NoData"
    """Nothing to judge by: no pods, or too few requests in the window."""
    UNKNOWN = "Unknown"
    """There may be requests that cannot be seen."""


class VariantReport(StatusModel):
    """One revision of a variant in the window, over all its pods."""

    name: Name
    """The variant's."""
    revision: Name
    """Of the variant; during a rollout there are two."""
    state: VariantState
    """What is known."""
    reason: Annotated[str, Field(max_length=128, pattern=r"^([A-Z][A-Za-z0-9]*)?$")] = ""
    """Why it is not OK: NoPods, TooFewRequests, RequestsPending, PodsUnreachable or NoMetrics."""
    message: Annotated[str, Field(max_length=512)] = ""
    """The same for people, with what to do."""
    pods: Annotated[int, Field(ge=0)] = 0
    """Pods there are, those that start or stop included."""
    pods_scraped: Annotated[int, Field(ge=0)] = 0
    """Of those, pods that answered the last time."""
    observed_seconds: Finite = 0
    """Part of the window in which this revision was watched."""
    requests: Annotated[int, Field(ge=0)] = 0
    """In the window."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Of those, answered with code 500 or more."""
    in_flight: Annotated[int, Field(ge=0)] = 0
    """Requests being worked on at the window's end."""
    rate: Finite | None = None
    """Requests a second; only when OK, as all below."""
    error_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """Errors of requests."""
    p50_seconds: Finite | None = None
    """Median latency, interpolated within a bucket of the histogram."""
    p99_seconds: Finite | None = None
    """99th percentile; at most the highest finite bound of the buckets."""
    p50_at_least_seconds: Finite | None = None
    """Lower confidence limit of the median, at 99 %: what few requests prove of it."""
    p99_at_least_seconds: Finite | None = None
    """The same of the 99th percentile."""


class EndpointReport(StatusModel):
    """The whole content of the mailbox; each write replaces it."""

    version: int = 1
    """Of this format."""
    uid: Annotated[str, Field(max_length=64)]
    """Of the endpoint; the operator ignores reports of others."""
    time: datetime
    """When it was written."""
    active: bool
    """Whether a variant has two revisions, so that there is a report every `report_seconds`.
    Otherwise there is one only when a revision comes or goes, or becomes Unknown or is not any
    more."""
    report_seconds: Finite
    """Between two reports while active."""
    window_start: datetime
    """Of the window; after a start of the monitor it is shorter than configured."""
    window_end: datetime
    """Of the window: the last scrape."""
    variants: Annotated[list[VariantReport], Field(max_length=MAX_REVISIONS)] = []
    """Each revision of each variant that has a Service, ordered."""

    def current(self, now: datetime) -> bool:
        """Whether it may be judged by: not older than three periods, if clocks agree."""
        return now - self.time <= timedelta(seconds=STALE_PERIODS * self.report_seconds) + SKEW

    def variant(self, name: str, revision: str) -> VariantReport | None:
        """What it says of one revision."""
        wanted = (name, revision)
        return next((one for one in self.variants if (one.name, one.revision) == wanted), None)


class VerdictsReport(StatusModel):
    """What the monitors found; in the same mailbox under a key of its own, since it is written
    only when a window ends."""

    version: int = 1
    """Of this format."""
    uid: Annotated[str, Field(max_length=64)]
    """Of the endpoint; the operator ignores reports of others."""
    time: datetime
    """When it was written."""
    verdicts: Annotated[list[WindowVerdict], Field(max_length=128)] = []
    """The newest of each monitor and revision."""
