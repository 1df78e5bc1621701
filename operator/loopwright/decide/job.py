"""What to do about a job that runs on Ray: one pure function from what is there to what comes next.

Everything that kinds do alike is here; what they do each in its own way, `Job` says.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from loopwright.api import names
from loopwright.api.jobspec import queue_of
from loopwright.api.trainingjob_status import Attempt, Cause, LastError
from loopwright.decide import budget, retry
from loopwright.decide.cleanup import holding, let_go, occupied, stop
from loopwright.decide.cost import with_attempt
from loopwright.decide.kind import Job, report_of
from loopwright.decide.outcome import NO_RUNTIME, began, deadline, elapsed, outcome, remaining
from loopwright.decide.summary import running, summarize
from loopwright.decide.types import (
    Decision,
    DeleteJob,
    Happening,
    Observed,
    Outcome,
    RayJobView,
    S,
    StartAttempt,
)

KEPT_ATTEMPTS: Final = 10
MAX_ERROR: Final = 1024
POLL_BLOCKED: Final = 10.0
POLL_QUEUED: Final = 30.0
POLL_FIRST_WORD: Final = 3.0


def decide(job: Job[S], status: S, seen: Observed, now: datetime) -> Decision[S]:
    """The next status of a job, and what to do once it is stored.

    Calling it again with the state that it brought about decides nothing new.
    """
    if status.completion_time is not None:
        return _finished(job, status, seen, now)
    current = running(status)
    if current is not None:
        return _attempt_runs(job, status, current, seen, now)
    if budget.paused(job.spec, status) is not None:
        return _suspended(job, status, seen, now)
    return _between_attempts(job, status, seen, now)


def _finished(job: Job[S], status: S, seen: Observed, now: datetime) -> Decision[S]:
    """A result is final. What is left to do is cleaning up."""
    assert status.completion_time is not None
    decision = job.closed(Decision(status), seen, now)
    expiry = None
    ttl = job.spec.run_policy.ttl_seconds_after_finished
    if ttl is not None and not job.pending(decision.status):
        expiry = (status.completion_time + timedelta(seconds=ttl) - now).total_seconds()
        if expiry <= 0:
            return replace(decision, actions=(DeleteJob(),))
    actions, wait = let_go(status, seen, now)
    return replace(
        decision,
        status=_updated(decision.status, observed_generation=seen.generation),
        actions=(*actions, *decision.actions),
        requeue=_soonest(expiry, wait, decision.requeue),
    )


def _attempt_runs(
    job: Job[S], status: S, current: Attempt, seen: Observed, now: datetime
) -> Decision[S]:
    rayjob = seen.rayjobs.get(current.number)
    report = report_of(seen, current.number)
    status, current = _learn(status, current, rayjob, seen, now)
    over = budget.crossed(job, status, current, seen.prices, now)
    over_budget = None if over is None else budget.ended(job.spec, over)
    ended = outcome(job, status, current, rayjob, report, now, over_budget, seen.workload)
    if ended is None:
        return _goes_on(job, status, current, seen, now)
    return _attempt_ended(job, status, current, ended, seen, now)


def _learn(
    status: S, current: Attempt, rayjob: RayJobView | None, seen: Observed, now: datetime
) -> tuple[S, Attempt]:
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
    report = report_of(seen, current.number)
    failures = status.failures
    if report is not None:
        if current.run_id not in (None, report.run_id):
            # KubeRay submits again when the head was lost: the same attempt, a new driver.
            failures = retry.counted(failures, Cause.INFRASTRUCTURE)
        news["run_id"] = report.run_id
        if report.resumed_from:
            news["resumed_from"] = report.resumed_from
    current = current.model_copy(update=news)
    attempts = [current if a.number == current.number else a for a in status.attempts]
    return _updated(status, attempts=attempts, failures=failures), current


def _goes_on(
    job: Job[S], status: S, current: Attempt, seen: Observed, now: datetime
) -> Decision[S]:
    rayjob = seen.rayjobs.get(current.number)
    # Two clusters of one job must never train at once.
    holders = [view for view in holding(seen) if view.deleting or view is not rayjob]
    started = rayjob is not None and not rayjob.deleting
    # What is missing holds up a start; this attempt may be past that.
    seen = replace(seen, blocked=None if started else seen.blocked or occupied(holders))
    actions = stop(holders)
    if rayjob is None and seen.blocked is None:
        actions = (StartAttempt(current.number),)
    end = deadline(job.spec, status, current, job.grace)
    requeue = _soonest(
        None if end is None else max(1.0, (end - now).total_seconds()),
        budget.left(job, status, current, seen.prices, now),
        None if seen.blocked is None else POLL_BLOCKED,
        _look_at_queue(job, rayjob, seen),
    )
    result = summarize(job, status, seen, now)
    return Decision(result, actions, requeue, _started_running(job, status, result))


def _look_at_queue(job: Job[S], rayjob: RayJobView | None, seen: Observed) -> float | None:
    """When to ask Kueue again; it has its say a moment after the RayJob is made."""
    if queue_of(job.spec) is None or rayjob is None or not rayjob.held:
        return None
    told = seen.workload is not None and seen.workload.message
    return POLL_QUEUED if told else POLL_FIRST_WORD


def _started_running(job: Job[S], before: S, after: S) -> tuple[Happening, ...]:
    was = {c.type: c.status for c in before.conditions}
    now = {c.type: c.status for c in after.conditions}
    if now.get("Running") == "True" and was.get("Running") != "True":
        return (Happening("Normal", "Running", f"attempt {after.attempt} {job.words.verb}"),)
    return ()


def _attempt_ended(
    job: Job[S],
    status: S,
    current: Attempt,
    ended: Outcome,
    seen: Observed,
    now: datetime,
) -> Decision[S]:
    # Before the end is recorded: its report still counts.
    status = summarize(job, status, seen, now)
    end = _end(current, seen.rayjobs.get(current.number), now)
    update = {"end_time": end, "cause": ended.cause, "exit_code": ended.exit_code}
    used = int(elapsed(began(job.spec, current), end))
    status = _updated(
        status,
        attempts=[*status.attempts[:-1], current.model_copy(update=update)],
        used_runtime_seconds=status.used_runtime_seconds + used,
        cost=with_attempt(status.cost, job.asked(status), current, end, seen.prices),
    )
    if ended.cause is None:
        return _attempt_succeeded(job, status, seen, now)
    if ended.cause is Cause.SUSPENDED:
        text = f"attempt {current.number} was stopped: {ended.message}"
        kind: Literal["Normal", "Warning"] = (
            "Warning" if ended.reason == budget.REASON else "Normal"
        )
        return _put_off(job, status, Happening(kind, ended.reason, text), seen, now)
    return _attempt_failed(job, status, ended, seen, now)


def _attempt_succeeded(job: Job[S], status: S, seen: Observed, now: datetime) -> Decision[S]:
    why = job.unfinished(status)
    if why is not None and remaining(job.spec, status):
        text = f"attempt {status.attempt} ended, and another goes on: {why}"
        return _put_off(job, status, Happening("Normal", "GoesOn", text), seen, now)
    told = Happening("Normal", "Completed", job.success(status)[:MAX_ERROR])
    return _complete(job, status, told, seen, now)


def _put_off(job: Job[S], status: S, told: Happening, seen: Observed, now: datetime) -> Decision[S]:
    """After an attempt that was not the last and did not fail."""
    if budget.paused(job.spec, status) is not None:
        return replace(_suspended(job, status, seen, now), happenings=(told,))
    rest = _between_attempts(job, status, seen, now)
    return replace(rest, happenings=(told, *rest.happenings))


def _end(attempt: Attempt, rayjob: RayJobView | None, now: datetime) -> datetime:
    """When an attempt ended; the operator may have been away when it did."""
    if rayjob is None or rayjob.ended is None:
        return now
    return min(now, max(rayjob.ended, attempt.start_time or now))


def _attempt_failed(
    job: Job[S], status: S, ended: Outcome, seen: Observed, now: datetime
) -> Decision[S]:
    assert ended.cause is not None
    failures = status.failures if ended.counted else retry.counted(status.failures, ended.cause)
    status = _updated(status, failures=failures)
    if not retry.forgiven(job.spec.budgets, failures, ended):
        return _fail(job, status, ended, seen, now)
    if not remaining(job.spec, status):
        text = f"{NO_RUNTIME.message}; {ended.reason}: {ended.message}"
        return _fail(job, status, replace(NO_RUNTIME, message=text), seen, now)
    if (over := _stopped(job, status)) is not None:
        return _fail(job, status, over, seen, now)
    if (report := report_of(seen, status.attempt)) is not None:
        status = job.retried(status, report)
    wait = retry.backoff(job.spec.budgets, failures)
    status = _updated(status, last_error=_error(status, ended, now, again=True))
    what = f"attempt {status.attempt} failed ({ended.cause}, {ended.reason})"
    if (why := budget.paused(job.spec, status)) is not None:
        told = Happening("Warning", "Suspended", f"{what}; {why}")
        return replace(_suspended(job, status, seen, now), happenings=(told,))
    told = Happening(
        "Warning", "Retrying", f"{what}; the next begins in {wait.total_seconds():.0f} s"
    )
    status = _updated(status, retry_time=now + wait)
    actions, patience = let_go(status, seen, now)
    requeue = _soonest(wait.total_seconds(), patience)
    return Decision(summarize(job, status, seen, now), actions, requeue, (told,))


def _fail(job: Job[S], status: S, why: Outcome, seen: Observed, now: datetime) -> Decision[S]:
    what = f"attempt {status.attempt} was the last ({why.cause}, {why.reason}): {why.message}"
    told = Happening("Warning", "Failed", what[:MAX_ERROR])
    status = _updated(status, last_error=_error(status, why, now, again=False))
    return _complete(job, status, told, seen, now)


def _error(status: S, why: Outcome, now: datetime, *, again: bool) -> LastError:
    message = why.message[-MAX_ERROR:]
    return LastError(
        reason=why.reason, message=message, time=now, retriable=again, attempt=status.attempt
    )


def _complete(
    job: Job[S], status: S, told: Happening, seen: Observed, now: datetime
) -> Decision[S]:
    status = _updated(status, completion_time=now, retry_time=None)
    rest = _finished(job, summarize(job, status, seen, now), replace(seen, blocked=None), now)
    return replace(rest, happenings=(told, *rest.happenings))


def _suspended(job: Job[S], status: S, seen: Observed, now: datetime) -> Decision[S]:
    status = summarize(job, _updated(status, retry_time=None), seen, now)
    return Decision(status, stop(holding(seen)))


def _between_attempts(job: Job[S], status: S, seen: Observed, now: datetime) -> Decision[S]:
    """Starts the next attempt once it is due, possible, and the one before has let go."""
    over = None if remaining(job.spec, status) else NO_RUNTIME
    if (over := over or _stopped(job, status)) is not None:
        return _fail(job, status, over, seen, now)
    actions, patience = let_go(status, seen, now)
    wait = 0.0
    if status.retry_time is not None:
        wait = (status.retry_time - now).total_seconds()
    if wait > 0:
        return Decision(summarize(job, status, seen, now), actions, _soonest(wait, patience))
    warning = _blocked(status, seen)
    # Two clusters of one job must never train at once.
    seen = replace(seen, blocked=seen.blocked or occupied(holding(seen)))
    if seen.blocked is not None:
        requeue = _soonest(POLL_BLOCKED, patience)
        return Decision(summarize(job, status, seen, now), actions, requeue, warning)
    number = status.attempt + 1
    attempt = Attempt(
        number=number,
        ray_job=names.rayjob_name(job.kind, seen.job, number),
        start_time=now,
        spot=retry.on_spot(job.spec, status.failures) or None,
    )
    status = _updated(
        job.begun(status),
        attempt=number,
        attempts=[*status.attempts, attempt][-KEPT_ATTEMPTS:],
        start_time=status.start_time or now,
        retry_time=None,
    )
    told = Happening("Normal", "AttemptStarted", f"attempt {number} begins")
    return Decision(summarize(job, status, seen, now), (StartAttempt(number),), None, (told,))


def _stopped(job: Job[S], status: S) -> Outcome | None:
    """That the budget is used up for good."""
    over = budget.spent(job.spec.budget, status.cost)
    ends = job.spec.budget is not None and job.spec.budget.action == "Stop"
    return budget.ended(job.spec, over) if ends and over else None


def _blocked(status: S, seen: Observed) -> tuple[Happening, ...]:
    known = {condition.message for condition in status.conditions}
    if seen.blocked is None or seen.blocked.message in known:
        return ()
    return (Happening("Warning", seen.blocked.reason, seen.blocked.message),)


def _soonest(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _updated(status: S, **update: Any) -> S:
    return status.model_copy(update=update)
