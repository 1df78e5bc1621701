"""Creates a job's children, and restores what somebody deleted or edited."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson

from loopwright.api.resources import JOBS, RAYJOB, ROLEBINDING, Key, Resource, resource_of
from loopwright.desired.context import AttemptContext, JobContext
from loopwright.desired.rayjob import rayjob
from loopwright.desired.support import shared
from loopwright.kube.cache import OWN_KINDS, key_of, owner_of, version_of
from loopwright.kube.errors import Conflict, Invalid, NameTaken, NotFound
from loopwright.reconcile.context import Context, Kept

Manifest = dict[str, Any]

# etcd takes 1.5 MiB, and KubeRay adds a status.
MAX_BYTES: Final = 1_400_000
# Of all annotations of a pod together, some of which KubeRay and webhooks add.
MAX_ANNOTATIONS: Final = 250_000


# Kinds whose specs the API server or somebody's webhook fills up with defaults.
DEFAULTED: Final = frozenset(
    {"Deployment", "HorizontalPodAutoscaler", "InferenceService", "ScaledObject", "Service"}
)


async def start(ctx: Context, key: Key, job: JobContext, attempt: AttemptContext) -> None:
    """Makes everything that an attempt consists of; harmless when repeated.

    Raises:
        ApiError: the API server refused; `NameTaken` when somebody else has such an object.
    """
    await keep(ctx, key, job)
    wanted = rayjob(job, attempt)
    _check_size(wanted)
    try:
        ctx.cache.observe(None, await ctx.client.create(RAYJOB, wanted))
    except Conflict:
        await adopt(ctx, await _existing(ctx, wanted), wanted)


def _check_size(wanted: Manifest) -> None:
    # The API server would answer as if it had broken down, and be asked again and again.
    size = len(orjson.dumps(wanted))
    if size > MAX_BYTES:
        text = f"an attempt's RayJob would have {size} bytes and may have {MAX_BYTES}"
        raise Invalid(f"{text}; move long values of env and pod into a ConfigMap or Secret")
    head = wanted["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    size = len(orjson.dumps(head["metadata"]["annotations"]))
    if size > MAX_ANNOTATIONS:
        text = f"annotations of the head pod would have {size} bytes and may have {MAX_ANNOTATIONS}"
        raise Invalid(f"{text}; move long args, hyperparameters and annotations into a ConfigMap")


async def keep(ctx: Context, key: Key, job: JobContext) -> None:
    """Makes sure that what a job's attempts rely on is there, and is as it should be.

    Raises:
        ApiError: as for `start`.
    """
    generation = (ctx.cache.get(key) or {}).get("metadata", {}).get("generation")
    before = ctx.kept.get(key)
    if before is not None and before == Kept(generation, _versions(ctx, before)):
        return
    common = shared(job.namespace, ctx.network)
    wanted = {key_of(child): child for child in (*job.support(), *common)}
    found = {name: ctx.cache.get(name) for name in wanted}
    wrong = [name for name, child in wanted.items() if not right(found[name], child)]
    if wrong and before is not None:
        await check_life(ctx, JOBS[key.kind], key, job.uid)
    # A RoleBinding needs its Role.
    last = [name for name in wrong if name.kind == ROLEBINDING.kind]
    for names in ([name for name in wrong if name not in last], last):
        made = await _put_all(ctx, [wanted[name] for name in names])
        found.update(zip(names, made, strict=True))
    # Of what was looked at, not of what is there by now. Also what could not be made right is left
    # alone until it changes again: somebody's admission webhook may insist on it, and two that
    # correct each other never end.
    versions = {name: version_of(child) for name, child in found.items() if child is not None}
    ctx.kept[key] = Kept(generation, versions)


def _versions(ctx: Context, kept: Kept) -> dict[Key, int]:
    now = {name: ctx.cache.get(name) for name in kept.children}
    return {name: version_of(child) for name, child in now.items() if child is not None}


async def adopt(ctx: Context, found: Manifest, wanted: Manifest) -> Manifest:
    """Gives a RayJob of ours back the labels and the owner that it may have lost.

    Its spec is left alone: KubeRay ignores changes to it, and `suspend` may be Kueue's.
    """
    fields = ("labels", "ownerReferences")
    meta = {name: wanted["metadata"][name] for name in fields}
    if not covers(found["metadata"], meta):
        identity = {name: found["metadata"][name] for name in ("name", "namespace", "uid")}
        head = {"apiVersion": RAYJOB.api_version, "kind": RAYJOB.kind}
        found = await ctx.client.apply({**head, "metadata": {**identity, **meta}})
    found |= {"apiVersion": RAYJOB.api_version, "kind": RAYJOB.kind}
    ctx.cache.observe(None, found)
    return found


async def was_old(ctx: Context, resource: Resource, key: Key, obj: Manifest) -> bool:
    """Reads an object of ours anew; returns whether that was news.

    Raises:
        Conflict: it is gone.
    """
    return version_of(await read(ctx, resource, key.namespace, key.name)) > version_of(obj)


async def read(ctx: Context, resource: Resource, namespace: str, name: str) -> Manifest:
    """Reads an object anew, whose watch may lag behind.

    Raises:
        Conflict: it is gone.
    """
    try:
        found = await ctx.client.get(resource, namespace, name)
    except NotFound as error:
        raise Conflict(error.message) from error
    found |= {"apiVersion": resource.api_version, "kind": resource.kind}
    ctx.cache.observe(None, found)
    return found


async def check_life(ctx: Context, resource: Resource, key: Key, uid: str) -> None:
    """Makes sure that children did not vanish because their owner did, unseen by any watch.

    Raises:
        Conflict: it did. Whoever made its children anew would do so again after each collection.
    """
    try:
        found = await ctx.client.get(resource, key.namespace, key.name)
    except NotFound as error:
        raise Conflict(error.message) from error
    if found["metadata"]["uid"] != uid or "deletionTimestamp" in found["metadata"]:
        raise Conflict(f"{key.kind} '{key.name}' is being deleted")


async def _put_all(ctx: Context, wanted: list[Manifest]) -> list[Manifest]:
    done = await asyncio.gather(*(put(ctx, child) for child in wanted), return_exceptions=True)
    # Of several refusals always the same one is told, or the job's condition would change and
    # change again.
    if errors := [one for one in done if isinstance(one, BaseException)]:
        raise errors[0]
    return [one for one in done if not isinstance(one, BaseException)]


async def put(ctx: Context, wanted: Manifest) -> Manifest:
    """Makes a child what it should be; returns it as it is then.

    Raises:
        ApiError: the API server refused; `NameTaken` when somebody else has such an object.
    """
    found = ctx.cache.get(key_of(wanted))
    try:
        if found is None:
            found = await ctx.client.create(resource_of(wanted), wanted)
    except Conflict:
        found = await _existing(ctx, wanted)
    if not right(found, wanted):
        _check_owner(found, wanted)
        found = await ctx.client.apply(wanted)
    ctx.cache.observe(None, found)
    return found


async def _existing(ctx: Context, wanted: Manifest) -> Manifest:
    """The object that has a child's name already.

    Raises:
        Conflict: it is gone again.
        NameTaken: it is not ours.
    """
    resource, meta = resource_of(wanted), wanted["metadata"]
    try:
        found = await ctx.client.get(resource, meta["namespace"], meta["name"])
    except NotFound as error:
        raise Conflict(error.message) from error
    _check_owner(found, wanted)
    found |= {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"]}
    # Decisions were made without it, and once it is known, its watch has no news to tell.
    owner = owner_of(wanted)
    if owner is not None and owner.kind in OWN_KINDS:
        ctx.wake(owner)
    return found


def _check_owner(found: Manifest, wanted: Manifest) -> None:
    uids, ours = owners(found), owners(wanted)
    labels = found["metadata"].get("labels") or {}
    labelled = labels.items() & wanted["metadata"]["labels"].items()
    if uids & ours or (labelled and not (uids and ours)):
        return  # Ours, but for what somebody took away.
    what = f"{wanted['kind']} '{wanted['metadata']['name']}'"
    if labelled:
        raise NameTaken(f"{what} of a former object of this name is still being deleted")
    kind = next((one["kind"] for one in wanted["metadata"].get("ownerReferences") or ()), "")
    remedy = f"delete it, or rename the {kind}" if ours else "delete it"
    raise NameTaken(f"{what} exists and is not Loopwright's; {remedy}")


def owners(obj: Manifest) -> set[str]:
    """UIDs of an object's owners."""
    return {owner["uid"] for owner in obj["metadata"].get("ownerReferences") or []}


def right(found: Manifest | None, wanted: Manifest) -> bool:
    """Whether a child is as it should be. Others may add metadata and data; the rest is ours."""
    if found is None:
        return False
    if wanted.get("kind") in DEFAULTED:
        return covers(found["metadata"], wanted["metadata"]) and all(
            fits(found.get(field), wanted[field]) for field in wanted.keys() - {"metadata"}
        )
    ours = wanted.keys() - {"metadata", "data"}
    return covers(found, wanted) and all(found[field] == wanted[field] for field in ours)


def fits(found: Any, wanted: Any) -> bool:
    """Whether found is wanted, but for fields that somebody filled in."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and fits(found[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(fits(one, value) for one, value in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def covers(found: Any, wanted: Any) -> bool:
    """Whether everything wanted is there; what else is there is others' business."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            covers(found.get(name), value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and all(
            any(covers(one, value) for one in found) for value in wanted
        )
    return bool(found == wanted)
