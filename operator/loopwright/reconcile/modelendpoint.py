"""Reconciles one ModelEndpoint: observe, decide, write the status if it changed, then act."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from loopwright import metrics
from loopwright.api.modelendpoint import ModelEndpoint
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.monitoring_status import RetrainOutcome
from loopwright.api.resources import MODELENDPOINT, Key
from loopwright.decide.endpoint_cost import accrued
from loopwright.decide.endpoint_types import EndpointDecision, Seen
from loopwright.decide.modelendpoint import decide
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.kube.errors import Unavailable
from loopwright.reconcile.children import was_old
from loopwright.reconcile.context import Context
from loopwright.reconcile.endpoint_children import Refusals, bring_about
from loopwright.reconcile.endpoint_observe import observe
from loopwright.reconcile.monitoring import measured
from loopwright.reconcile.status import refuse, store


@dataclass(frozen=True)
class _Endpoint:
    """An endpoint as it is stored, and what is there."""

    key: Key
    obj: dict[str, Any]
    context: EndpointContext
    seen: Seen
    models: dict[str, ModelSource]


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Brings an endpoint one step further.

    Returns:
        Seconds after which it wants to be looked at without an event, or None.

    Raises:
        ApiError: the API server refused; the queue tries again later.
    """
    obj = ctx.cache.get(key)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        ctx.agreed.pop(key, None)
        return None  # Owner references do the rest.
    # At first sight: a status of the past would bring former revisions back, and delete new ones.
    if obj.get("status") and key not in ctx.agreed and await was_old(ctx, MODELENDPOINT, key, obj):
        return 0.0
    status = ModelEndpointStatus.model_validate(obj.get("status") or {})
    try:
        parsed = ModelEndpoint.model_validate(obj)
    except ValidationError as error:
        await refuse(ctx, MODELENDPOINT, obj, status, error)
        return None
    context = EndpointContext(
        name=key.name,
        namespace=key.namespace,
        uid=obj["metadata"]["uid"],
        spec=parsed.spec,
        serving_images=_images(ctx),
        prometheus_url=ctx.settings.prometheus_url,
        pull_secrets=ctx.settings.image_pull_secrets,
    )
    seen, models = await observe(ctx, key, obj, status, context)
    context = replace(context, metrics=measured(ctx, key, parsed.spec, models))
    return await _step(ctx, _Endpoint(key, obj, context, seen, models), status)


def _images(ctx: Context) -> dict[str, str]:
    settings = ctx.settings
    return {"onnx": settings.serving_image, "safetensors": settings.torch_serving_image}


async def _step(ctx: Context, endpoint: _Endpoint, status: ModelEndpointStatus) -> float | None:
    # What is on record already comes first: what refused it before may well do so again, and only
    # the end of that is news.
    told = await _bring_about(ctx, endpoint, status)
    obj, decision = await _decide(ctx, endpoint, endpoint.obj, status, told)
    if not _same(decision.status, status):
        again = await _bring_about(ctx, endpoint, decision.status)
        if again != told:
            _, last = await _decide(ctx, endpoint, obj, decision.status, again)
            return last.requeue
    return decision.requeue


def _same(after: ModelEndpointStatus, before: ModelEndpointStatus) -> bool:
    """Whether two statuses call for the same children."""
    return _plan(after) == _plan(before)


def _plan(status: ModelEndpointStatus) -> list[object]:
    parts = [
        (v.name, v.serving, v.next, v.rollout.percent if v.rollout else None, v.held)
        for v in status.variants
    ]
    pending = [one for one in status.retrains if one.outcome is RetrainOutcome.PENDING]
    tried = status.experiment
    trial = (tried.run, tried.state, tried.promoted) if tried is not None else None
    return [*parts, *status.retired, *pending, trial]


async def _bring_about(ctx: Context, endpoint: _Endpoint, status: ModelEndpointStatus) -> Refusals:
    return await bring_about(
        ctx, endpoint.key, endpoint.context, status, endpoint.seen, endpoint.models
    )


async def _decide(
    ctx: Context,
    endpoint: _Endpoint,
    obj: dict[str, Any],
    status: ModelEndpointStatus,
    told: Refusals,
) -> tuple[dict[str, Any], EndpointDecision]:
    scaling = {**endpoint.seen.scaling, **(told.scaling or {})}
    jobs = {**endpoint.seen.jobs, **told.jobs}
    seen = replace(endpoint.seen, blocked=told.blocked, scaling=scaling, jobs=jobs)
    decision = decide(endpoint.context.spec, status, seen, ctx.now())
    counted = accrued(endpoint.context.spec, status, decision.status, ctx.prices(), ctx.now())
    decision = replace(decision, status=counted)
    try:
        stored = await store(ctx, MODELENDPOINT, obj, decision.status)
    except Unavailable:
        # It may be stored, and then nobody would tell. Saying it twice changes nothing.
        _tell(ctx, obj, status, seen, decision)
        raise
    _tell(ctx, stored, status, seen, decision)
    if counted.cost is not None:
        old = status.cost.estimate if status.cost else None
        metrics.spent(endpoint.key, old, counted.cost.estimate)
    for one in decision.happenings:
        if one.reason in metrics.OUTCOMES:
            metrics.ROLLOUTS.labels(one.reason).inc()
    return stored, decision


def _tell(
    ctx: Context,
    obj: dict[str, Any],
    before: ModelEndpointStatus,
    seen: Seen,
    decision: EndpointDecision,
) -> None:
    """Tells people what happens, and what is refused unless the status said so already."""
    for one in decision.happenings:
        ctx.events.record(obj, one.kind, one.reason, one.message, ctx.now())
    blocked = seen.blocked
    if blocked is not None and blocked.message not in _messages(before):
        ctx.events.record(obj, "Warning", blocked.reason, blocked.message, ctx.now())


def _messages(status: ModelEndpointStatus) -> set[str]:
    return {condition.message for condition in status.conditions}
