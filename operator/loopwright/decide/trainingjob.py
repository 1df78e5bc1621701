"""What to do about a TrainingJob: one pure function from what is there to what comes next."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from loopwright.api import names
from loopwright.api.report import Report, RunState
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Attempt, Cause, LastError, TrainingJobStatus
from loopwright.decide import retry
from loopwright.decide.outcome import began, deadline, outcome
from loopwright.decide.summary import running, summarize
from loopwright.decide.types import (
    Action,
    Decision,
    DeleteJob,
    DeleteRayJob,
    Happening,
    Observed,
    Outcome,
    RayJobView,
    StartAttempt,
)

KEPT_ATTEMPTS: Final = 10
MAX_ERROR: Final = 1024
POLL_BLOCKED: Final = 10.0
# KubeRay asks a cluster how its job ended every three seconds and then takes it down.
LET_GO: Final = 60.0


def decide(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> Decision:
    """The next status of a job, and what to do once it is stored.

    Calling it again with the state that it brought about decides nothing new.
    """
    if status.completion_time is not None:
        return _finished(spec, status, seen, now)
    current = running(status)
    if current is not None:
        return _attempt_runs(spec, status, current, seen, now)
    if spec.run_policy.suspend:
        return _suspended(spec, status, seen, now)
    return _between_attempts(spec, status, seen, now)


def _finished(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> Decision:
    """A result is final. What is left to do is cleaning up."""
    assert status.completion_time is not None
    expiry = None
    ttl = spec.run_policy.ttl_seconds_after_finished
    if ttl is not None:
        expiry = (status.completion_time + timedelta(seconds=ttl) - now).total_seconds()
        if expiry <= 0:
            return Decision(status, (DeleteJob(),))
    actions, wait = _let_go(status, seen, now)
    return Decision(
        _updated(status, observed_generation=seen.generation), actions, _soonest(expiry, wait)
    )


def _attempt_runs(
    spec: TrainingJobSpec,
    status: TrainingJobStatus,
    current: Attempt,
    seen: Observed,
    now: datetime,
) -> Decision:
    rayjob = seen.rayjobs.get(current.number)
    report = seen.report if seen.report and seen.report.attempt == current.number else None
    status, current = _learn(status, current, rayjob, seen, now)
    if spec.run_policy.suspend and (report is None or report.error is None):
        ended = Outcome(Cause.SUSPENDED, "Suspended", "runPolicy.suspend is set")
    else:
        found = outcome(spec, status, current, rayjob, report, now) or _lost_head(spec, status)
        if found is None:
            return _goes_on(spec, status, current, rayjob, seen, now)
        ended = found
    return _attempt_ended(spec, status, current, ended, seen, now)


def _learn(
    status: TrainingJobStatus,
    current: Attempt,
    rayjob: RayJobView | None,
    seen: Observed,
    now: datetime,
) -> tuple[TrainingJobStatus, Attempt]:
    """Takes over what KubeRay and the driver say about the attempt."""
    news: dict[str, Any] = {}
    # KubeRay's first word about it is worth a write; the mere existence of the RayJob is not.
    if rayjob is not None and rayjob.deployment and not rayjob.deleting:
        if current.ray_job_uid is None:
            news["ray_job_uid"] = rayjob.uid
        if rayjob.cluster:
            news["ray_cluster"] = rayjob.cluster
        if rayjob.deployment == "Running" and current.running_time is None:
            news["running_time"] = now
    report = seen.report
    failures = status.failures
    if report is not None and report.attempt == current.number:
        if current.run_id not in (None, report.run_id):
            # KubeRay submits again when the head was lost: the same attempt, a new driver.
            failures = retry.counted(failures, Cause.INFRASTRUCTURE)
        news["run_id"] = report.run_id
        if report.resumed_from:
            news["resumed_from"] = report.resumed_from
    current = current.model_copy(update=news)
    attempts = [current if a.number == current.number else a for a in status.attempts]
    return _updated(status, attempts=attempts, failures=failures), current


def _lost_head(spec: TrainingJobSpec, status: TrainingJobStatus) -> Outcome | None:
    if status.failures.infrastructure > spec.retry.max_infrastructure_failures:
        text = "the head pod was lost more often than retry.maxInfrastructureFailures allows"
        return Outcome(Cause.INFRASTRUCTURE, "HeadLost", text, permanent=True)
    return None


def _goes_on(
    spec: TrainingJobSpec,
    status: TrainingJobStatus,
    current: Attempt,
    rayjob: RayJobView | None,
    seen: Observed,
    now: datetime,
) -> Decision:
    end = deadline(spec, status, current)
    requeue = None if end is None else max(1.0, (end - now).total_seconds())
    actions: tuple[Action, ...] = ()
    if rayjob is None and seen.blocked is None:
        actions = (StartAttempt(current.number),)
    if seen.blocked is not None:
        requeue = POLL_BLOCKED
    result = summarize(spec, status, seen, now)
    return Decision(result, actions, requeue, _started_running(status, result))


def _started_running(before: TrainingJobStatus, after: TrainingJobStatus) -> tuple[Happening, ...]:
    was = {c.type: c.status for c in before.conditions}
    now = {c.type: c.status for c in after.conditions}
    if now.get("Running") == "True" and was.get("Running") != "True":
        return (Happening("Normal", "Running", f"attempt {after.attempt} trains"),)
    return ()


def _attempt_ended(
    spec: TrainingJobSpec,
    status: TrainingJobStatus,
    current: Attempt,
    ended: Outcome,
    seen: Observed,
    now: datetime,
) -> Decision:
    # Before the end is recorded: cost and progress still count this attempt as running.
    status = summarize(spec, status, seen, now)
    start = began(spec, current)
    used = int((now - start).total_seconds()) if start else 0
    update = {"end_time": now, "cause": ended.cause, "exit_code": ended.exit_code}
    attempts = [
        a.model_copy(update=update) if a.number == current.number else a for a in status.attempts
    ]
    used += status.used_runtime_seconds
    status = _updated(status, attempts=attempts, used_runtime_seconds=used)
    if ended.cause is None:
        return _succeed(spec, status, seen, now)
    if ended.cause is Cause.SUSPENDED:
        after = _suspended(spec, status, seen, now)
        told = Happening("Normal", "Suspended", f"attempt {current.number} was stopped")
        return Decision(after.status, after.actions, None, (told,))
    return _fail(spec, status, current, ended, seen, now)


def _succeed(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> Decision:
    status = _updated(status, completion_time=now, retry_time=None)
    told = Happening("Normal", "Completed", f"training succeeded in attempt {status.attempt}")
    ttl = spec.run_policy.ttl_seconds_after_finished
    actions, wait = _let_go(status, seen, now)
    result = summarize(spec, status, seen, now)
    return Decision(result, actions, _soonest(None if ttl is None else float(ttl), wait), (told,))


def _fail(
    spec: TrainingJobSpec,
    status: TrainingJobStatus,
    current: Attempt,
    ended: Outcome,
    seen: Observed,
    now: datetime,
) -> Decision:
    assert ended.cause is not None
    failures = status.failures
    if ended.reason != "HeadLost":  # That one is counted already.
        failures = retry.counted(failures, ended.cause)
    again = retry.forgiven(spec.retry, failures, ended)
    error = LastError(
        reason=ended.reason,
        message=ended.message[-MAX_ERROR:],
        time=now,
        retriable=again,
        attempt=current.number,
    )
    wait = retry.backoff(spec.retry, failures)
    update: dict[str, Any] = {"failures": failures, "last_error": error}
    update |= {"retry_time": now + wait} if again else {"completion_time": now, "retry_time": None}
    status = _updated(status, **update)
    what = f"attempt {current.number} failed ({ended.cause}, {ended.reason})"
    if again:
        told = Happening("Warning", "Retrying", f"{what}; the next begins in {wait.seconds} s")
    else:
        told = Happening("Warning", "Failed", f"{what}: {ended.message}"[:MAX_ERROR])
    actions, patience = _let_go(status, seen, now)
    requeue = _soonest(wait.total_seconds() if again else None, patience)
    return Decision(summarize(spec, status, seen, now), actions, requeue, (told,))


def _suspended(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> Decision:
    status = summarize(spec, _updated(status, retry_time=None), seen, now)
    return Decision(status, _stop_all(seen))


def _between_attempts(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> Decision:
    """Starts the next attempt once it is due, possible, and the one before has let go."""
    actions, patience = _let_go(status, seen, now)
    wait = 0.0
    if status.retry_time is not None:
        wait = (status.retry_time - now).total_seconds()
    if wait > 0:
        return Decision(summarize(spec, status, seen, now), actions, _soonest(wait, patience))
    if seen.blocked is not None:
        return Decision(
            summarize(spec, status, seen, now), (), POLL_BLOCKED, _blocked(status, seen)
        )
    if actions or patience is not None:
        # Two clusters of one job must never train at once.
        return Decision(
            summarize(spec, status, seen, now), actions, _soonest(POLL_BLOCKED, patience)
        )
    number = status.attempt + 1
    attempt = Attempt(number=number, ray_job=names.rayjob_name(seen.job, number), start_time=now)
    status = _updated(
        status,
        attempt=number,
        attempts=[*status.attempts, attempt][-KEPT_ATTEMPTS:],
        start_time=status.start_time or now,
        retry_time=None,
    )
    told = Happening("Normal", "AttemptStarted", f"attempt {number} begins")
    return Decision(summarize(spec, status, seen, now), (StartAttempt(number),), None, (told,))


def _blocked(status: TrainingJobStatus, seen: Observed) -> tuple[Happening, ...]:
    assert seen.blocked is not None
    if any(seen.blocked.message == condition.message for condition in status.conditions):
        return ()
    return (Happening("Warning", seen.blocked.reason, seen.blocked.message),)


def _let_go(
    status: TrainingJobStatus, seen: Observed, now: datetime
) -> tuple[tuple[Action, ...], float | None]:
    """Deletes the RayJobs that still hold a cluster, and says how long to wait for others.

    One whose driver has had its last word soon ends by itself, and stays for people to look at.
    """
    last = status.attempts[-1] if status.attempts else None
    if last is None or last.end_time is None or not _last_word(seen.report, last.number):
        return _stop_all(seen), None
    patience = (last.end_time + timedelta(seconds=LET_GO) - now).total_seconds()
    others = {number: view for number, view in seen.rayjobs.items() if number != last.number}
    ending = seen.rayjobs.get(last.number)
    if patience <= 0 or ending is None or ending.terminal or ending.deleting:
        return _stop_all(seen), None
    return _stop_all(replace(seen, rayjobs=others)), patience


def _last_word(report: Report | None, attempt: int) -> bool:
    """Whether the attempt's driver ends by itself; a stopped one is started again by KubeRay."""
    ends = (RunState.SUCCEEDED, RunState.FAILED)
    return report is not None and report.attempt == attempt and report.state in ends


def _stop_all(seen: Observed) -> tuple[Action, ...]:
    """Deletes the RayJobs that still hold a cluster; those that ended are kept to look at."""
    alive = [view for view in seen.rayjobs.values() if not view.terminal and not view.deleting]
    return tuple(DeleteRayJob(view.name, view.uid) for view in alive)


def _soonest(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _updated(status: TrainingJobStatus, **update: Any) -> TrainingJobStatus:
    return status.model_copy(update=update)
