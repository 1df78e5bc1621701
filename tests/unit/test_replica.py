"""How a replica brings its cache up to date before it acts."""

from __future__ import annotations

import pytest
from kubernetes.aio.client import Configuration

from loopwright import replica as module
from loopwright.api.resources import RAYJOB, TRAININGJOB, Key, Resource
from loopwright.kube.cache import Cache
from loopwright.kube.client import Client
from loopwright.kube.connection import Connection
from loopwright.kube.errors import OldListing, Unavailable
from loopwright.replica import Replica
from loopwright.settings import Settings

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("namespaces", [(), ("n", "o")])
async def test_only_the_listing_that_failed_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, namespaces: tuple[str, ...]
) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []
    key = Key("TrainingJob", "n", "job")

    async def sync(
        _: Client, __: Cache, resources: tuple[Resource, ...], scope: tuple[str, ...], **___: bool
    ) -> set[Key]:
        (resource,) = resources
        asked.append((resource.kind, scope))
        if resource == RAYJOB and asked.count((resource.kind, scope)) <= 2:
            raise Unavailable("busy")
        return {key} if resource == TRAININGJOB else set()

    monkeypatch.setattr(module, "sync", sync)
    monkeypatch.setattr(module, "WATCHED", (TRAININGJOB, RAYJOB))
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    connection = Connection(Configuration(host="http://127.0.0.1"))
    replica = Replica(Settings(namespaces=namespaces), connection)
    replica.stale.set()
    await replica._list()
    scopes = [(name,) for name in namespaces] or [()]
    once = [("TrainingJob", scope) for scope in scopes]
    assert asked == [*once, *(("RayJob", scope) for scope in scopes for _ in range(3))]
    assert not replica.stale.is_set()
    assert await replica.controller.queue.get() == key
    for client in (replica.client, replica.lease_client):
        await client.close()


async def test_a_past_that_stays_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    async def sync(*_: object, believe: bool) -> set[Key]:
        asked.append(believe)
        if not believe:
            raise OldListing("old")
        return set()

    monkeypatch.setattr(module, "sync", sync)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LAGGING", 0.05)
    replica = Replica(Settings(), Connection(Configuration(host="http://127.0.0.1")))
    replica.cache.rewound()
    await replica._list()
    assert not asked[0]
    assert asked[-1]
    assert replica.cache.of_one_past.is_set()
    for client in (replica.client, replica.lease_client):
        await client.close()


async def test_what_was_listed_before_another_past_was_noticed_is_listed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def sync(
        _: Client, cache: Cache, resources: tuple[Resource, ...], *__: object, **___: bool
    ) -> set[Key]:
        asked.append(resources[0].kind)
        if asked == ["TrainingJob", "RayJob"]:
            cache.clear("RayJob")
        assert cache.of_one_past.is_set() == (len(asked) < 2)
        return set()

    monkeypatch.setattr(module, "sync", sync)
    monkeypatch.setattr(module, "WATCHED", (TRAININGJOB, RAYJOB))
    replica = Replica(Settings(), Connection(Configuration(host="http://127.0.0.1")))
    await replica._list()
    assert asked == ["TrainingJob", "RayJob"] * 2
    assert replica.cache.of_one_past.is_set()
    for client in (replica.client, replica.lease_client):
        await client.close()


async def test_in_the_namespace_of_the_lease_nothing_is_done_unless_it_is_watched() -> None:
    replica = Replica(
        Settings(namespaces=("a", "b"), namespace="own"),
        Connection(Configuration(host="http://127.0.0.1")),
    )
    for namespace in ("own", "a"):
        meta = {"name": "job", "namespace": namespace, "uid": namespace, "resourceVersion": "1"}
        replica.observe("ADDED", {"kind": TRAININGJOB.kind, "metadata": meta})
    assert [key.namespace for key in replica.cache.own()] == ["a"]
    for client in (replica.client, replica.lease_client):
        await client.close()
