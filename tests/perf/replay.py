"""The raw peer: the very writes of the operator, as fast as they go, with nothing to decide.

What the operator writes for an object is recorded from its first life in a run of its own, so that
the peer always writes what the operator writes now: the same objects by the same verbs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.perf.api import APPLY, MERGE, PLAIN, Api, Object
from tests.perf.server import NAMESPACE, RAYJOBS, TRAININGJOBS, Server

# As long as the names of the measured jobs, so that all objects have the same size.
RECORDED = "job-model"
# A Service's, of which each has its own.
ADDRESSES = ("clusterIP", "clusterIPs")
SERVERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


def name_of(number: int) -> str:
    """The name of a measured object."""
    return f"job-{number:05}"


def training_job(name: str, **spec: Any) -> Object:
    """What a user writes."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {"function": "a:b", "output": {"uri": "pvc://results/x"}, **spec},
    }


@dataclass(frozen=True)
class Subject:
    """What users create, and what the operator makes for it."""

    path: str
    """Of the objects in a namespace."""
    children: str
    """Of the children that count."""
    make: Callable[[str], Object]
    """An object of that name."""
    before: Callable[[Api], Awaitable[None]] | None = None
    """Makes what they need."""

    def objects(self, count: int) -> Iterator[Object]:
        """The measured ones."""
        return (self.make(name_of(number)) for number in range(count))


JOBS = Subject(TRAININGJOBS, RAYJOBS, training_job)


def training_jobs(count: int) -> Iterator[Object]:
    """The measured jobs."""
    return JOBS.objects(count)


@dataclass(frozen=True)
class Write:
    """A request of the operator, for the object `RECORDED`."""

    method: str
    path: str
    body: str
    content: str = PLAIN

    def of(self, name: str) -> tuple[str, str, bytes, str]:
        """The same for another object."""
        body = self.body.replace(RECORDED, name).encode()
        return self.method, self.path.replace(RECORDED, name), body, self.content


def record(subject: Subject = JOBS) -> Sequence[Write]:
    """What the operator writes from an object's creation until its child is there."""
    with Server.fresh() as server, server.operators() as operators:
        operators.lead()
        asyncio.run(_one(server, subject))
        server.settle()
        events = [e for e in server.writes() if e["objectRef"]["name"].startswith(RECORDED)]
        return [_write(server, e) for e in events if e["responseStatus"]["code"] < 400]


def rayjob(writes: Sequence[Write], name: str) -> Object:
    """The RayJob that the operator made."""
    [write] = [one for one in writes if "/rayjobs" in one.path]
    obj: Object = json.loads(write.of(name)[2])
    return obj


async def replay(api: Api, writes: Sequence[Write], count: int, subject: Subject = JOBS) -> None:
    """Makes so many objects and writes for each what the operator would."""

    async def one(obj: Object) -> None:
        await api.send("POST", subject.path.format(NAMESPACE), obj)
        for write in writes:
            await api.send(*write.of(obj["metadata"]["name"]))

    await asyncio.gather(*(one(obj) for obj in subject.objects(count)))


async def _one(server: Server, subject: Subject) -> None:
    async with server.api(2) as api:
        if subject.before is not None:
            await subject.before(api)
        await api.create(subject.path.format(NAMESPACE), [subject.make(RECORDED)])
        async with asyncio.timeout(60):
            await api.until(subject.children.format(NAMESPACE), 1)


def _write(server: Server, event: dict[str, Any]) -> Write:
    target = event["objectRef"]
    group, version = target.get("apiGroup", ""), target["apiVersion"]
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    folder = f"{root}/namespaces/{target['namespace']}/{target['resource']}"
    path = f"{folder}/{target['name']}"
    obj = json.loads(server.kubectl.run("get", "--raw", path))
    if event["verb"] == "patch" and target.get("subresource") == "status":
        return Write("PATCH", f"{path}/status", json.dumps({"status": obj["status"]}), MERGE)
    assert "subresource" not in target, event
    obj.pop("status", None)
    for field in SERVERS:
        obj["metadata"].pop(field, None)
    for field in ADDRESSES:
        (obj.get("spec") or {}).pop(field, None)
    if event["verb"] == "create":
        return Write("POST", folder, json.dumps(obj))
    assert event["verb"] == "patch", event
    return Write("PATCH", f"{path}?fieldManager=loopwright&force=true", json.dumps(obj), APPLY)
