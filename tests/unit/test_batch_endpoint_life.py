"""A batch that asks an endpoint: when it begins, where it asks, and when it makes way."""

from __future__ import annotations

from typing import Any

import pytest
from batch_worlds import batch_spec
from fake_client import World
from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.resources import Key
from loopwright.kube import errors
from loopwright.kube.cache import uses
from loopwright.reconcile import batchtransform

API = "loopwright.io/v1alpha1"
BATCH = Key("BatchTransform", "n", "job")
RAYJOB = Key("RayJob", "n", "job-b1")
URL = "http://10.0.0.1/n/digits"
INSIDE = "http://digits.n.svc"
MODEL = {"modelRef": {"name": "m", "alias": "live"}}
READY = {"type": "Ready", "status": "True", "reason": "Serving", "message": "every variant"}
BUSY = {**READY, "status": "False", "reason": "RollingOut", "message": "variant a: bakes"}
SINCE = {"lastTransitionTime": "2026-01-01T00:00:00Z"}


def variant(name: str, revision: str = "r1", **more: Any) -> dict[str, Any]:
    """The status of a variant that serves."""
    serving = {"revision": revision, "inferenceService": f"digits-{name}-{revision}", "uri": "u"}
    return {"name": name, "ready": True, "serving": serving, **more}


class Batches(World):
    """A batch, and the endpoint that it asks."""

    reconciles = staticmethod(batchtransform.reconcile)

    def __init__(self, *, resume: bool = True, **ref: Any) -> None:
        super().__init__()
        self.made: list[dict[str, Any]] = []
        self.generation = 0
        spec = batch_spec(endpointRef={"name": "digits", **ref}, resume={"enabled": resume})
        self.put("BatchTransform", "job", {"spec": spec.wire()})

    def put(self, kind: str, name: str, body: dict[str, Any]) -> None:
        """Somebody writes an object."""
        meta = {"name": name, "namespace": "n", "uid": f"u-{name}", "generation": 1}
        obj = {"apiVersion": API, "kind": kind, "metadata": meta, **body}
        self.cache.observe("MODIFIED", self.stored(obj))

    def endpoint(
        self, *variants: dict[str, Any], ready: dict[str, str] = READY, generation: int = 1,
        spec: tuple[str, ...] = (), **status: Any,
    ) -> None:  # fmt: skip
        """The endpoint as its own reconcile leaves it; by default with its spec's variants."""
        listed = spec or tuple(one["name"] for one in variants)
        told = {
            "observedGeneration": generation, "url": URL, "internalUrl": INSIDE,
            "conditions": [{**ready, **SINCE, "observedGeneration": generation}],
            "variants": list(variants), **status,
        }  # fmt: skip
        asked = {"variants": [{"name": name, "model": MODEL} for name in listed]}
        self.put("ModelEndpoint", "digits", {"spec": asked, "status": told})

    async def create(self, resource: Any, obj: dict[str, Any]) -> dict[str, Any]:
        """Notes what is made; the cache leaves out what nobody reads."""
        self.made.append(obj)
        return await super().create(resource, obj)

    def deleted(self, key: Key) -> None:
        """An object is deleted."""
        self.cache.observe("DELETED", self.stored(self.cache.get(key) or {}))

    @property
    def batch(self) -> dict[str, Any]:
        """The batch's status."""
        found: dict[str, Any] = (self.cache.get(BATCH) or {})["status"]
        return found

    async def resolved(self) -> list[str]:
        """Status, reason and message of ModelResolved, after a look."""
        await self.look(BATCH)
        [found] = [one for one in self.batch["conditions"] if one["type"] == "ModelResolved"]
        return [found["status"], found["reason"], found["message"]]

    def asked(self) -> list[tuple[str, str]]:
        """Name and address of each attempt."""
        found = []
        for one in self.made:
            if one["kind"] == "RayJob":
                head = one["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
                text = head["metadata"]["annotations"][names.CONFIG_ANNOTATION]
                config = BatchConfig.model_validate_json(text)
                assert config.endpoint is not None
                assert config.model is None
                found.append((one["metadata"]["name"], config.endpoint.url))
        return found


async def test_a_batch_waits_until_there_is_an_endpoint_that_serves() -> None:
    world = Batches()
    status, reason, message = await world.resolved()
    assert (status, reason) == ("False", "EndpointNotFound")
    assert "'digits' is missing; create it" in message
    world.endpoint(variant("a"), ready=BUSY)
    status, reason, message = await world.resolved()
    assert (status, reason) == ("False", "EndpointNotReady")
    assert "(RollingOut: variant a: bakes)" in message
    world.endpoint(variant("a"), generation=0)
    assert (await world.resolved())[1] == "EndpointNotReady"
    assert (world.asked(), world.batch["phase"]) == ([], "Pending")
    world.endpoint(variant("a"))
    assert await world.resolved() == [
        "True", "Resolved", f"ModelEndpoint 'digits' at {INSIDE}",
    ]  # fmt: skip
    assert world.asked() == [("job-b1", INSIDE)]
    assert world.batch["endpoint"] == {"name": "digits", "url": INSIDE}
    assert "model" not in world.batch


async def test_a_variant_that_is_not_there_is_waited_for() -> None:
    world = Batches(variant="b")
    world.endpoint(variant("a"))
    status, reason, message = await world.resolved()
    assert (status, reason) == ("False", "VariantNotFound")
    assert "no variant 'b', but a;" in message
    world.endpoint(variant("a"), spec=("a", "b"))
    assert (await world.resolved())[1] == "EndpointNotReady"
    world.endpoint(variant("a"), variant("b", ready=False, reason="Creating", message="pods"))
    assert "(Creating: pods)" in (await world.resolved())[2]
    # The others of the endpoint need not be ready.
    world.endpoint(variant("a", ready=False), variant("b"), ready=BUSY)
    assert (await world.resolved())[1] == "Resolved"
    assert world.asked() == [("job-b1", "http://digits-b-r1-predictor.n.svc")]


async def test_several_variants_are_asked_through_the_gateway() -> None:
    world = Batches()
    world.endpoint(variant("a"), variant("b"), url=None)
    status, reason, message = await world.resolved()
    assert (status, reason) == ("False", "NoAddress")
    assert "endpointRef.variant" in message
    world.endpoint(variant("a"), variant("b"))
    assert (await world.resolved())[0] == "True"
    assert world.asked() == [("job-b1", URL)]


@pytest.mark.parametrize("end", ["deleted", "deleting", "nonsense"])
async def test_an_endpoint_that_goes_is_no_endpoint(end: str) -> None:
    world = Batches()
    world.endpoint(variant("a"))
    known = world.cache.get(Key("ModelEndpoint", "n", "digits")) or {}
    if end == "deleted":
        world.deleted(Key("ModelEndpoint", "n", "digits"))
    elif end == "deleting":
        meta = {**known["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        world.cache.observe("MODIFIED", world.stored({**known, "metadata": meta}))
    else:
        world.cache.observe("MODIFIED", world.stored({**known, "spec": {"variants": []}}))
    wanted = "EndpointNotReady" if end == "nonsense" else "EndpointNotFound"
    assert (await world.resolved())[:2] == ["False", wanted]
    assert world.asked() == []


async def test_an_attempt_outlives_an_endpoint_that_is_away() -> None:
    world = Batches()
    world.endpoint(variant("a"))
    await world.resolved()
    world.endpoint(variant("a", ready=False), ready=BUSY)
    assert (await world.resolved())[0] == "True"
    world.deleted(Key("ModelEndpoint", "n", "digits"))
    assert (await world.resolved())[0] == "True"
    assert world.batch["attempt"] == 1
    assert not [call for call in world.calls if "RayJob" in call]


async def test_an_attempt_makes_way_when_its_variant_moves() -> None:
    world = Batches(variant="a")
    world.endpoint(variant("a", "r1"))
    await world.resolved()
    world.endpoint(variant("a", "r2"))
    await world.look(BATCH)
    version = (world.cache.get(RAYJOB) or {})["metadata"]["resourceVersion"]
    assert f"delete RayJob job-b1 RayJob-job-b1 {version}" in world.calls
    assert world.batch["attempts"][0]["cause"] == "Suspended"
    world.deleted(RAYJOB)
    await world.look(BATCH)
    await world.look(BATCH)
    old, new = (f"http://digits-a-{revision}-predictor.n.svc" for revision in ("r1", "r2"))
    assert world.asked() == [("job-b1", old), ("job-b2", new)]
    assert world.batch["endpoint"]["url"] == new
    # It is nobody's failure.
    assert world.batch["failures"] == {"application": 0, "infrastructure": 0}


async def test_what_is_on_record_is_made_though_the_endpoint_has_moved_since() -> None:
    world = Batches(variant="a", resume=False)
    world.endpoint(variant("a", "r1"))
    world.refuse["RayJob"] = errors.Unavailable("the operator dies here")
    with pytest.raises(errors.Unavailable):
        await world.look(BATCH)
    world.refuse.clear()
    world.made.clear()
    world.endpoint(variant("a", "r2"))
    await world.look(BATCH)
    assert world.asked() == [("job-b1", "http://digits-a-r1-predictor.n.svc")]
    assert world.batch["endpoint"]["url"] == world.asked()[0][1]


def test_news_of_its_endpoint_wakes_a_batch() -> None:
    spec = batch_spec(endpointRef={"name": "digits"}).wire()
    meta = {"name": "job", "namespace": "n"}
    found = uses({"kind": "BatchTransform", "metadata": meta, "spec": spec})
    assert found == {Key("ModelEndpoint", "n", "digits")}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"endpointRef": None}, "exactly one of model and endpointRef"),
        ({"model": MODEL}, "exactly one of model and endpointRef"),
        ({"predictor": {"class": "a:B"}}, "leave predictor and monitors out"),
        ({"monitors": [{"name": "a", "kind": "DataDrift"}]}, "leave predictor and monitors out"),
        ({"batching": {"maxConcurrent": 65}}, "less than or equal to 64"),
    ],
)
def test_what_does_not_go_with_an_endpoint_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        batch_spec(**{"endpointRef": {"name": "digits"}, **spec})


def test_a_model_is_asked_one_thing_at_a_time() -> None:
    with pytest.raises(ValidationError, match="goes with endpointRef"):
        batch_spec(batching={"maxConcurrent": 2})
