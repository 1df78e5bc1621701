"""The status of a ModelEndpoint."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loopwright.api.base import StatusModel
from loopwright.api.conditions import Condition
from loopwright.api.experiment_status import ExperimentStatus
from loopwright.api.monitoring_status import (
    MAX_RETRAINS,
    Held,
    RetrainStatus,
    WindowVerdict,
)
from loopwright.api.shared import by_key

Revision = Annotated[str, Field(max_length=16)]
Text = Annotated[str, Field(max_length=1024)]


class EndpointPhase(StrEnum):
    """One word for people; derived from conditions and never read back by the operator."""

    PENDING = "Pending"
    CREATING = "Creating"
    READY = "Ready"
    ROLLING_OUT = "RollingOut"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    FAILED = "Failed"


class CheckState(StatusModel):
    """A check that has failed in the last interval."""

    name: Annotated[str, Field(max_length=40)]
    """Name of the check."""
    failures: int
    """Failed intervals in a row."""
    message: Text = ""
    """What was measured."""


class Baseline(StatusModel):
    """Latency of the old revision, as it was last measured."""

    p50_microseconds: int
    """Median."""
    p99_microseconds: int
    """99th percentile."""


class RolloutStatus(StatusModel):
    """A rollout that goes on."""

    to: Revision
    """The new revision."""
    from_: Annotated[Revision | None, Field(alias="from")] = None
    """The old one, which stays until this ends; none at a variant's first."""
    step: int = 0
    """0 until the new revision is ready; then the steps done so far."""
    percent: int = 0
    """Share of the variant's traffic that it gets."""
    started_at: datetime
    """When it began."""
    bake_until: datetime | None = None
    """When the step is over, if its checks hold."""
    checked_until: datetime | None = None
    """End of the newest window that checks were made on."""
    checked: bool = False
    """Whether checks were made since this step began."""
    baseline: Baseline | None = None
    """What latencies are compared with."""
    failing: Annotated[list[CheckState], Field(max_length=12)] = []
    """Checks that failed in it."""
    message: Text = ""
    """What it waits for."""


class Rejected(StatusModel):
    """A revision that was rolled back; it is not tried again until the spec changes."""

    revision: Revision
    """Which."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, in PascalCase: ChecksFailed, NotReady, Aborted, or what its pods said."""
    message: Text = ""
    """Why, with what was measured."""


class Served(StatusModel):
    """What a revision consists of."""

    revision: Revision
    """A digest of the variant's model, server, resources and pod settings."""
    inference_service: Annotated[str, Field(max_length=63)]
    """Name of the InferenceService."""
    model_version: Annotated[str, Field(max_length=253)] | None = None
    """Name of the ModelVersion, if the model is registered."""
    uri: Annotated[str, Field(max_length=2048)]
    """The model directory."""
    digest: Annotated[str, Field(max_length=71)] | None = None
    """sha256 of its model.json."""
    verified: bool = False
    """Whether the server checks the digest before it loads anything; KServe's own do not."""


class VariantStatus(StatusModel):
    """One variant."""

    name: Annotated[str, Field(max_length=16)]
    """Name."""
    ready: bool = False
    """Whether a revision of it can answer."""
    replicas: int = 0
    """Pods of all its revisions that are ready."""
    desired_weight: int = 0
    """As in the spec."""
    current_weight: int = 0
    """Percent of the endpoint's traffic; of copies for a Shadow."""
    serving: Served | None = None
    """The revision that is in use."""
    next: Served | None = None
    """The one that a rollout leads to."""
    rollout: RolloutStatus | None = None
    """The rollout, if one goes on."""
    rejected: Rejected | None = None
    """The newest revision, if it was rolled back."""
    held: Held | None = None
    """That its weight is cut, because a monitor was violated."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """In one word, what is wrong or waited for."""
    message: Text = ""
    """The same in full, with what to do."""
    since: datetime | None = None
    """When reason last changed."""


class Retired(StatusModel):
    """A revision that gets no traffic any more, and runs on for a while."""

    variant: Annotated[str, Field(max_length=16)]
    """Its variant, which may be gone from the spec."""
    served: Served
    """What it is."""
    until: datetime
    """When it is deleted."""
    proven: bool = False
    """Whether it was in use, so that returning to it takes no rollout."""


class EndpointCost(StatusModel):
    """What the pods of all variants have cost since a price table was there."""

    replica_seconds: int = 0
    """Ready pods times seconds."""
    gpu_seconds: int = 0
    """Their GPUs times seconds."""
    estimate: Annotated[str, Field(max_length=32)] = "0"
    """What that costs by the operator's price table, at the prices of the time, as text."""
    currency: Annotated[str, Field(max_length=8)]
    """Of the estimate."""
    until: datetime
    """Until when; brought up to date when the status changes, and once an hour."""


class ModelEndpointStatus(StatusModel):
    """What the operator knows about the endpoint."""

    observed_generation: int = 0
    """The generation of the spec that the operator last acted on."""
    phase: EndpointPhase = EndpointPhase.PENDING
    """One word for people."""
    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them, and VariantsReady, RouteReady,
    RolloutComplete, RolledBack, RoutingDegraded and AutoscalingReady; with monitors also
    DriftDetected, DataQualityOK and ModelQualityOK, which are Unknown while there are too few
    data; with dataCapture also CaptureHealthy, False while requests of the sample are not stored;
    with an experiment also ExperimentConcluded."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Address through the Gateway."""
    internal_url: Annotated[str, Field(max_length=2048)] | None = None
    """Address within the cluster, of the variant with the greatest weight alone."""
    weights: Annotated[str, Field(max_length=256)] = ""
    """Share of each variant in the traffic, for people."""
    rollout: Annotated[str, Field(max_length=256)] = ""
    """Rollouts that go on, for people."""
    variants: Annotated[
        list[VariantStatus], Field(max_length=8, json_schema_extra=by_key("name"))
    ] = []
    """Each variant."""
    retired: Annotated[list[Retired], Field(max_length=32)] = []
    """Revisions that are on their way out."""
    monitors: Annotated[list[WindowVerdict], Field(max_length=128)] = []
    """What each monitor says of each revision of the variants that it watches."""
    retrains: Annotated[list[RetrainStatus], Field(max_length=MAX_RETRAINS)] = []
    """Jobs that monitors started, the newest last."""
    cost: EndpointCost | None = None
    """What it costs, where there is a price table."""
    experiment: ExperimentStatus | None = None
    """The experiment, if there is one."""
    replicas: int = 0
    """Pods of all variants that are ready."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Finds the pods."""
