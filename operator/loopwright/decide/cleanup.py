"""Which RayJobs of a job must go, and what waits for that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from loopwright.api.report import JobReport, RunState
from loopwright.api.trainingjob_status import JobStatus
from loopwright.decide.types import Action, Blocked, DeleteRayJob, Observed, RayJobView

# KubeRay asks a cluster how its job ended every three seconds and then takes it down.
LET_GO: Final = 60.0


def holding(seen: Observed) -> list[RayJobView]:
    """The RayJobs that may have a cluster; one that is being deleted has it until it is gone."""
    return [view for _, view in sorted(seen.rayjobs.items()) if not view.terminal]


def stop(views: Iterable[RayJobView]) -> tuple[Action, ...]:
    """Deletes these RayJobs."""
    return tuple(DeleteRayJob(v.name, v.uid, v.version) for v in views if not v.deleting)


def let_go(
    status: JobStatus, seen: Observed, now: datetime
) -> tuple[tuple[Action, ...], float | None]:
    """Deletes the RayJobs that still hold a cluster, and says how long to wait for others.

    One whose driver has had its last word soon ends by itself, and stays for people to look at.
    """
    held = holding(seen)
    last = status.attempts[-1] if status.attempts else None
    if last is not None and last.end_time is not None and _last_word(seen.report, last.number):
        patience = (last.end_time + timedelta(seconds=LET_GO) - now).total_seconds()
        others = [view for view in held if view.attempt != last.number or view.deleting]
        if patience > 0 and others != held:
            return stop(others), patience
    return stop(held), None


def occupied(views: Sequence[RayJobView]) -> Blocked | None:
    """Why no attempt may start while these RayJobs hold a cluster."""
    if not views:
        return None
    text = (
        f"RayJob '{views[0].name}' still holds a cluster, and the next attempt waits until it is "
        "gone; if it stays, see whether KubeRay runs, and what its metadata.finalizers wait for"
    )
    return Blocked("RayJobEnding", text)


def _last_word(report: JobReport | None, attempt: int) -> bool:
    """Whether the attempt's driver ends by itself; a stopped one is started again by KubeRay."""
    ends = (RunState.SUCCEEDED, RunState.FAILED)
    return report is not None and report.attempt == attempt and report.state in ends
