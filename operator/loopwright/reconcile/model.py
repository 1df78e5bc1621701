"""Reconciles one Model with all of its versions.

They are looked at together, since what a version says of itself follows from the others: which
aliases point to it, and whether it is old enough to go. A change of a version is therefore a
reason to look at its Model, also at one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from loopwright.api.registry import (
    MAX_REASON,
    Approval,
    ApprovalState,
    Model,
    ModelStatus,
    ModelVersionStatus,
)
from loopwright.api.resources import MODEL, MODELVERSION, TRAININGJOB, Key, Resource
from loopwright.decide.registry import ByItself, Verdict, Version, approvable, decide
from loopwright.kube.cache import key_of
from loopwright.kube.errors import Forbidden, Invalid
from loopwright.reconcile.context import Context
from loopwright.reconcile.status import refuse, store

# What these say of a version does not keep it.
NO_USERS: Final = frozenset({MODEL.kind, TRAININGJOB.kind})
BY_ITSELF: Final = "the Model's spec.autoApprove"


async def reconcile(ctx: Context, key: Key) -> float | None:
    """Brings what a model and its versions say about themselves up to date.

    Returns:
        None: only events are a reason to look again. Who stops using a version is noticed with
        the next look, which the resync brings.

    Raises:
        ApiError: the API server refused; the queue tries again later.
    """
    family = _observe(ctx, key)
    try:
        model = None if family.obj is None else Model.model_validate(family.obj)
    except ValidationError as error:
        obj = family.obj or {}
        await refuse(ctx, MODEL, obj, ModelStatus.model_validate(obj.get("status") or {}), error)
        return None
    generation = family.obj["metadata"]["generation"] if family.obj else 0
    retains = model is not None and model.spec.retention is not None
    used = _used(ctx, key, family.versions) if retains else set()
    by_itself = ByItself()
    if model is not None and model.spec.auto_approve is not None:
        by_itself = await _approve(ctx, key, model)
        family = _observe(ctx, key)
    seen = [_seen(one) for one in family.versions.values()]
    await _act(ctx, family, decide(key.name, model, generation, seen, used, ctx.now(), by_itself))
    return None


async def _approve(ctx: Context, key: Key, model: Model) -> ByItself:
    """Approves what keeps the conditions and nobody has decided about.

    The API server refuses it (`Conflict`) when somebody decided since.
    """
    operator = await ctx.client.user() if model.spec.retention is not None else ""
    while True:
        versions = _observe(ctx, key).versions
        found = approvable(model.spec, [_seen(one) for one in versions.values()])
        if found is None:
            return ByItself(operator)
        chosen, why = found
        try:
            approval = Approval(
                state=ApprovalState.APPROVED,
                by=await ctx.client.user(),
                reason=f"{BY_ITSELF}: {why}"[:MAX_REASON],
            )
            change = {"approval": approval.wire()}
            stored = await ctx.client.patch_spec(MODELVERSION, versions[chosen.name], change)
        except (Forbidden, Invalid) as error:
            # People can still decide; the next resync tries again.
            return ByItself(operator, f"the operator may not approve it: {error.message}")
        ctx.cache.observe(None, stored)


@dataclass(frozen=True)
class _Family:
    """A Model and its versions as they are stored, without those that are being deleted."""

    obj: dict[str, Any] | None
    versions: dict[str, dict[str, Any]]


def _observe(ctx: Context, key: Key) -> _Family:
    obj, versions = ctx.cache.get(key), ctx.cache.children(key, MODELVERSION.kind)
    return _Family(
        obj if obj is not None and _lives(obj) else None,
        {one["metadata"]["name"]: one for one in versions if _lives(one)},
    )


def _lives(obj: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in obj["metadata"]


async def _act(ctx: Context, family: _Family, verdict: Verdict) -> None:
    for name, status in verdict.versions.items():
        told = verdict.approvals.get(name, ())
        await _store(ctx, MODELVERSION, family.versions[name], status, told)
    if family.obj is None or verdict.model is None:
        return
    obj = await _store(ctx, MODEL, family.obj, verdict.model, verdict.moved)
    if verdict.moved or any(verdict.approvals.values()):
        ctx.wake(key_of(obj))  # Others may wait for just this.
    for name in verdict.expired:
        known = ctx.cache.get(Key(MODELVERSION.kind, obj["metadata"]["namespace"], name))
        if known is not None:
            await _expire(ctx, obj, known)


async def _store(
    ctx: Context,
    resource: Resource,
    obj: dict[str, Any],
    status: ModelStatus | ModelVersionStatus,
    told: tuple[Any, ...],
) -> dict[str, Any]:
    obj = await store(ctx, resource, obj, status)
    for one in told:
        ctx.events.record(obj, one.kind, one.reason, one.message, ctx.now())
    return obj


async def _expire(ctx: Context, model: dict[str, Any], version: dict[str, Any]) -> None:
    meta = version["metadata"]
    # Somebody may have approved it meanwhile.
    identity = (meta["namespace"], meta["name"], meta["uid"], meta["resourceVersion"])
    await ctx.client.delete(MODELVERSION, *identity)
    text = f"ModelVersion '{meta['name']}' is beyond spec.retention; it was deleted, its files stay"
    ctx.events.record(model, "Normal", "VersionExpired", text, ctx.now())


def _seen(obj: dict[str, Any]) -> Version:
    """A version without what nobody asks for: signatures and cards are long."""
    meta, spec = obj["metadata"], obj["spec"]
    lineage = spec.get("lineage") or {}
    metrics = spec.get("metrics") or []
    return Version(
        name=meta["name"],
        version=spec["version"],
        trained=lineage.get("trainedAt") or meta["creationTimestamp"],
        generation=meta["generation"],
        approval=Approval.model_validate(spec.get("approval") or {}),
        wants=tuple(spec.get("aliases") or ()),
        metric=f"{metrics[0]['name']}={metrics[0]['value']}" if metrics else None,
        metrics={one["name"]: one["value"] for one in metrics},
        status=obj.get("status") or {},
    )


def _used(ctx: Context, model: Key, versions: Mapping[str, dict[str, Any]]) -> set[str]:
    """The versions that an object of ours which is not done names in its spec or its status."""
    names = {one["spec"]["version"]: name for name, one in versions.items()}
    found: set[str] = set()
    for user in ctx.cache.own():
        obj = ctx.cache.get(user) or {}
        done = "completionTime" in (obj.get("status") or {})
        if user.namespace == model.namespace and user.kind not in NO_USERS and not done:
            for part in _parts(obj):
                if isinstance(part, str):
                    found |= {part} & versions.keys()
                elif part.get("name") == model.name and part.get("version") in names:
                    found.add(names[part["version"]])
    return found


def _parts(value: Any) -> Iterator[str | dict[str, Any]]:
    """All texts and objects within."""
    if isinstance(value, str | dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _parts(inner)
