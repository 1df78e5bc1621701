"""Makes children agree with what they should be: made, restored, and deleted when unwanted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from loopwright.api.resources import Key, Resource, resource_of
from loopwright.kube.cache import key_of
from loopwright.kube.errors import ApiError, Forbidden, Invalid, KindMissing, NameTaken
from loopwright.reconcile.children import check_life, covers, owners, put, right
from loopwright.reconcile.context import Context, Mark

Manifest = dict[str, Any]

# What time or a person can lift; all else is tried again by the queue.
REFUSALS = (KindMissing, Forbidden, Invalid, NameTaken)


async def agree(
    ctx: Context, resource: Resource, key: Key, uid: str, groups: Iterable[Iterable[Manifest]]
) -> dict[Key, ApiError]:
    """Brings an object's children to what they should be, a group after the other.

    Each is looked at on its own, so that one which is refused holds up no other. A child that
    somebody's admission webhook changes is left alone until it changes again: two that correct
    each other never end.

    Returns:
        Why a child is not as it should be, by its key, in the order of the groups.

    Raises:
        ApiError: a request failed that is worth trying again soon.
    """
    before = ctx.agreed.get(key, {})
    after: dict[Key, Mark] = {}
    refused: dict[Key, ApiError] = {}
    alive = False
    for group in groups:
        wanted = {key_of(child): child for child in group}
        hashes = {name: hash(orjson.dumps(child)) for name, child in wanted.items()}
        wrong = [n for n, child in wanted.items() if not _settled(ctx, before, n, child, hashes[n])]
        if not alive and any(name in before and ctx.cache.get(name) is None for name in wrong):
            await check_life(ctx, resource, key, uid)
            alive = True
        refused |= await _put_all(ctx, [wanted[name] for name in wrong])
        for name in wanted:
            found = ctx.cache.get(name)
            if found is not None and name not in refused:
                after[name] = Mark(hashes[name], _version(found))
    ctx.agreed[key] = after
    return refused


async def remove(ctx: Context, uid: str, unwanted: Mapping[Key, Manifest]) -> None:
    """Deletes children that are an object's own and not wanted any more."""
    for name, child in unwanted.items():
        meta = child["metadata"]
        if uid in owners(child) and "deletionTimestamp" not in meta:
            await ctx.client.delete(resource_of(child), name.namespace, name.name, meta["uid"])


def _settled(
    ctx: Context, before: Mapping[Key, Mark], name: Key, wanted: Manifest, hashed: int
) -> bool:
    found = ctx.cache.get(name)
    if found is None or not covers(found["metadata"], wanted["metadata"]):
        return False
    return before.get(name) == Mark(hashed, _version(found)) or right(found, wanted)


def _version(found: Manifest) -> str:
    meta = found["metadata"]
    return f"g{meta['generation']}" if "generation" in meta else str(meta["resourceVersion"])


async def _put_all(ctx: Context, wanted: list[Manifest]) -> dict[Key, ApiError]:
    done = await asyncio.gather(*(put(ctx, child) for child in wanted), return_exceptions=True)
    refused: dict[Key, ApiError] = {}
    for child, result in zip(wanted, done, strict=True):
        if isinstance(result, REFUSALS):
            refused[key_of(child)] = result
        elif isinstance(result, BaseException):
            raise result
    return refused
