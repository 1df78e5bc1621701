"""A job and its surroundings for tests of decisions: no I/O, and a clock that only they move."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from loopwright.api.report import Report
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.decide.job import decide
from loopwright.decide.trainingjob import TrainingRun
from loopwright.decide.types import (
    Blocked,
    Decision,
    DeleteJob,
    DeleteRayJob,
    Happening,
    Observed,
    RayJobView,
    RegisterModel,
    StartAttempt,
    WorkloadView,
)

UID = "01234567-89ab-cdef-0123-456789abcdef"


class World:
    """A job and what is around it."""

    def __init__(self, **spec: Any) -> None:
        self.spec = TrainingJobSpec.model_validate({"function": "a:b", **spec})
        self.status, self.now = TrainingJobStatus(), datetime(2026, 1, 1, tzinfo=UTC)
        self.rayjobs: dict[int, RayJobView] = {}
        self.report: Report | None = None
        self.blocked: Blocked | None = None
        self.problem: str | None = None
        self.workload: WorkloadView | None = None
        self.finalizers = self.deleted = False
        self.versions: list[str] = []
        self.told: tuple[Happening, ...] = ()
        self.uids = (f"u{number}" for number in itertools.count(1))

    def seen(self) -> Observed:
        """What there is."""
        return Observed(
            "job", 1, dict(self.rayjobs), self.report, self.blocked, self.problem,
            uid=UID, workload=self.workload,
        )  # fmt: skip

    def decide(self, seen: Observed | None = None) -> Decision[TrainingJobStatus]:
        return decide(TrainingRun(self.spec), self.status, seen or self.seen(), self.now)

    def pending(self) -> bool:
        """Whether a finished job has something left to do."""
        return TrainingRun(self.spec).pending(self.status)

    def step(self, seconds: float = 1) -> TrainingJobStatus:
        """Decides once, acts, and checks that deciding again would write nothing."""
        self.now += timedelta(seconds=seconds)
        self.decision = self.decide()
        self.status = self.decision.status
        self.act(self.decision)
        if settled(self.decision):
            check_again(self.decision, self.decide())
        return self.status

    def run(self) -> Self:
        """From nothing to a running attempt."""
        self.step()
        self.kuberay(self.status.attempt, "Initializing").step()
        self.kuberay(self.status.attempt, "Running", "RUNNING").step()
        assert self.status.phase is Phase.RUNNING
        return self

    def act(self, decision: Decision[TrainingJobStatus]) -> None:
        for action in decision.actions:
            if isinstance(action, StartAttempt) and action.number not in self.rayjobs:
                self.create(action.number)
            elif isinstance(action, DeleteRayJob):
                for number in [n for n, view in self.rayjobs.items() if view.uid == action.uid]:
                    self.take(number, deleting=self.finalizers)
            elif isinstance(action, RegisterModel):
                self.register(action.name)
            self.deleted |= isinstance(action, DeleteJob)

    def register(self, name: str) -> None:
        """Makes a version; whoever has made it decides again at once."""
        self.versions.append(name)
        decision = self.decide(replace(self.seen(), registered=True))
        self.status, self.told = decision.status, (*self.told, *decision.happenings)
        self.act(decision)

    def create(self, attempt: int) -> None:
        self.rayjobs[attempt] = RayJobView(f"job-a{attempt}", next(self.uids), attempt)

    def take(self, attempt: int, *, deleting: bool) -> None:
        view = self.rayjobs.pop(attempt)
        if deleting:
            self.rayjobs[attempt] = replace(view, deleting=True)

    def suspend(self, value: bool = True) -> Self:
        policy = self.spec.run_policy.model_copy(update={"suspend": value})
        self.spec = self.spec.model_copy(update={"run_policy": policy})
        return self

    def driver(self, attempt: int, state: str, run_id: str = "r", **more: Any) -> Self:
        """The driver says something about an attempt."""
        said = {"attempt": attempt, "runId": run_id, "state": state, "time": self.now, **more}
        self.report = Report.model_validate(said)
        return self

    def kuberay(
        self, attempt: int, deployment: str, job: str = "", reason: str = "", message: str = ""
    ) -> Self:
        """KubeRay says something about an attempt."""
        said = {"deployment": deployment, "job": job, "reason": reason, "message": message}
        self.rayjobs[attempt] = replace(self.rayjobs[attempt], cluster=f"c{attempt}", **said)
        return self

    def respond(self) -> None:
        """Everything around the job does what it should."""
        for number, view in list(self.rayjobs.items()):
            if view.deleting:
                del self.rayjobs[number]
            elif view.deployment == "Running":
                self.kuberay(number, "Complete", "SUCCEEDED")
            elif not view.terminal:
                self.kuberay(number, "Running", "RUNNING")


def error(cause: str = "Application", code: int | None = None) -> dict[str, Any]:
    """What a driver says when it has failed."""
    return {"error": {"cause": cause, "reason": "Broken", "message": "why", "exitCode": code}}


def live(views: dict[int, RayJobView]) -> list[RayJobView]:
    """The RayJobs that nobody has ended or told to end."""
    return [view for view in views.values() if not view.terminal and not view.deleting]


def starts(decision: Decision[TrainingJobStatus]) -> list[int]:
    return [action.number for action in decision.actions if isinstance(action, StartAttempt)]


def condition(status: TrainingJobStatus, name: str) -> tuple[str, str]:
    found = next(c for c in status.conditions if c.type == name)
    return found.status.value, found.reason


def settled(decision: Decision[TrainingJobStatus]) -> bool:
    """Whether nothing more is to be decided, once the actions are done, until something happens."""
    # The next attempt may be due at once, or wait just for these actions.
    waits = condition(decision.status, "Ready")[1] == "RayJobEnding"
    registers = any(isinstance(action, RegisterModel) for action in decision.actions)
    return decision.requeue != 0 and not (waits and decision.actions) and not registers


def check_again(decision: Decision[TrainingJobStatus], again: Decision[TrainingJobStatus]) -> None:
    """Deciding once more has found no news."""
    assert again.status == decision.status
    assert not starts(again)
    assert not again.happenings
