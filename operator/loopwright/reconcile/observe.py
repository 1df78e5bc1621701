"""Reads a job's children from the cache, and what it needs from the API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.jobspec import queue_of
from loopwright.api.report import FINAL_STATES, MAX_REPORT_BYTES, JobReport
from loopwright.api.resources import (
    CLAIM,
    CONFIGMAP,
    LOCALQUEUE,
    PRIORITYCLASS,
    RAYJOB,
    SECRET,
    Key,
    Resource,
)
from loopwright.api.trainingjob_status import JobStatus
from loopwright.decide.summary import running
from loopwright.decide.types import Blocked, Observed
from loopwright.desired.context import JobContext
from loopwright.kube.cache import owner_of
from loopwright.kube.errors import KindMissing, NameTaken, NotFound
from loopwright.reconcile.children import adopt, covers, owners
from loopwright.reconcile.context import Context
from loopwright.reconcile.queue import in_queue
from loopwright.reconcile.rayjobs import views
from loopwright.reconcile.status import first_problem


async def observe(
    ctx: Context,
    key: Key,
    obj: dict[str, Any],
    status: JobStatus,
    job: JobContext | None,
    model: type[JobReport],
) -> Observed:
    """What is there, without asking the API server for more than the decision needs."""
    uid = obj["metadata"]["uid"]
    await _find_lost(ctx, key, status, job)
    rayjobs = views(ctx, key, uid)
    mailbox = ctx.cache.get(
        Key(CONFIGMAP.kind, key.namespace, names.report_name(key.kind, key.name))
    )
    report, problem = _parse(mailbox, uid, model)
    current = rayjobs.get(status.attempt)
    begun = running(status) is not None and status.attempt in rayjobs
    waiting = status.completion_time is None and not begun
    # Something ended an attempt, or its beginning, without a word.
    silent = waiting and status.attempt > 0 and report is None
    over = current.terminal or current.deleting if current else running(status) is not None
    if silent or (over and not _final(report, status.attempt)):
        # The last report is stored before KubeRay ends, or somebody takes the RayJob away, but its
        # watch event may come after.
        mailbox = await _fresh_mailbox(ctx, key)
        report, problem = _parse(mailbox, uid, model)
    queued = None
    if job is not None and queue_of(job.spec) is not None:
        rayjobs, queued = await in_queue(ctx, key, uid, status, rayjobs, report)
    blocked = _former(ctx, key, uid) if waiting else None
    if blocked is None and silent and mailbox is not None and (taken := _taken(mailbox, uid)):
        blocked = Blocked(NameTaken.reason, taken)
    if blocked is None and waiting and job is not None:
        blocked = await _blocked(ctx, job)
    generation = obj["metadata"]["generation"]
    return Observed(
        key.name, generation, rayjobs, report, blocked, problem, uid=uid, workload=queued
    )


async def _find_lost(ctx: Context, key: Key, status: JobStatus, job: JobContext | None) -> None:
    """Looks once more for a RayJob that seems to be gone.

    It may merely have lost its label, or the cache may be old. Whoever took it for gone would start
    another that trains beside it.
    """
    attempt = running(status)
    if attempt is None or attempt.ray_job_uid is None or job is None:
        return
    known = ctx.cache.get(Key(RAYJOB.kind, key.namespace, attempt.ray_job))
    wanted = {"metadata": job.metadata(attempt.ray_job, attempt.number)}
    if known is not None and covers(known["metadata"], wanted["metadata"]):
        return
    try:
        found = await ctx.client.get(RAYJOB, key.namespace, attempt.ray_job)
    except (NotFound, KindMissing):
        return
    if found["metadata"]["uid"] == attempt.ray_job_uid:
        await adopt(ctx, found, wanted)


def _former(ctx: Context, key: Key, uid: str) -> Blocked | None:
    """The RayJob of a deleted job of this name, which may still train into the same output."""
    for obj in ctx.cache.children(key, RAYJOB.kind):
        if uid not in owners(obj):
            name = obj["metadata"]["name"]
            text = f"RayJob '{name}' of a former job of this name is still being deleted"
            return Blocked(NameTaken.reason, text)
    return None


def _final(report: JobReport | None, attempt: int) -> bool:
    return report is not None and report.attempt == attempt and report.state in FINAL_STATES


async def _fresh_mailbox(ctx: Context, key: Key) -> dict[str, Any] | None:
    try:
        found = await ctx.client.get(
            CONFIGMAP, key.namespace, names.report_name(key.kind, key.name)
        )
    except NotFound:
        return None
    found |= {"apiVersion": CONFIGMAP.api_version, "kind": CONFIGMAP.kind}
    if owner_of(found) == key:
        # What has no label no watch tells of.
        ctx.cache.observe(None, found)
    return found


def _parse(
    configmap: dict[str, Any] | None, uid: str, model: type[JobReport]
) -> tuple[JobReport | None, str | None]:
    """The mailbox's content, or what is wrong with it: anyone in the pod may write there."""
    if configmap is not None and uid not in owners(configmap):
        return None, _taken(configmap, uid)
    text = ((configmap or {}).get("data") or {}).get(names.REPORT_KEY)
    if text is None:
        return None, None
    if len(text.encode()) > MAX_REPORT_BYTES:
        return None, f"the report exceeds {MAX_REPORT_BYTES} bytes and is ignored"
    try:
        return model.model_validate_json(text), None
    except ValidationError as error:
        return None, f"the report is malformed and ignored: {first_problem(error)}"


def _taken(configmap: dict[str, Any], uid: str) -> str | None:
    """That somebody else has the mailbox's name; not said of a former job of this name."""
    meta = configmap["metadata"]
    if uid in owners(configmap) or names.LABEL_NAME in (meta.get("labels") or {}):
        return None
    return f"ConfigMap '{meta['name']}' exists and is not Loopwright's; delete it"


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
    for name, remedy in job.configmaps():
        yield CONFIGMAP, name, remedy
    for claim in sorted(job.claims()):
        yield CLAIM, claim, "create it, or change the pvc:// URI that names it"
    for secret in sorted(job.secrets()):
        yield SECRET, secret, "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if spec.scheduling is not None and spec.scheduling.queue is not None:
        yield LOCALQUEUE, spec.scheduling.queue, "create the queue"
    if spec.scheduling is not None and spec.scheduling.priority_class is not None:
        yield PRIORITYCLASS, spec.scheduling.priority_class, "create it, or name another"
