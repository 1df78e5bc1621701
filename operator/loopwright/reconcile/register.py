"""Makes the ModelVersion of a finished job, and its Model when there is none."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from loopwright.api.conditions import MAX_MESSAGE
from loopwright.api.report import ModelReport
from loopwright.api.resources import MODEL, MODELVERSION, Key
from loopwright.decide.register import T, Trains
from loopwright.decide.types import Blocked
from loopwright.desired import registry
from loopwright.desired.training import TrainingContext
from loopwright.kube.errors import Conflict, Forbidden, Invalid, KindMissing, NameTaken, NotFound
from loopwright.reconcile.context import Context
from loopwright.reconcile.job import Stored
from loopwright.reconcile.status import first_problem


async def register(ctx: Context, stored: Stored[T], reported: ModelReport | None) -> Blocked | None:
    """Makes the version that the status names; one that the job has made already is left alone.

    Returns:
        Why it cannot be made, when time or a person can mend that.

    Raises:
        ApiError: the API server is overloaded, broken, or knows of something newer.
    """
    job, context, status = stored.job, stored.context, stored.status
    if not isinstance(context, TrainingContext):
        return stored.blocked
    assert isinstance(job, Trains)
    assert job.register is not None
    meta, uri = stored.obj["metadata"], (status.artifacts and status.artifacts.model_uri) or ""
    if not uri.startswith(f"{context.output_uri}/"):
        # Code in the pods says so, which must not lend the job's credentials to other places.
        text = f"the report places the model at {uri}, which is outside of output.uri"
        return Blocked("ReportInvalid", text[:MAX_MESSAGE], permanent=True)
    model, notes = job.register.model, meta.get("annotations") or {}
    try:
        wanted = registry.model_version(context, job.register, status, reported, notes)
        await _model(ctx, model, meta["namespace"])
        await _version(ctx, wanted, meta["uid"])
        ctx.wake(Key(MODEL.kind, meta["namespace"], model))
    except ValidationError as error:
        text = f"the report tells of no model that can be registered: {first_problem(error)}"
        return Blocked("ReportInvalid", text[:MAX_MESSAGE], permanent=True)
    except KindMissing:
        text = "ModelVersion is unknown to this cluster; apply the CRDs of this release"
        return Blocked("DependencyMissing", text)
    except (Forbidden, NameTaken, Invalid) as error:
        permanent = not isinstance(error, Forbidden)  # A quota may be freed, or a policy changed.
        return Blocked(error.reason, error.message[:MAX_MESSAGE], permanent)
    return None


async def _model(ctx: Context, name: str, namespace: str) -> None:
    if ctx.cache.get(Key(MODEL.kind, namespace, name)) is not None:
        return
    try:
        made = await ctx.client.create(MODEL, registry.model(name, namespace))
    except Conflict:
        # Somebody's, which is not ours to change; a quota that was busy is told the same way.
        if await ctx.client.exists(MODEL, namespace, name):
            return
        raise
    ctx.cache.observe(None, made)


async def _version(ctx: Context, wanted: dict[str, Any], uid: str) -> None:
    try:
        found = await ctx.client.create(MODELVERSION, wanted)
    except Conflict:
        found = await _existing(ctx, wanted, uid)
    ctx.cache.observe(None, found)


async def _existing(ctx: Context, wanted: dict[str, Any], uid: str) -> dict[str, Any]:
    meta = wanted["metadata"]
    try:
        found = await ctx.client.get(MODELVERSION, meta["namespace"], meta["name"])
    except NotFound as error:
        raise Conflict(error.message) from error
    lineage = found["spec"].get("lineage") or {}
    if uid not in {(lineage.get(maker) or {}).get("uid") for maker in registry.MAKERS.values()}:
        text = f"ModelVersion '{meta['name']}' exists and is not of this job"
        raise NameTaken(f"{text}; create the job anew, which gives its version another name")
    return found | {"apiVersion": MODELVERSION.api_version, "kind": MODELVERSION.kind}
