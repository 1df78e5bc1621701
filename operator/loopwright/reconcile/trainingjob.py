"""Reconciles one TrainingJob: observe, decide, write the status if it changed, then act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from loopwright import metrics
from loopwright.api.trainingjob import TrainingJob, TrainingJobSpec
from loopwright.api.trainingjob_status import TrainingJobStatus
from loopwright.decide.outcome import remaining
from loopwright.decide.summary import refused
from loopwright.decide.trainingjob import decide
from loopwright.decide.types import Action, Blocked, DeleteRayJob, Observed, StartAttempt
from loopwright.desired.context import AttemptContext, JobContext
from loopwright.desired.rayjob import rayjob
from loopwright.desired.support import support
from loopwright.kube import events
from loopwright.kube.errors import ApiError, Forbidden, Invalid, KindMissing
from loopwright.kube.resources import RAYJOB, TRAININGJOB, Key
from loopwright.reconcile.context import Context
from loopwright.reconcile.observe import observe

NO_OUTPUT = Blocked(
    "OutputMissing",
    "create the job anew with spec.output.uri, or set the operator's LOOPWRIGHT_DEFAULT_OUTPUT",
    permanent=True,
)


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Brings a job one step further.

    Returns:
        Seconds after which it wants to be looked at without an event, or None.

    Raises:
        ApiError: the API server refused; the queue tries again later.
    """
    obj = ctx.cache.get(key)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None  # Owner references do the rest.
    status = TrainingJobStatus.model_validate(obj.get("status") or {})
    try:
        job = TrainingJob.model_validate(obj)
        context = job_context(ctx, key, obj, job.spec)
        seen = await observe(ctx, key, obj, status, context)
        if context is None:
            seen = _replaced(seen, NO_OUTPUT)
    except ValidationError as error:
        # Nothing can be decided about it, and only a person can help.
        generation = obj["metadata"]["generation"]
        await write_status(ctx, obj, refused(status, generation, _first(error), ctx.now()))
        return None
    decision = decide(job.spec, status, seen, ctx.now())
    obj = await write_status(ctx, obj, decision.status)
    metrics.record(key.namespace, job.spec, status, decision.status)
    for happening in decision.happenings:
        await events.emit(
            ctx.client, obj, happening.kind, happening.reason, happening.message, ctx.now()
        )
    for action in decision.actions:
        blocked = await _act(ctx, key, context, decision.status, action)
        if blocked is not None:
            again = decide(job.spec, decision.status, _replaced(seen, blocked), ctx.now())
            await write_status(ctx, obj, again.status)
            return again.requeue
    return decision.requeue


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"


def _replaced(seen: Observed, blocked: Blocked) -> Observed:
    return replace(seen, blocked=blocked)


def job_context(
    ctx: Context, key: Key, obj: dict[str, Any], spec: TrainingJobSpec
) -> JobContext | None:
    """The job with the operator's defaults, or None when it has nowhere to put its results."""
    output = spec.output.uri if spec.output else ctx.settings.default_output
    if not output:
        return None
    output = output.replace("{namespace}", key.namespace).replace("{name}", key.name).rstrip("/")
    checkpoint = spec.checkpoint.uri if spec.checkpoint and spec.checkpoint.uri else None
    return JobContext(
        name=key.name,
        namespace=key.namespace,
        uid=obj["metadata"]["uid"],
        spec=spec,
        image=spec.image or ctx.settings.runtime_image,
        ray_version=spec.ray_version or ctx.settings.ray_version,
        output_uri=output,
        checkpoint_uri=(checkpoint or f"{output}/checkpoints").rstrip("/"),
    )


async def write_status(
    ctx: Context, obj: dict[str, Any], status: TrainingJobStatus
) -> dict[str, Any]:
    """Stores a status unless it is there already; returns the object as it is stored."""
    wire = status.wire()
    if wire == (obj.get("status") or {}):
        return obj
    stored = await ctx.client.patch_status(TRAININGJOB, obj, wire)
    ctx.cache.observe(None, stored)
    return stored


async def _act(
    ctx: Context,
    key: Key,
    job: JobContext | None,
    status: TrainingJobStatus,
    action: Action,
) -> Blocked | None:
    """Does what was decided. A refusal that time or a person can lift is returned, not raised."""
    if isinstance(action, DeleteRayJob):
        await ctx.client.delete(RAYJOB, key.namespace, action.name, action.uid)
    elif isinstance(action, StartAttempt) and job is not None:
        return await _start(ctx, job, status, action.number)
    elif not isinstance(action, StartAttempt):
        await ctx.client.delete(TRAININGJOB, key.namespace, key.name, None)
    return None


async def _start(
    ctx: Context, job: JobContext, status: TrainingJobStatus, number: int
) -> Blocked | None:
    attempt = AttemptContext(
        number=number,
        remaining_seconds=remaining(job.spec, status),
        on_demand=_gave_up_on_spot(job.spec, status),
    )
    try:
        *unordered, binding = support(job)
        children = await asyncio.gather(*map(ctx.client.apply, unordered))
        for child in (binding, rayjob(job, attempt)):
            children.append(await ctx.client.apply(child))
        for child in children:
            ctx.cache.observe(None, child)
    except (KindMissing, Forbidden, Invalid) as error:
        return _refused(error)
    return None


def _refused(error: ApiError) -> Blocked:
    if isinstance(error, KindMissing):
        text = "RayJob is unknown to this cluster; install KubeRay 1.6 or newer"
        return Blocked("DependencyMissing", text)
    # A quota may be freed and a policy be changed without anybody touching the job.
    return Blocked(error.reason, error.message, permanent=isinstance(error, Invalid))


def _gave_up_on_spot(spec: TrainingJobSpec, status: TrainingJobStatus) -> bool:
    limit = spec.spot.fallback_on_demand_after if spec.spot else None
    return limit is not None and status.failures.infrastructure >= limit
