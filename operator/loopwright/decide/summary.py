"""The parts of a status that follow from the rest: conditions, phase, progress and cost."""

from __future__ import annotations

import math
from datetime import datetime

from loopwright.api import quantity
from loopwright.api.report import Report
from loopwright.api.shared import Resources
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import (
    Attempt,
    Cost,
    Lineage,
    MetricValue,
    Phase,
    Queue,
    TrainingJobStatus,
    Workers,
)
from loopwright.decide.conditions import Claim, merged
from loopwright.decide.types import Observed, RayJobView


def running(status: TrainingJobStatus) -> Attempt | None:
    """The attempt that has not ended."""
    if status.attempts and status.attempts[-1].end_time is None:
        return status.attempts[-1]
    return None


def summarize(
    spec: TrainingJobSpec, status: TrainingJobStatus, seen: Observed, now: datetime
) -> TrainingJobStatus:
    """The status with everything derived brought up to date."""
    current = running(status)
    rayjob = seen.rayjobs.get(current.number) if current else None
    queue = spec.scheduling.queue if spec.scheduling else None
    admitted = rayjob is not None and rayjob.deployment not in ("", "Suspended")
    phase = _phase(spec, status, rayjob, queued=queue is not None and not admitted)
    claims = _claims(status, phase, rayjob, seen)
    if queue is not None:
        reason = "Admitted" if admitted else "Waiting"
        claims["Admitted"] = Claim(admitted, reason, f"LocalQueue {queue}")
    if seen.report_problem is not None:
        claims["ReportAccepted"] = Claim(False, "Malformed", seen.report_problem)
    elif any(condition.type == "ReportAccepted" for condition in status.conditions):
        claims["ReportAccepted"] = Claim(True, "AsExpected")
    update = {
        "observed_generation": seen.generation,
        "phase": phase,
        "conditions": merged(status.conditions, claims, seen.generation, now),
        "workers": Workers(
            desired=spec.num_workers if current else 0,
            ready=rayjob.ready_workers if rayjob and current else 0,
        ),
        "queue": Queue(name=queue, admitted=admitted) if queue else None,
        "dashboard_url": rayjob.dashboard or None if rayjob and current else None,
    }
    status = status.model_copy(update=update)
    if current is not None and seen.report is not None and seen.report.attempt == current.number:
        status = _with_report(spec, status, seen.report)
    return status.model_copy(update={"cost": _cost(spec, status)})


def refused(
    status: TrainingJobStatus, generation: int, message: str, now: datetime
) -> TrainingJobStatus:
    """The status of a job whose spec makes no sense; an older CRD has let it in."""
    claims = {
        "Ready": Claim(False, "InvalidSpec", message),
        "Reconciling": Claim(False, "InvalidSpec"),
        "Stalled": Claim(True, "InvalidSpec", message),
    }
    conditions = merged(status.conditions, claims, generation, now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def _phase(
    spec: TrainingJobSpec, status: TrainingJobStatus, rayjob: RayJobView | None, *, queued: bool
) -> Phase:
    current = running(status)
    if status.completion_time is not None:
        failed = status.attempts[-1].cause is not None if status.attempts else True
        return Phase.FAILED if failed else Phase.SUCCEEDED
    if spec.run_policy.suspend and current is None:
        return Phase.SUSPENDED
    if current is None:
        return Phase.RETRYING if status.retry_time is not None else Phase.PENDING
    if rayjob is not None and rayjob.deployment == "Running":
        return Phase.RUNNING
    return Phase.QUEUED if queued else Phase.PROVISIONING


_READY = {
    Phase.PENDING: "the job waits to be started",
    Phase.QUEUED: "the job waits in its queue",
    Phase.PROVISIONING: "the Ray cluster is being made",
    Phase.RUNNING: "training runs",
    Phase.RETRYING: "the last attempt failed; the next one is due",
    Phase.SUSPENDED: "runPolicy.suspend is set",
}


def _claims(
    status: TrainingJobStatus, phase: Phase, rayjob: RayJobView | None, seen: Observed
) -> dict[str, Claim]:
    done, failed = phase is Phase.SUCCEEDED, phase is Phase.FAILED
    blocked = seen.blocked if not (done or failed or phase is Phase.SUSPENDED) else None
    reason, message = phase.value, _READY.get(phase, "")
    if done:
        reason, message = "Completed", "training succeeded"
    elif failed and status.last_error is not None:
        reason, message = status.last_error.reason, status.last_error.message
    elif blocked is not None:
        reason, message = blocked.reason, blocked.message
    stalled = failed or (blocked is not None and blocked.permanent)
    busy = not (done or failed or phase is Phase.SUSPENDED or stalled)
    trains = phase is Phase.RUNNING
    cluster = bool(trains and rayjob)
    word = reason if stalled else "AsExpected"
    return {
        "Ready": Claim(done, reason, message),
        "Reconciling": Claim(busy, reason, message if busy else ""),
        "Stalled": Claim(stalled, word, message if stalled else ""),
        "ClusterReady": Claim(cluster, "ClusterReady" if cluster else "NoCluster"),
        "Running": Claim(trains, "Training" if trains else "NotTraining"),
        "Succeeded": Claim(done, "Completed" if done else "NotCompleted"),
        "Failed": Claim(failed, reason if failed else "NotFailed", message if failed else ""),
        "Suspended": Claim(
            phase is Phase.SUSPENDED, "Suspended" if phase is Phase.SUSPENDED else "NotSuspended"
        ),
    }


def _with_report(
    spec: TrainingJobSpec, status: TrainingJobStatus, report: Report
) -> TrainingJobStatus:
    lineage = Lineage(inputs=report.inputs, image=spec.image)
    return status.model_copy(
        update={
            "progress": report.progress or status.progress,
            "metrics": _objective_first(spec, report.metrics) or status.metrics,
            "checkpoint": report.checkpoint or status.checkpoint,
            "artifacts": report.artifacts or status.artifacts,
            "lineage": lineage if report.inputs or spec.image else status.lineage,
        }
    )


def _objective_first(spec: TrainingJobSpec, metrics: list[MetricValue]) -> list[MetricValue]:
    objective = spec.metrics.objective
    if objective is None:
        return metrics
    return sorted(metrics, key=lambda metric: metric.name != objective.metric)


def _cost(spec: TrainingJobSpec, status: TrainingJobStatus) -> Cost:
    """Of attempts that ended: counting the running one would write the status every second."""
    seconds = sum(
        (attempt.end_time - attempt.running_time).total_seconds()
        for attempt in status.attempts
        if attempt.end_time is not None and attempt.running_time is not None
    )
    workers, resources = spec.num_workers, spec.resources_per_worker
    gpus = resources.gpu * max(1, workers)
    cores = _cores(resources) * max(1, workers)
    if workers:
        cores += _cores(spec.head.resources)
    return Cost(
        gpu_seconds=round(gpus * seconds),
        cpu_seconds=math.ceil(cores * seconds),
        billable_seconds=math.ceil(seconds),
    )


def _cores(resources: Resources) -> float:
    return float(quantity.parse(resources.cpu))
