"""One Model and its versions, looked at against a fake API server."""

from __future__ import annotations

from typing import Any

import pytest
from fake_client import World

from loopwright.api.resources import Key
from loopwright.kube import errors
from loopwright.reconcile import model

MODEL = Key("Model", "n", "digits")
API = "loopwright.io/v1alpha1"


class Models(World):
    """A namespace with models."""

    reconciles = staticmethod(model.reconcile)

    def put(self, kind: str, name: str, spec: dict[str, Any], **meta: Any) -> None:
        """Somebody writes an object."""
        known = self.cache.get(Key(kind, "n", name)) or {}
        head = {"name": name, "namespace": "n", "uid": f"u-{name}", "generation": 1, **meta}
        head.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        obj = {**known, "apiVersion": API, "kind": kind, "metadata": head, "spec": spec}
        self.cache.observe("MODIFIED", self.stored(obj))

    def made(self, name: str, **spec: Any) -> None:
        """A version, trained in the order of the names."""
        lineage = {"trainedAt": f"2026-01-0{name[1:]}T00:00:00Z"}
        some = {"modelRef": {"name": "digits"}, "version": name, "uri": "s3://b/x", "format": "f"}
        self.put("ModelVersion", f"digits-{name}", {**some, "lineage": lineage, **spec})

    async def user(self) -> str:
        return "loopwright"

    async def patch_spec(self, _: Any, obj: Any, change: dict[str, Any]) -> dict[str, Any]:
        """Somebody decides, and the API server counts that."""
        self.calls.append(f"spec {obj['metadata']['name']}")
        if error := self.refuse.get("spec"):
            raise error
        meta = {**obj["metadata"], "generation": obj["metadata"]["generation"] + 1}
        return self.stored({**obj, "metadata": meta, "spec": {**obj["spec"], **change}})

    async def once(self) -> list[str]:
        """Looks at the model."""
        await self.look(MODEL)
        return list(self.calls)

    def told(self, kind: str, name: str) -> dict[str, Any]:
        """The status of an object."""
        return (self.cache.get(Key(kind, "n", name)) or {}).get("status", {})


async def test_one_status_for_each_that_changed_and_none_again() -> None:
    world = Models()
    world.put("Model", "digits", {})
    world.made("v1", metrics=[{"name": "auc", "value": "0.9"}, {"name": "f1", "value": "1"}])
    world.made("v2", aliases=["live"])
    assert await world.once() == ["status", "status", "status", "Event"]
    assert world.told("Model", "digits")["aliases"] == {"live": "v2"}
    assert world.told("ModelVersion", "digits-v1")["metric"] == "auc=0.9"
    # An alias has moved, for which others may wait.
    assert world.woken == [MODEL]
    assert await world.once() == []
    world.made("v2", aliases=["live"], approval={"state": "Approved", "by": "ada"})
    assert await world.once() == ["status", "Event"]
    assert await world.once() == []
    assert len(world.woken) == 2


async def test_versions_are_looked_at_when_their_model_is_gone() -> None:
    world = Models()
    world.made("v1")
    assert world.cache.own()[-1] == MODEL
    assert await world.once() == ["status"]
    [ready] = [
        one
        for one in world.told("ModelVersion", "digits-v1")["conditions"]
        if one["type"] == "Ready"
    ]
    assert ready["reason"] == "ModelNotFound"
    # One that is being deleted is as good as gone.
    world.put("Model", "digits", {}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert await world.once() == []


async def test_what_expires_goes_only_as_it_was_seen() -> None:
    world = Models()
    world.put("Model", "digits", {"retention": {"keep": 1}})
    world.made("v1")
    world.made("v2")
    *_, gone, event = await world.once()
    seen = (world.cache.get(Key("ModelVersion", "n", "digits-v1")) or {})["metadata"]
    assert gone == f"delete ModelVersion digits-v1 u-digits-v1 {seen['resourceVersion']}"
    assert event == "Event"


@pytest.mark.parametrize(
    "ref",
    [
        {"modelVersionRef": {"name": "digits-v1"}},
        {"modelRef": {"name": "digits", "version": "v1"}},
    ],
)
async def test_what_is_used_stays(ref: dict[str, Any]) -> None:
    world = Models()
    world.put("Model", "digits", {"retention": {"keep": 1}})
    world.made("v1")
    world.made("v2")
    world.put("ModelEndpoint", "user", {"variants": [{"name": "main", "model": ref}]})
    assert not [call for call in await world.once() if call.startswith("delete")]
    world.put("ModelEndpoint", "user", {"variants": []})
    assert [call for call in await world.once() if call.startswith("delete")]


async def test_what_still_serves_stays() -> None:
    """An alias has moved on, and the old version serves until the new one is ready."""
    world = Models()
    world.put("Model", "digits", {"retention": {"keep": 1}})
    world.made("v1")
    world.made("v2", aliases=["live"])
    world.put("ModelEndpoint", "user", {})
    world.sees("ModelEndpoint", "user", status={"variants": [{"modelVersion": "digits-v1"}]})
    assert not [call for call in await world.once() if call.startswith("delete")]


async def test_a_batch_keeps_its_version_until_it_is_done() -> None:
    world = Models()
    world.put("Model", "digits", {"retention": {"keep": 1}})
    world.made("v1")
    world.made("v2", aliases=["live"])
    world.put("BatchTransform", "user", {})
    status: dict[str, Any] = {"model": {"modelVersion": "digits-v1"}}
    world.sees("BatchTransform", "user", status=status)
    assert not [call for call in await world.once() if call.startswith("delete")]
    status = {**status, "completionTime": "2026-01-02T00:00:00Z"}
    world.sees("BatchTransform", "user", status=status)
    assert [call for call in await world.once() if call.startswith("delete")]


async def test_a_version_that_changed_meanwhile_is_looked_at_again() -> None:
    world = Models()
    world.put("Model", "digits", {})
    world.made("v1")
    world.refuse["status"] = errors.Conflict("modified")
    with pytest.raises(errors.Conflict):
        await world.once()


async def test_a_model_that_an_older_crd_let_in_says_what_is_wrong() -> None:
    world = Models()
    world.put("Model", "digits", {"aliases": {"live": "NO!"}})
    assert await world.once() == ["status"]
    conditions = {one["type"]: one for one in world.told("Model", "digits")["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert "aliases" in conditions["Ready"]["message"]
    assert await world.once() == []


AUTOMATIC: dict[str, Any] = {
    "requireApproval": True,
    "autoApprove": {"requireMetrics": [{"metric": "auc", "min": "0.9"}]},
}
GOOD = [{"name": "auc", "value": "0.95"}]


async def test_a_good_version_is_approved_once_and_told_of() -> None:
    world = Models()
    world.put("Model", "digits", AUTOMATIC)
    world.made("v1", metrics=GOOD, aliases=["live"])
    world.made("v2", metrics=[{"name": "auc", "value": "0.5"}])
    assert (await world.once())[0] == "spec digits-v1"
    told = world.told("ModelVersion", "digits-v1")
    assert (told["phase"], told["approvedBy"]) == ("Approved", "loopwright")
    assert world.told("Model", "digits")["aliases"] == {"live": "v1"}
    approval = (world.cache.get(Key("ModelVersion", "n", "digits-v1")) or {})["spec"]["approval"]
    assert approval["reason"] == (
        "the Model's spec.autoApprove: auc is 0.95, at least 0.9 is asked for"
    )
    assert await world.once() == []
    # A person takes it back, also by deciding nothing.
    for state in ({"state": "Rejected", "by": "ada"}, {}):
        world.made("v1", metrics=GOOD, aliases=["live"], approval=state)
        world.sees("ModelVersion", "digits-v1", metadata={
            **(world.cache.get(Key("ModelVersion", "n", "digits-v1")) or {})["metadata"],
            "generation": 3,
        })  # fmt: skip
        assert "spec digits-v1" not in await world.once()
    assert world.told("Model", "digits")["aliases"] == {}


async def test_an_operator_that_may_not_approve_says_so() -> None:
    world = Models()
    world.put("Model", "digits", AUTOMATIC)
    world.made("v1", metrics=GOOD)
    world.refuse["spec"] = errors.Forbidden("no verb approve")
    await world.once()
    [told] = [
        one["message"]
        for one in world.told("ModelVersion", "digits-v1")["conditions"]
        if one["type"] == "Approved"
    ]
    assert told == "the operator may not approve it: no verb approve"
    assert await world.once() == ["spec digits-v1"]
    world.refuse["spec"] = errors.Conflict("somebody was faster")
    with pytest.raises(errors.Conflict):
        await world.once()


async def test_what_it_approved_itself_does_not_pile_up() -> None:
    world = Models()
    world.put("Model", "digits", {**AUTOMATIC, "retention": {"keep": 1}})
    for name in ("v1", "v2"):
        world.made(name, metrics=GOOD, aliases=["live"])
    calls = await world.once()
    assert [call for call in calls if call.startswith("spec")] == [
        "spec digits-v2", "spec digits-v1",
    ]  # fmt: skip
    assert [call.split()[2] for call in calls if call.startswith("delete")] == ["digits-v1"]
