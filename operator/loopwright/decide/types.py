"""What a decision is made from, and what it consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from loopwright.api.report import Report
from loopwright.api.trainingjob_status import Cause, TrainingJobStatus


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
    deleting: bool = False

    @property
    def terminal(self) -> bool:
        """Whether KubeRay has finished with it; its cluster is gone or going."""
        return self.deployment in {"Complete", "Failed", "ValidationFailed"}


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
    """Name of the TrainingJob."""
    generation: int
    rayjobs: dict[int, RayJobView] = field(default_factory=dict)
    """By attempt."""
    report: Report | None = None
    blocked: Blocked | None = None
    report_problem: str | None = None
    """Why the mailbox's content is no report."""


@dataclass(frozen=True)
class StartAttempt:
    """Apply everything that an attempt consists of; harmless when repeated."""

    number: int


@dataclass(frozen=True)
class DeleteRayJob:
    """Delete a RayJob, if it is still this one."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeleteJob:
    """Delete the TrainingJob itself."""


Action = StartAttempt | DeleteRayJob | DeleteJob


@dataclass(frozen=True)
class Happening:
    """Something to tell people as an Event."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Decision:
    """What the status must say, and what to do once it does."""

    status: TrainingJobStatus
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
