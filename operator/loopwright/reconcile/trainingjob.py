"""Reconciles one TrainingJob: observe, decide, write the status if it changed, then act."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from loopwright import metrics
from loopwright.api.trainingjob import TrainingJob, TrainingJobSpec
from loopwright.api.trainingjob_status import TrainingJobStatus
from loopwright.decide.outcome import remaining
from loopwright.decide.summary import refused
from loopwright.decide.trainingjob import decide
from loopwright.decide.types import Action, Blocked, Decision, DeleteRayJob, Observed, StartAttempt
from loopwright.desired.context import AttemptContext, JobContext
from loopwright.desired.rayjob import rayjob
from loopwright.desired.support import support
from loopwright.kube import events
from loopwright.kube.errors import ApiError, Forbidden, Invalid, KindMissing
from loopwright.kube.resources import RAYJOB, TRAININGJOB, Key
from loopwright.reconcile.context import Context
from loopwright.reconcile.observe import observe

MAX_PROBLEM: Final = 512
NO_OUTPUT: Final = Blocked(
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
            seen = replace(seen, blocked=NO_OUTPUT)
    except ValidationError as error:
        # Nothing can be decided about it, and only a person can help.
        generation = obj["metadata"]["generation"]
        await write_status(ctx, obj, refused(status, generation, _first(error), ctx.now()))
        return None
    return await _step(ctx, _Job(key, obj, job.spec, status, context), seen)


@dataclass(frozen=True)
class _Job:
    """A job as it is stored, and what the operator adds to its spec."""

    key: Key
    obj: dict[str, Any]
    spec: TrainingJobSpec
    status: TrainingJobStatus
    context: JobContext | None


async def _step(ctx: Context, job: _Job, seen: Observed) -> float | None:
    decision = decide(job.spec, job.status, seen, ctx.now())
    if StartAttempt(job.status.attempt) in decision.actions:
        # The attempt is on record already. What refused it then may well do so again, and only the
        # end of that is news.
        blocked = await _start(ctx, job, job.status, job.status.attempt)
        seen = replace(seen, blocked=blocked)
        decision = replace(decide(job.spec, job.status, seen, ctx.now()), actions=())
    obj, decision = await _write(ctx, job, seen, decision)
    metrics.record(job.key.namespace, job.spec, job.status, decision.status)
    for happening in decision.happenings:
        await events.emit(
            ctx.client, obj, happening.kind, happening.reason, happening.message, ctx.now()
        )
    for action in decision.actions:
        blocked = await _act(ctx, job, decision.status, action)
        if blocked is not None:
            seen = replace(seen, blocked=blocked)
            again = decide(job.spec, decision.status, seen, ctx.now())
            await write_status(ctx, obj, again.status)
            return again.requeue
    return decision.requeue


async def _write(
    ctx: Context, job: _Job, seen: Observed, decision: Decision
) -> tuple[dict[str, Any], Decision]:
    """Stores the decision; without the report when what the pods wrote cannot be stored."""
    try:
        return await write_status(ctx, job.obj, decision.status), decision
    except Invalid as error:
        if seen.report is None:
            raise
        problem = f"the report cannot be stored and is ignored: {error.message[:MAX_PROBLEM]}"
        seen = replace(seen, report=None, report_problem=problem)
        decision = decide(job.spec, job.status, seen, ctx.now())
        return await write_status(ctx, job.obj, decision.status), decision


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"


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
    ctx: Context, job: _Job, status: TrainingJobStatus, action: Action
) -> Blocked | None:
    """Does what was decided. A refusal that time or a person can lift is returned, not raised."""
    key = job.key
    if isinstance(action, StartAttempt):
        return await _start(ctx, job, status, action.number)
    if isinstance(action, DeleteRayJob):
        await ctx.client.delete(RAYJOB, key.namespace, action.name, action.uid)
    else:
        await ctx.client.delete(TRAININGJOB, key.namespace, key.name, None)
    return None


async def _start(ctx: Context, job: _Job, status: TrainingJobStatus, number: int) -> Blocked | None:
    if job.context is None:
        return NO_OUTPUT
    attempt = AttemptContext(
        number=number,
        remaining_seconds=remaining(job.spec, status),
        on_demand=_gave_up_on_spot(job.spec, status),
    )
    try:
        *unordered, binding = support(job.context)
        children = await asyncio.gather(*map(ctx.client.apply, unordered))
        for child in (binding, rayjob(job.context, attempt)):
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
