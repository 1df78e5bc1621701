"""What a decision is made from, and what it consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar

from loopwright.api.report import JobReport
from loopwright.api.trainingjob_status import Cause, JobStatus
from loopwright.decide.prices import Prices

S = TypeVar("S", bound=JobStatus)


@dataclass(frozen=True)
class RayJobView:
    """The parts of a RayJob that matter."""

    name: str
    uid: str
    attempt: int
    deployment: str = ""
    """jobDeploymentStatus: "", Initializing, Running, Complete, Failed, ValidationFailed, …"""
    job: str = ""
    """jobStatus: "", PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED."""
    reason: str = ""
    message: str = ""
    cluster: str = ""
    dashboard: str = ""
    ready_workers: int = 0
    ended: datetime | None = None
    """When KubeRay saw it end; the operator may look much later."""
    deleting: bool = False
    version: str = ""
    """Resource version of what this was read from."""

    @property
    def terminal(self) -> bool:
        """Whether KubeRay has finished with it; its cluster is gone or going."""
        return self.deployment in {"Complete", "Failed", "ValidationFailed"}

    @property
    def suspended(self) -> bool:
        """Whether KubeRay has ended its cluster, or makes none, because of `spec.suspend`."""
        return self.deployment in {"Suspending", "Suspended"}

    @property
    def held(self) -> bool:
        """Whether Kueue has not let it go, or has taken it back."""
        return not self.deployment or self.suspended


@dataclass(frozen=True)
class WorkloadView:
    """What Kueue says of an attempt's place in its queue."""

    name: str
    reason: str = "Waiting"
    """In PascalCase: Pending, Inadmissible, Preempted, …"""
    message: str = ""
    """Empty until Kueue has looked at it."""


@dataclass(frozen=True)
class Blocked:
    """Why no attempt can start, and what to do about it."""

    reason: str
    message: str
    permanent: bool = False
    """Whether only a change by a person helps, so that nobody should wait for it."""


@dataclass(frozen=True)
class Observed:
    """What is there."""

    job: str
    """Name of the job."""
    generation: int
    rayjobs: dict[int, RayJobView] = field(default_factory=dict)
    """By attempt."""
    report: JobReport | None = None
    blocked: Blocked | None = None
    report_problem: str | None = None
    """Why the mailbox's content is no report."""
    uid: str = ""
    """Of the job."""
    prices: Prices | None = None
    """The operator's price table."""
    registered: bool = False
    """Whether the ModelVersion that the status names has been made."""
    workload: WorkloadView | None = None
    """Of the newest attempt, while it waits in its queue."""


@dataclass(frozen=True)
class StartAttempt:
    """Apply everything that an attempt consists of; harmless when repeated."""

    number: int


@dataclass(frozen=True)
class DeleteRayJob:
    """Delete a RayJob, if it is still as it was seen."""

    name: str
    uid: str
    version: str = ""


@dataclass(frozen=True)
class DeleteJob:
    """Delete the job itself."""


@dataclass(frozen=True)
class RegisterModel:
    """Make the ModelVersion that the status names; harmless when repeated."""

    name: str


Action = StartAttempt | DeleteRayJob | DeleteJob | RegisterModel


@dataclass(frozen=True)
class Happening:
    """Something to tell people as an Event."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Decision(Generic[S]):
    """What the status must say, and what to do once it does."""

    status: S
    actions: tuple[Action, ...] = ()
    requeue: float | None = None
    """Seconds after which to look again without an event."""
    happenings: tuple[Happening, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. No cause means success."""

    cause: Cause | None
    reason: str
    message: str = ""
    exit_code: int | None = None
    permanent: bool = False
    """Whether retrying is pointless."""
    counted: bool = False
    """Whether it is in the status's failures already."""
