"""What decisions about an endpoint are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from loopwright.api.capture_report import CaptureReport
from loopwright.api.endpoint_report import EndpointReport
from loopwright.api.experiment_report import ExperimentReport
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Retired, Served, VariantStatus
from loopwright.api.monitoring_status import RetrainOutcome, WindowVerdict
from loopwright.decide.types import Blocked, Happening


@dataclass(frozen=True)
class RevisionView:
    """An InferenceService of the endpoint, and the Deployment that KServe made for it."""

    inference_service: str
    uid: str
    desired: int = 0
    """Replicas that its Deployment should have."""
    ready: int = 0
    """Pods that answer."""
    deleting: bool = False
    problem: Blocked | None = None
    """Why it has fewer pods than it should; permanent when waiting does not help."""

    @property
    def serves(self) -> bool:
        """Whether requests may be sent to it."""
        return self.ready > 0 and not self.deleting


@dataclass(frozen=True)
class GatewayView:
    """A Gateway, or why there is none to use."""

    problem: Blocked | None = None
    asked: bool = False
    """Whether somebody named one, so that it is missed when it is not there."""
    features: frozenset[str] | None = None
    """What its class says it can do; None when it does not say."""
    scheme: str = "http"
    host: str = ""
    """The first of its addresses; empty while it has none."""
    port: int = 80

    def can(self, feature: str) -> bool:
        """Whether to try a feature; a class that names none may have any."""
        return self.problem is None and (self.features is None or feature in self.features)


@dataclass(frozen=True)
class RouteView:
    """The endpoint's HTTPRoute."""

    accepted: bool | None
    """What the Gateway says; None when it has said nothing about this generation."""
    message: str = ""


class JobView(NamedTuple):
    """A TrainingJob that a monitor started, or may start from."""

    outcome: RetrainOutcome
    """Running until it has ended."""
    message: str = ""
    """Why it failed."""


class Abort(NamedTuple):
    """A revision that a monitor gives up."""

    revision: str
    message: str


@dataclass(frozen=True)
class Seen:
    """What is there."""

    endpoint: str
    namespace: str
    generation: int
    targets: Mapping[str, Served | Blocked] = field(default_factory=dict)
    """What each variant should be, or why nobody knows."""
    views: Mapping[str, RevisionView] = field(default_factory=dict)
    """By name of the InferenceService."""
    report: EndpointReport | None = None
    """What the monitor measured, if that is recent."""
    verdicts: Sequence[WindowVerdict] = ()
    """What its monitors found, however old."""
    capture: CaptureReport | None = None
    """What the monitor says of data capture, however old."""
    experiment: ExperimentReport | None = None
    """What it says of an experiment, however old and whichever."""
    jobs: Mapping[str, JobView] = field(default_factory=dict)
    """By name: those that monitors started, and that they may start from."""
    trained_by: Mapping[str, str] = field(default_factory=dict)
    """Names of the TrainingJobs that trained what is served, by variant."""
    queries: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    """Results of PromQL checks, by variant and check; None when there is none."""
    gateway: GatewayView = GatewayView()
    route: RouteView | None = None
    blocked: Blocked | None = None
    """What holds up everything: a missing dependency, a child that is refused."""
    scaling: Mapping[str, Blocked] = field(default_factory=dict)
    """What is wrong with autoscaling, by name of the InferenceService."""
    drain_seconds: int = 30
    """How long requests may still arrive where none are sent any more."""
    promote: str = ""
    """The revision that a person lets on."""
    rollback: str = ""
    """The revision that a person gives up."""

    def serves(self, served: Served | None) -> bool:
        """Whether requests may be sent to a revision."""
        view = self.views.get(served.inference_service) if served is not None else None
        return view is not None and view.serves


@dataclass(frozen=True)
class Turn:
    """What becomes of one variant."""

    status: VariantStatus
    retired: tuple[Retired, ...] = ()
    """Revisions that this variant has just left."""
    happenings: tuple[Happening, ...] = ()
    requeue: float | None = None


@dataclass(frozen=True)
class EndpointDecision:
    """What the status must say; what is there follows from it."""

    status: ModelEndpointStatus
    happenings: tuple[Happening, ...] = ()
    requeue: float | None = None
    """Seconds after which to look again without an event."""


def soonest(*waits: float | None) -> float | None:
    """The shortest of some waits."""
    return min((wait for wait in waits if wait is not None), default=None)


def until(moment: datetime, now: datetime) -> float:
    """Seconds until a moment, at least a little."""
    return max(0.1, (moment - now).total_seconds())
