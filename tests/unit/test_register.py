"""A finished job's model becomes a version: once, if it is good enough, and whoever refuses it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from fake_client import JOB, World
from worlds import UID, condition
from worlds import World as Job

from loopwright.api.registry import ModelVersionSpec
from loopwright.decide.types import Blocked, DeleteJob, RegisterModel
from loopwright.kube import errors

DIGEST = "sha256:" + "0" * 64
MODEL = {"modelUri": "s3://b/o/models/0123456789", "format": "onnx", "digest": DIGEST}
NAME = "digits-0123456789"


def finished(**register: Any) -> Job:
    """A job that has just succeeded."""
    return ended({"model": "digits", **register}, artifacts=MODEL)


def ended(register: dict[str, Any], **report: Any) -> Job:
    world = Job(register=register).run()
    world.driver(1, "Succeeded", metrics=[{"name": "accuracy", "value": "0.9"}], **report)
    return world


def test_intent_comes_before_effect() -> None:
    world = finished()
    decision = world.decide()
    assert decision.actions[-1] == RegisterModel(NAME)
    assert decision.status.model_version == NAME
    assert condition(decision.status, "ModelRegistered") == ("False", "Registering")
    # Killed right here: the next operator makes the same version.
    world.status = decision.status
    again = world.decide()
    assert (again.status, again.actions[-1]) == (decision.status, RegisterModel(NAME))
    done = world.decide(replace(world.seen(), registered=True))
    assert condition(done.status, "ModelRegistered") == ("True", "Registered")
    assert [told.reason for told in done.happenings] == ["ModelRegistered"]
    world.status = done.status
    assert not any(isinstance(one, RegisterModel) for one in world.decide().actions)


def test_it_is_done_once() -> None:
    world = finished()
    for _ in range(3):
        world.step(100)
    assert world.versions == [NAME]
    assert condition(world.status, "Ready") == ("True", "Completed")


@pytest.mark.parametrize(
    ("register", "report", "reason", "message"),
    [
        (
            {"requireMetrics": [{"metric": "accuracy", "min": "0.95"}]},
            {"artifacts": MODEL}, "MetricsUnmet", "accuracy is 0.9, below 0.95",
        ),
        (
            {"requireMetrics": [{"metric": "auc", "min": "0"}]},
            {"artifacts": MODEL}, "MetricsUnmet", "auc was not reported",
        ),
        ({}, {}, "NoModel", "training left no model"),
        ({}, {"artifacts": {**MODEL, "format": "pickle"}}, "UnsafeFormat", "allowUnsafe"),
        ({}, {"artifacts": {**MODEL, "digest": None}}, "NoDigest", "no digest"),
    ],
)  # fmt: skip
def test_what_is_not_good_enough_is_said_once(
    register: dict[str, Any], report: dict[str, Any], reason: str, message: str
) -> None:
    world = ended({"model": "digits", **register}, **report)
    world.step()
    assert (world.versions, world.status.model_version) == ([], None)
    assert condition(world.status, "ModelRegistered") == ("False", reason)
    [told] = [one for one in world.decision.happenings if one.reason == "ModelNotRegistered"]
    assert message in told.message
    assert "\n" not in told.message
    assert not world.decide().happenings


def test_unsafe_formats_can_be_accepted() -> None:
    world = ended({"model": "digits", "allowUnsafe": True}, artifacts={**MODEL, "format": "pickle"})
    world.step()
    assert world.versions == [NAME]


def test_a_job_that_failed_registers_nothing() -> None:
    world = Job(register={"model": "digits"}).run()
    why = {"cause": "Application", "reason": "Broken", "message": "why", "exitCode": 1}
    world.driver(1, "Failed", artifacts=MODEL, error=why)
    world.step()
    assert "ModelRegistered" not in {one.type for one in world.status.conditions}


def test_a_refusal_is_a_condition_until_it_is_lifted() -> None:
    world = finished()
    world.step(0)
    refused = Blocked("Forbidden", "exceeded quota")
    world = finished()
    decision = world.decide()
    world.status = decision.status
    blocked = world.decide(replace(world.seen(), blocked=refused))
    assert condition(blocked.status, "ModelRegistered") == ("False", "Forbidden")
    assert blocked.requeue == 10
    world.status = blocked.status
    assert world.step().model_version == NAME
    assert world.versions == [NAME]


def test_a_refusal_for_good_is_not_tried_again() -> None:
    world = finished()
    world.status = world.decide().status
    invalid = Blocked("Invalid", "spec: wrong", permanent=True)
    world.status = world.decide(replace(world.seen(), blocked=invalid)).status
    assert condition(world.status, "ModelRegistered") == ("False", "Invalid")
    world.step()
    assert (world.versions, world.status.model_version) == ([], None)


def test_a_job_is_not_deleted_before_its_model_is_registered() -> None:
    world = Job(register={"model": "digits"}, runPolicy={"ttlSecondsAfterFinished": 0}).run()
    world.driver(1, "Succeeded", artifacts=MODEL)
    decision = world.decide()
    assert DeleteJob() not in decision.actions
    world.status = decision.status
    done = world.decide(replace(world.seen(), registered=True))
    assert done.actions == (DeleteJob(),)


class Registry(World):
    """A job whose attempt has succeeded, and whoever is asked to make its version."""

    def __init__(self) -> None:
        super().__init__()
        job = self.cache.get(JOB) or {}
        spec = {**job["spec"], "register": {"model": "digits", "aliases": ["live"], "card": "# D"}}
        meta = {"uid": UID, "annotations": {"loopwright.io/git-revision": "abc123"}}
        job = {**job, "spec": spec, "metadata": {**job["metadata"], **meta}}
        self.cache.observe("MODIFIED", self.stored(job))
        self.others["digits"] = {}

    async def succeed(self, **report: Any) -> float | None:
        await self.look()
        self.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
        await self.look()
        said = {
            "attempt": 1, "runId": "r", "state": "Succeeded", "time": "2026-01-01T00:00:00Z",
            "artifacts": MODEL, "metrics": [{"name": "accuracy", "value": "0.9"}],
            "inputs": [{"name": "train", "uri": "s3://b/d", "digest": DIGEST, "size": 7}], **report,
        }  # fmt: skip
        self.sees("ConfigMap", "job-report", data={"report.json": json.dumps(said)})
        return await self.look()

    def made(self) -> dict[str, Any]:
        [found] = [self.cache.get(k) for k in self.cache._objects if k.kind == "ModelVersion"]
        assert found is not None
        return found


async def test_a_version_tells_where_it_came_from() -> None:
    world = Registry()
    signature = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 64], "newer": 1}], "outputs": [],
    }  # fmt: skip
    await world.succeed(model={"signature": signature, "baseline": True})
    made = world.made()
    assert (made["metadata"]["name"], made["metadata"]["labels"]) == (
        NAME, {"loopwright.io/model": "digits"},
    )  # fmt: skip
    assert "ownerReferences" not in made["metadata"]
    spec = ModelVersionSpec.model_validate(made["spec"])
    assert (spec.uri, spec.digest, spec.format) == (MODEL["modelUri"], DIGEST, "onnx")
    assert spec.signature is not None
    assert spec.signature.inputs[0].shape == [-1, 64]
    assert [one.wire() for one in spec.metrics] == [{"name": "accuracy", "value": "0.9"}]
    assert spec.baseline_ref is not None
    assert spec.baseline_ref.uri == f"{MODEL['modelUri']}/model.json"
    assert (spec.aliases, spec.card, spec.approval.state) == (["live"], "# D", "Pending")
    assert spec.lineage is not None
    assert spec.lineage.wire() == {
        "trainingJob": {"name": "job", "uid": UID, "attempt": 1}, "runId": "r",
        "trainedAt": "2026-01-01T00:00:03Z", "image": "ghcr.io/loopwright/runtime:0.1.0",
        "inputs": [{"name": "train", "uri": "s3://b/d", "digest": DIGEST}],
        "gitRevision": "abc123",
    }  # fmt: skip


async def test_registering_costs_two_writes_and_one_status() -> None:
    world = Registry()
    await world.succeed()
    # The Model existed: somebody else was faster, and it is left alone.
    assert [call for call in world.calls if "Event" not in call] == [
        "status", "create Model", "create ModelVersion", "created ModelVersion", "status",
    ]  # fmt: skip
    assert world.condition("ModelRegistered")[:2] == ["True", "Registered"]
    # What it writes itself is no news, so it tells whom that concerns.
    assert {key.kind for key in world.woken} == {"Model", "TrainingJob"}
    world.woken.clear()
    await world.look()
    assert world.calls == []
    assert world.woken == []


async def test_a_version_that_was_made_before_a_crash_is_found_again() -> None:
    world = Registry()
    lineage = {"lineage": {"trainingJob": {"uid": UID}}}
    world.others[NAME] = {
        "metadata": {"name": NAME, "namespace": "n", "uid": "v", "resourceVersion": "1"},
        "spec": {"modelRef": {"name": "digits"}, **lineage},
    }
    await world.succeed()
    assert world.condition("ModelRegistered")[:2] == ["True", "Registered"]


async def test_a_version_of_somebody_else_is_left_alone() -> None:
    world = Registry()
    world.others[NAME] = {"metadata": {"name": NAME, "namespace": "n"}, "spec": {}}
    await world.succeed()
    assert world.condition("ModelRegistered")[:2] == ["False", "NameTaken"]
    await world.look()
    assert world.calls == []


@pytest.mark.parametrize(
    ("refusal", "reason", "again"),
    [
        (errors.Forbidden("exceeded quota: team"), "Forbidden", 10),
        (errors.KindMissing("no such kind"), "DependencyMissing", 10),
        (errors.Invalid("spec: wrong"), "Invalid", 60),
    ],
)
async def test_refusals_are_told_once(refusal: errors.ApiError, reason: str, again: float) -> None:
    world = Registry()
    world.refuse["ModelVersion"] = refusal
    assert await world.succeed() == again
    assert world.condition("ModelRegistered")[:2] == ["False", reason]
    assert world.condition("Ready")[:2] == ["True", "Completed"]
    await world.look()
    assert "status" not in world.calls
    assert "Event" not in world.calls


@pytest.mark.parametrize(
    "nonsense",
    [
        {"modelUri": "s3://others/o/models/1"}, {"modelUri": "s3://b/other"},
        {"modelUri": "s3://b/o/../x"}, {"digest": "sha256:0"}, {"format": "no such"},
    ],
)  # fmt: skip
async def test_a_report_of_nonsense_registers_nothing(nonsense: dict[str, str]) -> None:
    world = Registry()
    await world.succeed(artifacts={**MODEL, **nonsense})
    assert world.condition("ModelRegistered")[:2] == ["False", "ReportInvalid"]
    assert not [call for call in world.calls if "ModelVersion" in call]
