"""A fake of the API server's client, and one job that reconciles against it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from loopwright.api import names
from loopwright.api.resources import JOBS, Key, Resource
from loopwright.kube import errors
from loopwright.kube.cache import Cache
from loopwright.reconcile.context import Context
from loopwright.reconcile.trainingjob import reconcile
from loopwright.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Key("TrainingJob", "n", "job")


def metadata(name: str, uid: str) -> dict[str, Any]:
    """Of what belongs to the job."""
    owner = names.owner_reference(JOB.kind, JOB.name, uid)
    labels = names.child_labels(JOB.kind, JOB.name)
    return {"name": name, "namespace": "n", "labels": labels, "ownerReferences": [owner]}


class World:
    """A client that notes what it is asked for, and the job it is asked about."""

    reconciles = staticmethod(reconcile)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuse: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.version, self.now, self.cache = 100, START, Cache()
        self.kept: dict[Key, object] = {}
        self.others: dict[str, Any] = {}
        """What is there and the cache does not know, or not so."""
        self.gone: set[str] = set()
        """What the cache knows and is not there any more."""
        self.woken: list[Key] = []
        meta = {"name": "job", "namespace": "n", "uid": "u", "generation": 1}
        job = {"apiVersion": "loopwright.io/v1alpha1", "kind": "TrainingJob", "metadata": meta}
        spec = {"script": {"inline": "print()"}, "output": {"uri": "s3://b/o"}}
        self.cache.observe("ADDED", self.stored({**job, "spec": spec}))

    async def look(self, key: Key = JOB) -> float | None:
        """Reconciles once, a second later."""
        self.calls.clear()
        self.now += timedelta(seconds=1)
        return await self.reconciles(self.context(), key)

    def context(self) -> Context:
        """What a reconcile works with."""
        asked: Any = (self, self.cache, self, Settings(), lambda: self.now)
        return Context(*asked, kept=self.kept, wake=self.woken.append)

    def record(self, *_: Any) -> None:
        self.calls.append("Event")

    async def exists(self, *_: Any) -> bool:
        return True

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        self.calls.append(f"get {resource.kind}")
        own = self.cache.get(Key(resource.kind, namespace, name)) if resource.kind in JOBS else None
        found = self.others.get(name) or own
        if found is None or name in self.gone:
            raise errors.NotFound("gone")
        return dict(found)

    async def apply(self, obj: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(f"apply {obj['kind']}")
        name = obj["metadata"]["name"]
        known = self.cache.get(Key(obj["kind"], "n", name)) or self.others.get(name, {})
        merged = {**known, **obj, "metadata": {**known.get("metadata", {}), **obj["metadata"]}}
        return self.stored(merged)

    async def create(self, _: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        kind = obj["kind"]
        self.calls.append(f"create {kind}")
        if obj["metadata"]["name"] in self.others:
            raise errors.Conflict("exists")
        if gate := self.gates.get(kind):
            await gate.wait()
        await asyncio.sleep(0)
        if error := self.refuse.get(kind):
            raise error
        self.calls.append(f"created {kind}")
        return self.stored(obj, uid=f"{kind}-{obj['metadata']['name']}")

    async def delete(self, resource: Resource, _: str, name: str, *identity: str) -> None:
        self.calls.append(" ".join(["delete", resource.kind, name, *identity]))

    async def patch_status(self, _: Resource, obj: Any, status: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("status")
        if error := self.refuse.get("status"):
            raise error
        progress = status.get("progress", {})
        if not progress.get("updatedAt", "Z").endswith("Z") or progress.get("step", 0) >= 2**63:
            raise errors.Invalid("neither int64 nor date-time")
        return self.stored({**obj, "status": status})

    def stored(self, obj: dict[str, Any], **meta: str) -> dict[str, Any]:
        """An object as the API server returns it."""
        self.version += 1
        meta = {**obj["metadata"], **meta, "resourceVersion": str(self.version)}
        return {**obj, "metadata": meta}

    def sees(self, kind: str, name: str, **more: Any) -> None:
        """Somebody else changes a child."""
        uid = (self.cache.get(JOB) or {})["metadata"]["uid"]
        new = {"kind": kind, "metadata": metadata(name, uid)}
        known = self.cache.get(Key(kind, "n", name)) or new
        self.cache.observe("MODIFIED", self.stored({**known, **more}))

    @property
    def status(self) -> dict[str, Any]:
        """What is stored."""
        return (self.cache.get(JOB) or {})["status"]

    def condition(self, name: str) -> list[str]:
        found = next(one for one in self.status["conditions"] if one["type"] == name)
        return [found["status"], found["reason"], found["message"]]
