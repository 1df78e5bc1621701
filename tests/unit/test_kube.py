"""The queue, the cache, the limiter and what errors mean."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from loopwright.api.resources import CONFIGMAP, Key
from loopwright.kube.cache import Cache
from loopwright.kube.client import merge_diff
from loopwright.kube.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KindMissing,
    NotFound,
    Unavailable,
    from_response,
)
from loopwright.kube.queue import WorkQueue
from loopwright.kube.ratelimit import TokenBucket


def key(name: str, namespace: str = "n") -> Key:
    return Key("TrainingJob", namespace, name)


async def test_a_key_is_queued_once_and_again_after_it_was_worked_on() -> None:
    queue = WorkQueue()
    queue.add(key("a"))
    queue.add(key("a"))
    assert await queue.get() == key("a")
    queue.add(key("a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    queue.done(key("a"))
    assert await queue.get() == key("a")


async def test_namespaces_take_turns() -> None:
    queue = WorkQueue()
    for index in range(3):
        queue.add(key(f"a{index}", "big"))
    queue.add(key("b", "small"))
    assert [(await queue.get()).namespace for _ in range(4)] == ["big", "small", "big", "big"]


async def test_retries_come_later_each_time_until_one_succeeds() -> None:
    queue = WorkQueue()
    delays = [queue.retry(key("a")) for _ in range(4)]
    assert all(later > sooner for sooner, later in itertools.pairwise(delays))
    queue.succeeded(key("a"))
    assert queue.retry(key("a")) < delays[1]
    assert queue.retry(key("a"), at_least=30) >= 30


def configmap(version: str, uid: str = "u", owner: str = "job") -> dict[str, Any]:
    labels = {"loopwright.io/kind": "TrainingJob", "loopwright.io/name": owner}
    meta = {"name": "c", "namespace": "n", "uid": uid, "resourceVersion": version, "labels": labels}
    return {"kind": "ConfigMap", "metadata": meta}


def test_the_cache_never_goes_back() -> None:
    cache, where = Cache(), Key("ConfigMap", "n", "c")
    assert cache.observe("ADDED", configmap("5")) == key("job")
    assert cache.observe("MODIFIED", configmap("4")) is None
    assert len(cache.children(key("job"), "ConfigMap")) == 1
    assert cache.observe("DELETED", configmap("7")) == key("job")
    assert cache.observe("MODIFIED", configmap("6")) is None
    assert cache.get(where) is None
    cache.observe("ADDED", configmap("8", uid="other"))
    assert cache.get(where) is not None


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    now = 0.0
    bucket = TokenBucket(10, 2, lambda: now)
    assert [round(bucket.reserve(), 3) for _ in range(4)] == [0, 0, 0.1, 0.2]
    now = 10.0
    assert bucket.reserve() == 0


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b'{"message": "x", "details": {"name": "x"}}', NotFound),
        (404, b"404 page not found", KindMissing),
        (409, b"{}", Conflict),
        (403, b'{"message": "exceeded quota"}', Forbidden),
        (429, b"{}", Unavailable),
        (503, b"", Unavailable),
        (500, b'{"message": "etcdserver: request is too large"}', Invalid),
        (413, b"", Invalid),
    ],
)
def test_refusals_have_a_meaning(status: int, body: bytes, error: type) -> None:
    assert type(from_response(status, body, None)) is error
    assert from_response(429, b"{}", "7").retry_after == 7


def test_a_name_is_one_part_of_a_path() -> None:
    path = CONFIGMAP.path("n", "../secrets/x?watch=true")
    assert path == "/api/v1/namespaces/n/configmaps/..%2Fsecrets%2Fx%3Fwatch%3Dtrue"


def test_a_patch_holds_only_what_changed() -> None:
    old = {"a": 1, "b": {"c": 1, "d": 2}, "e": [1]}
    assert merge_diff(old, {"a": 1, "b": {"c": 1, "d": 3}}) == {"b": {"d": 3}, "e": None}
    assert merge_diff(old, old) == {}
