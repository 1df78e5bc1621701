"""Stores the status of an object of ours, when it says something new."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from loopwright.api.base import StatusModel
from loopwright.api.resources import Resource
from loopwright.decide.conditions import Status, refused
from loopwright.kube.errors import Invalid
from loopwright.reconcile.context import Context


def first_problem(error: ValidationError) -> str:
    """What is wrong with an object that a model refuses, in a line."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


async def store(
    ctx: Context, resource: Resource, obj: dict[str, Any], status: StatusModel
) -> dict[str, Any]:
    """Stores a status unless it is there already; returns the object as it is stored."""
    wire = status.wire()
    if wire == (obj.get("status") or {}):
        return obj
    stored = await ctx.client.patch_status(resource, obj, wire)
    ctx.cache.observe(None, stored)
    return stored


async def refuse(
    ctx: Context,
    resource: Resource,
    obj: dict[str, Any],
    status: Status,
    error: ValidationError,
) -> None:
    """Tells people of a spec that makes no sense, and that only they can mend."""
    problem, generation = first_problem(error), obj["metadata"]["generation"]
    try:
        await store(ctx, resource, obj, refused(status, generation, problem, ctx.now()))
    except Invalid:
        # Some specs the API server holds against every write, that of the status too.
        ctx.events.record(obj, "Warning", "InvalidSpec", problem, ctx.now())
