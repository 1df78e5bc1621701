"""How an attempt ended, from what KubeRay and the driver say about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from loopwright.api.report import Report, RunState
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Attempt, Cause, TrainingJobStatus
from loopwright.decide.types import Outcome, RayJobView

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


def outcome(
    spec: TrainingJobSpec,
    status: TrainingJobStatus,
    attempt: Attempt,
    rayjob: RayJobView | None,
    report: Report | None,
    now: datetime,
) -> Outcome | None:
    """How the attempt ended, or None while it goes on. The first source that knows decides."""
    sources: tuple[Callable[[], Outcome | None], ...] = (
        lambda: _from_report(spec, report),
        lambda: _from_rayjob(attempt, rayjob),
        lambda: _from_clock(spec, status, attempt, now),
    )
    return next((found for source in sources if (found := source()) is not None), None)


def _from_report(spec: TrainingJobSpec, report: Report | None) -> Outcome | None:
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
    fatal = error.exit_code in spec.retry.non_retriable_exit_codes
    return Outcome(error.cause, error.reason, error.message, error.exit_code, permanent=fatal)


def _from_rayjob(attempt: Attempt, rayjob: RayJobView | None) -> Outcome | None:
    if rayjob is None or rayjob.deleting:
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


def _from_clock(
    spec: TrainingJobSpec, status: TrainingJobStatus, attempt: Attempt, now: datetime
) -> Outcome | None:
    end = deadline(spec, status, attempt)
    return _DEADLINES["DeadlineExceeded"] if end is not None and now >= end else None


def began(spec: TrainingJobSpec, attempt: Attempt) -> datetime | None:
    """From when an attempt's runtime counts; waiting in a queue does not."""
    queued = spec.scheduling is not None and spec.scheduling.queue is not None
    return attempt.running_time if queued else attempt.start_time


def deadline(spec: TrainingJobSpec, status: TrainingJobStatus, attempt: Attempt) -> datetime | None:
    """When the attempt must end for the job to stay within its limit."""
    start = began(spec, attempt)
    return None if start is None else start + timedelta(seconds=remaining(spec, status))


def remaining(spec: TrainingJobSpec, status: TrainingJobStatus) -> int:
    """Seconds that new attempts may run."""
    return max(0, spec.run_policy.max_runtime_seconds - status.used_runtime_seconds)
