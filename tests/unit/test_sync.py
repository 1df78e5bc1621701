"""What the cache knows after events came late, twice, or never."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from loopwright.api.resources import CONFIGMAP, RAYJOB, TRAININGJOB, Key, Resource
from loopwright.kube.cache import Cache
from loopwright.kube.errors import ApiError, Forbidden, KindMissing, OldListing, Unavailable
from loopwright.kube.sync import sync

JOB = Key("TrainingJob", "n", "job")
RESOURCES = (TRAININGJOB, RAYJOB, CONFIGMAP)


def training_job(name: str, version: int, uid: str = "", namespace: str = "n") -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"}
    return {"kind": "TrainingJob", "metadata": {**meta, "resourceVersion": str(version)}}


def rayjob(name: str, version: int, uid: str = "", owner: str = "job") -> dict[str, Any]:
    obj = {**training_job(name, version, uid), "kind": "RayJob"}
    obj["metadata"]["labels"] = {"loopwright.io/kind": "TrainingJob", "loopwright.io/name": owner}
    return obj


def item(obj: dict[str, Any]) -> dict[str, Any]:
    """As in lists, whose items do not say what they are."""
    return {"metadata": obj["metadata"]}


class Lists:
    """An API server that is only asked for lists."""

    def __init__(self) -> None:
        self.pages_of: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
        self.errors: dict[str, ApiError] = {}
        self.selectors: dict[str, str] = {}
        self.meanwhile: dict[str, Any] = {}

    def has(self, resource: Resource, version: int, *pages: Any, namespace: Any = None) -> None:
        """What a listing shows, and how old it is."""
        meta = {"resourceVersion": str(version)}
        self.pages_of[resource.kind, namespace] = [
            {"metadata": meta, "items": [item(obj) for obj in page]} for page in pages
        ]

    async def pages(
        self, resource: Resource, namespace: str | None, selector: str
    ) -> AsyncIterator[dict[str, Any]]:
        """The client's."""
        self.selectors[resource.kind] = selector
        if error := self.errors.get(resource.kind):
            raise error
        empty = [{"metadata": {"resourceVersion": "1000"}, "items": []}]
        for page in self.pages_of.get((resource.kind, namespace), empty):
            yield page
            if arrives := self.meanwhile.get(resource.kind):
                arrives()


async def run(api: Lists, cache: Cache, *namespaces: str) -> None:
    await sync(api, cache, RESOURCES, namespaces)  # type: ignore[arg-type]


async def test_everything_is_listed_and_labels_choose_the_children() -> None:
    api, cache = Lists(), Cache()
    api.has(TRAININGJOB, 90, [training_job("job", 5)], [training_job("other", 6)])
    api.has(RAYJOB, 91, [rayjob("job-a1", 7)])
    await run(api, cache)
    assert sorted(key.name for key in cache.own()) == ["job", "other"]
    assert [obj["metadata"]["name"] for obj in cache.children(JOB, "RayJob")] == ["job-a1"]
    label = "loopwright.io/kind"
    assert api.selectors == {"TrainingJob": "", "RayJob": label, "ConfigMap": label}


async def test_what_was_deleted_while_nobody_watched_is_dropped() -> None:
    api, cache = Lists(), Cache()
    for obj in (training_job("job", 5), training_job("gone", 6), rayjob("job-a1", 7)):
        cache.observe("ADDED", obj)
    api.has(TRAININGJOB, 90, [training_job("job", 5)])
    await run(api, cache)
    assert cache.own() == [JOB]
    assert cache.children(JOB, "RayJob") == []
    # What the watch says late about it changes nothing.
    cache.observe("MODIFIED", training_job("gone", 8))
    cache.observe("MODIFIED", rayjob("job-a1", 9))
    assert cache.own() == [JOB]
    assert cache.children(JOB, "RayJob") == []


async def test_an_object_of_the_same_name_takes_the_place_of_a_former_one() -> None:
    api, cache = Lists(), Cache()
    cache.observe("ADDED", training_job("job", 50, "old"))
    api.has(TRAININGJOB, 90, [training_job("job", 60, "new")])
    await run(api, cache)
    found = cache.get(JOB)
    assert found is not None
    assert found["metadata"]["uid"] == "new"


async def test_a_past_that_caught_up_is_believed() -> None:
    """etcd was restored, and much was written since: the listing is newer than all that was seen,
    and its objects are older."""
    api, cache = Lists(), Cache()
    cache.observe("ADDED", training_job("job", 50))
    cache.observe("ADDED", training_job("deleted", 40))
    cache.observe("DELETED", training_job("deleted", 60))
    api.has(TRAININGJOB, 90, [training_job("job", 30), training_job("deleted", 31)])
    await run(api, cache)
    versions = {key.name: cache.get(key)["metadata"]["resourceVersion"] for key in cache.own()}  # type: ignore[index]
    assert versions == {"job": "30", "deleted": "31"}
    assert cache.rewinds == 2
    assert not cache.of_one_past.is_set()


async def test_what_is_younger_than_the_listing_is_no_other_past() -> None:
    api, cache = Lists(), Cache()
    api.has(TRAININGJOB, 90, [training_job("a", 5)], [training_job("job", 30)])
    api.meanwhile["TrainingJob"] = lambda: cache.observe("MODIFIED", training_job("job", 95))
    await run(api, cache)
    found = cache.get(JOB)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "95"
    assert cache.rewinds == 0
    assert cache.of_one_past.is_set()


async def test_what_is_younger_than_the_listing_stays() -> None:
    api, cache = Lists(), Cache()
    api.has(TRAININGJOB, 90, [training_job("job", 5)])
    api.meanwhile["TrainingJob"] = lambda: cache.observe("ADDED", training_job("young", 91))
    await run(api, cache)
    assert sorted(key.name for key in cache.own()) == ["job", "young"]


async def test_what_is_deleted_during_the_listing_is_gone() -> None:
    api, cache = Lists(), Cache()
    api.has(TRAININGJOB, 90, [training_job("a", 5)], [training_job("job", 6)])
    api.meanwhile["TrainingJob"] = lambda: cache.observe("DELETED", training_job("job", 91))
    await run(api, cache)
    assert [key.name for key in cache.own()] == ["a"]


async def test_a_crd_that_is_missing_stops_nothing() -> None:
    api, cache = Lists(), Cache()
    api.errors["RayJob"] = KindMissing("404 page not found")
    api.has(TRAININGJOB, 90, [training_job("job", 5)])
    api.has(CONFIGMAP, 90, [rayjob("job-report", 6)])
    await run(api, cache)
    assert cache.own() == [JOB]
    assert len(cache.children(JOB, "ConfigMap")) == 1


async def test_a_listing_that_fails_drops_nothing_and_is_heard_of() -> None:
    api, cache = Lists(), Cache()
    cache.observe("ADDED", training_job("job", 5))
    api.errors["TrainingJob"] = Unavailable("down")
    with pytest.raises(Unavailable):
        await run(api, cache)
    assert cache.own() == [JOB]


async def test_one_namespace_says_nothing_about_another() -> None:
    api, cache = Lists(), Cache()
    for namespace in ("a", "b", "c"):
        cache.observe("ADDED", training_job("job", 5, f"u-{namespace}", namespace))
    api.has(TRAININGJOB, 1090, [training_job("job", 5, "u-b", "b")], namespace="b")
    await run(api, cache, "a", "b")
    assert [key.namespace for key in cache.own()] == ["b", "c"]


def test_nothing_returns_from_its_grave() -> None:
    cache = Cache()
    cache.observe("ADDED", training_job("job", 5))
    assert cache.observe("DELETED", training_job("job", 7)) == JOB
    for event in ("MODIFIED", None):
        assert cache.observe(event, training_job("job", 6)) is None
    assert cache.get(JOB) is None
    assert cache.observe("ADDED", training_job("job", 8, "new")) == JOB
    # The former one's end, told once more, is not the new one's.
    cache.observe("DELETED", training_job("job", 6))
    assert cache.get(JOB) is not None


def test_the_end_of_something_unknown_is_remembered() -> None:
    cache = Cache()
    cache.observe("DELETED", training_job("job", 6))
    cache.observe(None, training_job("job", 5))
    assert cache.own() == []


def test_late_news_of_a_former_object_does_not_hide_the_new_one() -> None:
    cache = Cache()
    cache.observe("ADDED", rayjob("job-a1", 5, "old"))
    # It was deleted, and the answer to our creation overtakes the watch.
    cache.observe(None, rayjob("job-a1", 20, "new"))
    cache.observe("MODIFIED", rayjob("job-a1", 8, "old"))
    assert [obj["metadata"]["uid"] for obj in cache.children(JOB, "RayJob")] == ["new"]


def test_a_child_whose_label_changes_has_one_owner() -> None:
    cache = Cache()
    cache.observe("ADDED", rayjob("job-a1", 5))
    cache.observe("MODIFIED", rayjob("job-a1", 6, owner="other"))
    cache.observe("DELETED", rayjob("job-a1", 7, owner="other"))
    assert cache.children(JOB, "RayJob") == []


def test_a_child_that_got_its_label_back_is_known_again() -> None:
    cache = Cache()
    cache.observe("ADDED", rayjob("job-a1", 5))
    cache.observe("DELETED", rayjob("job-a1", 6))
    cache.observe("ADDED", rayjob("job-a1", 7))
    assert len(cache.children(JOB, "RayJob")) == 1


async def test_a_past_that_changed_is_forgotten() -> None:
    api, cache = Lists(), Cache()
    for obj in (training_job("job", 500), training_job("young", 600), rayjob("young-a1", 700)):
        cache.observe("ADDED", obj)
    api.has(TRAININGJOB, 90, [training_job("job", 5)])
    api.has(RAYJOB, 90, [])
    assert await sync(api, cache, RESOURCES, ()) == {JOB}  # type: ignore[arg-type]
    assert cache.own() == [JOB]
    assert cache.observe("MODIFIED", training_job("job", 91)) == JOB


async def test_a_listing_of_the_past_does_not_make_newer_things_forgotten() -> None:
    api, cache = Lists(), Cache()
    cache.observe("ADDED", rayjob("job-a1", 500))
    api.has(TRAININGJOB, 90, [training_job("job", 5)])
    api.has(RAYJOB, 90, [])
    with pytest.raises(OldListing):
        await sync(api, cache, RESOURCES, (), believe=False)  # type: ignore[arg-type]
    assert len(cache.children(JOB, "RayJob")) == 1


async def test_what_no_watch_told_is_news() -> None:
    api, cache = Lists(), Cache()
    for obj in (
        training_job("job", 5),
        training_job("other", 6),
        rayjob("other-a1", 7, "", "other"),
    ):
        cache.observe("ADDED", obj)
    api.has(TRAININGJOB, 90, [training_job("job", 8), training_job("other", 6)])
    api.has(RAYJOB, 90, [])
    other = Key("TrainingJob", "n", "other")
    assert await sync(api, cache, RESOURCES, ()) == {JOB, other}  # type: ignore[arg-type]
    assert await sync(api, cache, RESOURCES, ()) == set()  # type: ignore[arg-type]


async def test_without_the_right_to_list_a_child_the_others_are_known() -> None:
    api, cache = Lists(), Cache()
    cache.observe("ADDED", {**rayjob("job-script", 5), "kind": "ConfigMap"})
    api.has(TRAININGJOB, 90, [training_job("job", 6)])
    api.errors["ConfigMap"] = Forbidden("no right")
    await run(api, cache)
    assert cache.own() == [JOB]
    assert len(cache.children(JOB, "ConfigMap")) == 1


@pytest.mark.parametrize("kind", ["TrainingJob", "RayJob"])
async def test_nobody_decides_without_the_right_to_see(kind: str) -> None:
    api = Lists()
    api.errors[kind] = Forbidden("no right")
    with pytest.raises(Forbidden):
        await run(api, Cache())
