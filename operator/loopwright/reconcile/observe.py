"""Reads a TrainingJob's children from the cache, and what it needs from the API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.report import FINAL_STATES, MAX_REPORT_BYTES, Report
from loopwright.api.trainingjob_status import TrainingJobStatus
from loopwright.decide.types import Blocked, Observed, RayJobView
from loopwright.desired.context import JobContext
from loopwright.desired.pods import claims, secrets
from loopwright.kube.errors import KindMissing, NotFound
from loopwright.kube.resources import (
    CLAIM,
    CONFIGMAP,
    LOCALQUEUE,
    PRIORITYCLASS,
    RAYCLUSTER,
    RAYJOB,
    SECRET,
    Key,
    Resource,
)
from loopwright.reconcile.context import Context


async def observe(
    ctx: Context, key: Key, obj: dict[str, Any], status: TrainingJobStatus, job: JobContext | None
) -> Observed:
    """What is there, without asking the API server for more than the decision needs."""
    rayjobs = {view.attempt: view for view in _rayjobs(ctx, key)}
    mailbox = ctx.cache.get(Key(CONFIGMAP.kind, key.namespace, names.report_name(key.name)))
    report, problem = _parse(mailbox)
    current = rayjobs.get(status.attempt)
    if current is not None and current.terminal and not _final(report, status.attempt):
        # The last report is stored before KubeRay ends, but its watch event may come after.
        report, problem = _parse(await _fresh_mailbox(ctx, key))
    waiting = status.completion_time is None and status.attempt not in rayjobs
    blocked = await _blocked(ctx, job) if waiting and job is not None else None
    return Observed(key.name, obj["metadata"]["generation"], rayjobs, report, blocked, problem)


def _rayjobs(ctx: Context, key: Key) -> Iterator[RayJobView]:
    clusters = {c["metadata"]["name"]: c for c in ctx.cache.children(key, RAYCLUSTER.kind)}
    for obj in ctx.cache.children(key, RAYJOB.kind):
        status, meta = obj.get("status") or {}, obj["metadata"]
        cluster = status.get("rayClusterName", "")
        live = (clusters.get(cluster) or {}).get("status") or {}
        yield RayJobView(
            name=meta["name"],
            uid=meta["uid"],
            attempt=int(meta["labels"][names.LABEL_ATTEMPT]),
            deployment=status.get("jobDeploymentStatus", ""),
            job=status.get("jobStatus", ""),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            cluster=cluster,
            dashboard=status.get("dashboardURL", ""),
            ready_workers=live.get("readyWorkerReplicas", 0),
            deleting="deletionTimestamp" in meta,
        )


def _final(report: Report | None, attempt: int) -> bool:
    return report is not None and report.attempt == attempt and report.state in FINAL_STATES


async def _fresh_mailbox(ctx: Context, key: Key) -> dict[str, Any] | None:
    try:
        found = await ctx.client.get(CONFIGMAP, key.namespace, names.report_name(key.name))
    except NotFound:
        return None
    found |= {"apiVersion": CONFIGMAP.api_version, "kind": CONFIGMAP.kind}
    ctx.cache.observe(None, found)
    return found


def _parse(configmap: dict[str, Any] | None) -> tuple[Report | None, str | None]:
    """The mailbox's content, or what is wrong with it: anyone in the pod may write there."""
    text = ((configmap or {}).get("data") or {}).get(names.REPORT_KEY)
    if text is None:
        return None, None
    if len(text.encode()) > MAX_REPORT_BYTES:
        return None, f"the report exceeds {MAX_REPORT_BYTES} bytes and is ignored"
    try:
        return Report.model_validate_json(text), None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return None, f"the report is malformed and ignored: {where}: {first['msg']}"


async def _blocked(ctx: Context, job: JobContext) -> Blocked | None:
    """The first thing that the job names and that is not there."""
    for resource, name, remedy in _needs(job):
        try:
            namespace = None if resource is PRIORITYCLASS else job.namespace
            found = await ctx.client.exists(resource, namespace, name)
        except KindMissing:
            text = f"{resource.kind} is unknown to this cluster; install Kueue, or set no queue"
            return Blocked("DependencyMissing", text)
        if not found:
            where = f" in namespace '{namespace}'" if namespace else ""
            text = f"{resource.kind} '{name}' is missing{where}; {remedy}"
            return Blocked(f"{resource.kind}NotFound", text)
    return None


def _needs(job: JobContext) -> Iterator[tuple[Resource, str, str]]:
    spec = job.spec
    if spec.script is not None and spec.script.config_map_ref is not None:
        file = spec.script.path or "train.py"
        yield CONFIGMAP, spec.script.config_map_ref.name, f"create it with the key {file}"
    for one in spec.inputs:
        if one.source.config_map_ref is not None:
            yield CONFIGMAP, one.source.config_map_ref.name, f"input '{one.name}' reads it"
    for claim in sorted(claims(job)):
        yield CLAIM, claim, "create it, or change the pvc:// URI that names it"
    for secret in sorted(secrets(job)):
        yield SECRET, secret, "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if spec.scheduling is not None and spec.scheduling.queue is not None:
        yield LOCALQUEUE, spec.scheduling.queue, "create the queue"
    if spec.scheduling is not None and spec.scheduling.priority_class is not None:
        yield PRIORITYCLASS, spec.scheduling.priority_class, "create it, or name another"
