"""How an attempt ended, from what KubeRay and the driver say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from loopwright.api.jobspec import JobSpec, queue_of
from loopwright.api.report import JobReport, RunState
from loopwright.api.trainingjob_status import Attempt, Cause, JobStatus
from loopwright.decide.kind import Job
from loopwright.decide.types import Outcome, RayJobView, S, WorkloadView

# KubeRay's words for a deadline that it enforced.
_DEADLINES = {
    "DeadlineExceeded": Outcome(
        Cause.DEADLINE, "MaxRuntimeExceeded", "the job ran longer than runPolicy.maxRuntimeSeconds"
    ),
    "PreRunningDeadlineExceeded": Outcome(
        Cause.DEADLINE,
        "MaxPendingExceeded",
        "the cluster was not ready within runPolicy.maxPendingSeconds",
    ),
}
NO_RUNTIME = Outcome(
    Cause.DEADLINE,
    "MaxRuntimeExceeded",
    "runPolicy.maxRuntimeSeconds leaves no time for another attempt",
)
_HEAD_LOST = Outcome(
    Cause.INFRASTRUCTURE,
    "HeadLost",
    "the head pod was lost more often than retry.maxInfrastructureFailures allows",
    permanent=True,
    counted=True,
)
_SUSPENDED = Outcome(Cause.SUSPENDED, "Suspended", "runPolicy.suspend is set")
_PREEMPTED = Outcome(Cause.SUSPENDED, "Preempted", "Kueue gave its quota to another")


def outcome(
    job: Job[S],
    status: S,
    attempt: Attempt,
    rayjob: RayJobView | None,
    report: JobReport | None,
    now: datetime,
    over: Outcome | None = None,
    queued: WorkloadView | None = None,
) -> Outcome | None:
    """How the attempt ended, or None while it goes on. The first source that knows decides.

    Args:
        over: How it ends if nobody else knows, because the budget is used up.
        queued: What Kueue says of it.
    """
    sources: tuple[Callable[[], Outcome | None], ...] = (
        lambda: _from_report(job.spec, report),
        lambda: _from_rayjob(attempt, rayjob),
        lambda: _from_clock(job, status, attempt, now),
    )
    found = next((found for source in sources if (found := source()) is not None), None)
    if found is not None and found.cause is not Cause.INFRASTRUCTURE:
        return found
    if preempted(job.spec, attempt, rayjob):
        return replace(_PREEMPTED, message=(queued and queued.message) or _PREEMPTED.message)
    if status.failures.infrastructure > job.spec.budgets.max_infrastructure_failures:
        return _HEAD_LOST
    # A cluster that somebody stops, as people do with a job that they suspend, looks lost.
    if job.spec.run_policy.suspend:
        return _SUSPENDED
    if over is not None:
        return over
    why = job.outdated(status)
    return found if why is None else Outcome(Cause.SUSPENDED, "SpecChanged", why)


def _from_report(spec: JobSpec, report: JobReport | None) -> Outcome | None:
    """The driver knows best; its last word is stored before KubeRay's."""
    if report is None:
        return None
    if report.state is RunState.SUCCEEDED:
        return Outcome(None, "Completed")
    if report.state is RunState.STOPPED:
        return Outcome(Cause.INFRASTRUCTURE, "Interrupted", "the pods were told to stop")
    if report.state is not RunState.FAILED:
        return None
    error = report.error
    if error is None:
        return Outcome(Cause.APPLICATION, "TrainingFailed", "the driver gave no reason")
    fatal = error.permanent or error.exit_code in spec.budgets.non_retriable_exit_codes
    return Outcome(error.cause, error.reason, error.message, error.exit_code, permanent=fatal)


def _from_rayjob(attempt: Attempt, rayjob: RayJobView | None) -> Outcome | None:
    if rayjob is None or (rayjob.deleting and not rayjob.terminal):
        if attempt.ray_job_uid is None:
            return None  # Not created yet, as far as is known.
        return Outcome(Cause.INFRASTRUCTURE, "RayJobDeleted", f"RayJob {attempt.ray_job} is gone")
    if attempt.ray_job_uid not in (None, rayjob.uid):
        return Outcome(Cause.INFRASTRUCTURE, "RayJobReplaced", "another RayJob took its name")
    if rayjob.deployment == "ValidationFailed":
        return Outcome(Cause.APPLICATION, "RayJobInvalid", rayjob.message, permanent=True)
    if rayjob.deployment == "Complete" and rayjob.job == "SUCCEEDED":
        return Outcome(None, "Completed")
    if rayjob.terminal:
        text = rayjob.message or "the Ray cluster failed before the driver could say why"
        reason = rayjob.reason or "RayJobFailed"
        return _DEADLINES.get(rayjob.reason, Outcome(Cause.INFRASTRUCTURE, reason, text))
    return None


def _from_clock(job: Job[S], status: S, attempt: Attempt, now: datetime) -> Outcome | None:
    end = deadline(job.spec, status, attempt, job.grace)
    return _DEADLINES["DeadlineExceeded"] if end is not None and now >= end else None


def preempted(spec: JobSpec, attempt: Attempt, rayjob: RayJobView | None) -> bool:
    """Whether Kueue took an attempt back that had its cluster.

    Its RayJob would start again under the same number. A new one costs it nothing but its place
    among equals, and each attempt stays one run, with one runtime and one log.
    """
    ran = attempt.running_time is not None and queue_of(spec) is not None
    return ran and rayjob is not None and not rayjob.deleting and rayjob.suspended


def began(spec: JobSpec, attempt: Attempt) -> datetime | None:
    """From when an attempt's runtime counts; waiting in a queue does not."""
    return attempt.running_time if queue_of(spec) is not None else attempt.start_time


def deadline(spec: JobSpec, status: JobStatus, attempt: Attempt, grace: int = 0) -> datetime | None:
    """When the attempt must end for the job to stay within its limit."""
    start = began(spec, attempt)
    return None if start is None else start + timedelta(seconds=remaining(spec, status) + grace)


def remaining(spec: JobSpec, status: JobStatus) -> int:
    """Seconds that new attempts may run."""
    return max(0, spec.run_policy.max_runtime_seconds - status.used_runtime_seconds)


def elapsed(start: datetime | None, end: datetime) -> float:
    """Seconds between; none without a start, nor when the clock of another replica is behind."""
    return max(0.0, (end - start).total_seconds()) if start is not None else 0.0
