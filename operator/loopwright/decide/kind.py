"""What a kind of job that runs on Ray brings to the core, which does the rest for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple

from loopwright.api.jobspec import JobSpec
from loopwright.api.report import JobReport
from loopwright.decide.conditions import Claim
from loopwright.decide.types import Decision, Observed, S


class Words(NamedTuple):
    """How a kind speaks of what it does."""

    noun: str
    """As in: training succeeded."""
    verb: str
    """As in: attempt 2 trains."""
    reason: str
    """Of the condition Running, as in: Training, NotTraining."""


@dataclass(frozen=True)
class Job(ABC, Generic[S]):
    """A job as the core decides about it. What is not abstract fits most kinds."""

    kind: ClassVar[str]
    words: ClassVar[Words]
    grace: ClassVar[int] = 0
    """Seconds that a driver gets to end by itself when its time is up."""

    spec: JobSpec

    @abstractmethod
    def heard(self, status: S, report: Any) -> S:
        """The status with what the driver of the running attempt reports."""

    def idle(self, status: S) -> S:
        """The status of a job that has no attempt at the moment."""
        return status

    def success(self, status: S) -> str:
        """That the job succeeded."""
        return f"{self.words.noun} succeeded"

    def claims(self, status: S) -> Mapping[str, Claim]:
        """Conditions besides those that all jobs have."""
        return {}

    def begun(self, status: S) -> S:
        """The status with what is put on record when an attempt begins."""
        return status

    def asked(self, status: S) -> JobSpec:
        """The spec that the newest attempt is made from."""
        return self.spec

    def outdated(self, status: S) -> str | None:
        """Why the running attempt must make way for another, which is no failure."""
        return None

    def unfinished(self, status: S) -> str | None:
        """Why there is more to do although an attempt has succeeded."""
        return None

    def retried(self, status: S, report: Any) -> S:
        """The status after an attempt that failed, and that another follows; its last report."""
        return status

    def closed(self, decision: Decision[S], seen: Observed, now: datetime) -> Decision[S]:
        """A finished job's decision, with what its kind has left to do."""
        return decision

    def pending(self, status: S) -> bool:
        """Whether a finished job of the kind has something left to do."""
        return False


def report_of(seen: Observed, attempt: int) -> JobReport | None:
    """What the driver of an attempt says."""
    return seen.report if seen.report and seen.report.attempt == attempt else None
