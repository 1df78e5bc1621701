"""The parts of a status that follow from the rest: conditions, phase and progress."""

from __future__ import annotations

from datetime import datetime

from loopwright.api.jobspec import queue_of
from loopwright.api.trainingjob_status import Attempt, JobStatus, Phase, Queue, Workers
from loopwright.decide import budget
from loopwright.decide.conditions import Claim, merged
from loopwright.decide.kind import Job, report_of
from loopwright.decide.types import Observed, RayJobView, S, WorkloadView


def running(status: JobStatus) -> Attempt | None:
    """The attempt that has not ended."""
    if status.attempts and status.attempts[-1].end_time is None:
        return status.attempts[-1]
    return None


def summarize(job: Job[S], status: S, seen: Observed, now: datetime) -> S:
    """The status with everything derived brought up to date."""
    current = running(status)
    report = report_of(seen, current.number) if current is not None else None
    if report is not None:
        status = job.heard(status, report)
    elif current is None:
        status = job.idle(status)
    rayjob = seen.rayjobs.get(current.number) if current else None
    queue = queue_of(job.spec)
    admitted = rayjob is not None and not rayjob.held
    phase = _phase(job, status, rayjob, queued=queue is not None and not admitted)
    claims = {**_claims(job, status, phase, rayjob, seen), **job.claims(status)}
    if job.spec.budget is not None:
        claims[budget.CONDITION] = budget.claim(
            job.spec.budget, status.cost, priced=seen.prices is not None
        )
    if queue is not None:
        claims["Admitted"] = _admission(queue, seen.workload, admitted=admitted)
    if seen.report_problem is not None:
        claims["ReportAccepted"] = Claim(False, "Malformed", seen.report_problem)
    elif any(condition.type == "ReportAccepted" for condition in status.conditions):
        claims["ReportAccepted"] = Claim(True, "AsExpected")
    update = {
        "observed_generation": seen.generation,
        "phase": phase,
        "conditions": merged(status.conditions, claims, seen.generation, now),
        "workers": Workers(
            desired=job.asked(status).num_workers if current else 0,
            ready=rayjob.ready_workers if rayjob and current else 0,
        ),
        "queue": _queue(queue, status.queue, seen, now, admitted=admitted) if queue else None,
        "dashboard_url": rayjob.dashboard or None if rayjob and current else None,
    }
    return status.model_copy(update=update)


def _admission(queue: str, workload: WorkloadView | None, *, admitted: bool) -> Claim:
    if admitted:
        return Claim(True, "Admitted", f"LocalQueue {queue}")
    if workload is None or not workload.message:
        return Claim(False, "Waiting", f"LocalQueue {queue}")
    return Claim(False, workload.reason, f"LocalQueue {queue}: {workload.message}")


def _queue(
    name: str, before: Queue | None, seen: Observed, now: datetime, *, admitted: bool
) -> Queue:
    if admitted:
        since = before.admitted_time if before is not None and before.admitted else None
        return Queue(name=name, admitted=True, admitted_time=since or now)
    if seen.workload is None:
        return Queue(name=name)
    return Queue(name=name, workload=seen.workload.name, message=seen.workload.message or None)


def _phase(job: Job[S], status: S, rayjob: RayJobView | None, *, queued: bool) -> Phase:
    current = running(status)
    if status.completion_time is not None:
        failed = status.attempts[-1].cause is not None if status.attempts else True
        return Phase.FAILED if failed else Phase.SUCCEEDED
    if current is None and budget.paused(job.spec, status) is not None:
        return Phase.SUSPENDED
    if current is None:
        return Phase.RETRYING if status.retry_time is not None else Phase.PENDING
    if rayjob is not None and rayjob.deployment == "Running":
        return Phase.RUNNING
    return Phase.QUEUED if queued else Phase.PROVISIONING


def _why_suspended(job: Job[S], status: S) -> tuple[str, str]:
    why = budget.paused(job.spec, status) or ""
    return ("Suspended" if job.spec.run_policy.suspend else budget.REASON), why


_READY = {
    Phase.PENDING: "the job waits to be started",
    Phase.QUEUED: "the job waits in its queue",
    Phase.PROVISIONING: "the Ray cluster is being made",
    Phase.RETRYING: "the last attempt failed; the next one is due",
}


def _claims(
    job: Job[S], status: S, phase: Phase, rayjob: RayJobView | None, seen: Observed
) -> dict[str, Claim]:
    done, failed = phase is Phase.SUCCEEDED, phase is Phase.FAILED
    blocked = seen.blocked if not (done or failed or phase is Phase.SUSPENDED) else None
    reason, message = phase.value, _READY.get(phase, f"{job.words.noun} runs")
    if done:
        reason, message = "Completed", job.success(status)
    elif failed and status.last_error is not None:
        reason, message = status.last_error.reason, status.last_error.message
    elif blocked is not None:
        reason, message = blocked.reason, blocked.message
    elif phase is Phase.SUSPENDED:
        reason, message = _why_suspended(job, status)
    stalled = failed or (blocked is not None and blocked.permanent)
    busy = not (done or failed or phase is Phase.SUSPENDED or stalled)
    works = phase is Phase.RUNNING
    cluster = bool(works and rayjob)
    word = reason if stalled else "AsExpected"
    health = {
        "Ready": Claim(done, reason, message),
        "Reconciling": Claim(busy, reason, message if busy else ""),
        "Stalled": Claim(stalled, word, message if stalled else ""),
    }
    states = {
        "ClusterReady": Claim(cluster, "ClusterReady" if cluster else "NoCluster"),
        "Running": Claim(works, job.words.reason if works else f"Not{job.words.reason}"),
        "Succeeded": Claim(done, "Completed" if done else "NotCompleted"),
        "Failed": Claim(failed, reason if failed else "NotFailed", message if failed else ""),
        "Suspended": Claim(
            phase is Phase.SUSPENDED, "Suspended" if phase is Phase.SUSPENDED else "NotSuspended"
        ),
    }
    # What never was needs no word: each condition costs the API server a quarter of a millisecond,
    # at every write.
    told = {condition.type for condition in status.conditions}
    return health | {name: one for name, one in states.items() if one.holds or name in told}
