"""What Kueue says of a job that waits in its queue, or that it has taken out of the cluster."""

from __future__ import annotations

from typing import Any, Final

from loopwright.api.conditions import MAX_MESSAGE
from loopwright.api.report import JobReport, RunState
from loopwright.api.resources import RAYJOB, WORKLOAD, Key
from loopwright.api.trainingjob_status import JobStatus
from loopwright.decide.types import RayJobView, WorkloadView
from loopwright.kube.errors import Forbidden, KindMissing, NotFound
from loopwright.reconcile.context import Context
from loopwright.reconcile.rayjobs import views

# Kueue labels the Workload that it makes for an object with the object's uid.
OF_JOB: Final = "kueue.x-k8s.io/job-uid"
MAX_NAME: Final = 253


async def in_queue(
    ctx: Context,
    key: Key,
    uid: str,
    status: JobStatus,
    rayjobs: dict[int, RayJobView],
    report: JobReport | None,
) -> tuple[dict[int, RayJobView], WorkloadView | None]:
    """The RayJobs of a job in a queue, and Kueue's word on the current one while it is held back.

    Args:
        rayjobs: By attempt, as the cache has them; what is told may be newer.
    """
    current = rayjobs.get(status.attempt)
    if current is None:
        return rayjobs, None
    if not current.held and _stopped(report, status.attempt):
        if await _seen_again(ctx, key.namespace, current):
            rayjobs = views(ctx, key, uid)
            current = rayjobs.get(status.attempt, current)
    if status.completion_time is not None or not current.held:
        return rayjobs, None
    return rayjobs, await workload(ctx, key.namespace, current)


def _stopped(report: JobReport | None, attempt: int) -> bool:
    if report is None or report.attempt != attempt:
        return False
    return report.state is RunState.STOPPED


async def workload(ctx: Context, namespace: str, rayjob: RayJobView) -> WorkloadView | None:
    """The newest word of Kueue about a RayJob that it holds back; None when it has said nothing.

    It is asked for and not watched: most Workloads of a cluster are not ours, each holds whole pod
    templates, and all that depends on it is what people read. RayJobs tell when one is let go.
    """
    try:
        pages = ctx.client.pages(WORKLOAD, namespace, f"{OF_JOB}={rayjob.uid}")
        found = [one async for page in pages for one in page["items"]]
    except (KindMissing, Forbidden):
        return None  # Without Kueue, or an older chart's rights, its words are missing; no more.
    views = [_view(one) for one in sorted(found, key=_age)]
    return views[-1] if views else None


def _age(obj: dict[str, Any]) -> str:
    return str(obj["metadata"].get("creationTimestamp", ""))


def _view(obj: dict[str, Any]) -> WorkloadView:
    status = obj.get("status") or {}
    told = {one["type"]: one for one in status.get("conditions") or ()}
    name = obj["metadata"]["name"][:MAX_NAME]
    if (obj.get("spec") or {}).get("active") is False:
        text = "the Workload was deactivated; set its spec.active to true to queue it again"
        return WorkloadView(name, "Deactivated", text)
    # The detail of an eviction is in a condition of its own.
    for kind in ("Preempted", "Evicted"):
        if (one := told.get(kind, {})).get("status") == "True":
            return WorkloadView(name, kind, one.get("message", "")[:MAX_MESSAGE])
    quota = told.get("QuotaReserved", {})
    if quota.get("status") == "False":
        reason = quota.get("reason") or "Pending"
        return WorkloadView(name, reason, quota.get("message", "")[:MAX_MESSAGE])
    return WorkloadView(name)


async def _seen_again(ctx: Context, namespace: str, rayjob: RayJobView) -> bool:
    """Reads a RayJob anew whose pods were told to stop; returns whether it was news.

    Kueue's hold on it is stored before KubeRay ends its pods, but the watch may tell later.
    """
    try:
        found = await ctx.client.get(RAYJOB, namespace, rayjob.name)
    except NotFound:
        return False
    found |= {"apiVersion": RAYJOB.api_version, "kind": RAYJOB.kind}
    return ctx.cache.observe(None, found) is not None
