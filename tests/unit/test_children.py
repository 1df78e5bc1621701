"""What attempts rely on: made once, restored when somebody changes it, never fought over."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from fake_client import JOB, World, metadata

from loopwright.api.resources import Key
from loopwright.kube import errors
from loopwright.reconcile.children import covers, right

OWNER = [{"uid": "u"}]


async def started() -> World:
    world = World()
    await world.look()
    await world.look()
    assert world.calls == []
    return world


def lose(world: World, kind: str, name: str) -> None:
    world.cache.observe("DELETED", world.stored(world.cache.get(Key(kind, "n", name)) or {}))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ConfigMap", "job-script"), ("NetworkPolicy", "loopwright-runtime"),
     ("ServiceAccount", "loopwright-runtime"),
     ("RoleBinding", "loopwright-runtime")],
)  # fmt: skip
async def test_what_was_deleted_is_made_again(kind: str, name: str) -> None:
    world = await started()
    lose(world, kind, name)
    await world.look()
    assert world.calls == ["get TrainingJob", f"create {kind}", f"created {kind}"]
    await world.look()
    assert world.calls == []


@pytest.mark.parametrize("meta", [{"uid": "another"}, {"deletionTimestamp": "2026"}, None])
async def test_what_went_with_the_job_is_not_made_again(meta: dict[str, Any] | None) -> None:
    world = await started()
    job = world.cache.get(JOB) or {}
    if meta is None:
        world.gone.add("job")
    else:
        world.others["job"] = {**job, "metadata": {**job["metadata"], **meta}}
    lose(world, "ConfigMap", "job-script")
    with pytest.raises(errors.Conflict):
        await world.look()
    assert world.calls == ["get TrainingJob"]


async def test_what_was_edited_is_restored_once() -> None:
    world = await started()
    world.sees("NetworkPolicy", "loopwright-runtime", spec={"podSelector": {}})
    await world.look()
    assert world.calls == ["get TrainingJob", "apply NetworkPolicy"]
    await world.look()
    assert world.calls == []


async def test_what_cannot_be_proven_ours_is_left_alone_and_people_are_told() -> None:
    world = await started()
    lose(world, "ConfigMap", "job-script")
    world.others["job-script"] = other()
    with pytest.raises(errors.NameTaken):
        await world.look()
    assert world.calls == ["get TrainingJob", "create ConfigMap", "get ConfigMap", "Event"]
    assert world.condition("Ready")[1] == "Provisioning"


async def test_what_is_edited_while_something_else_is_restored_is_restored_too() -> None:
    world = await started()
    world.gates["ConfigMap"] = asyncio.Event()
    lose(world, "ConfigMap", "job-script")
    looking = asyncio.create_task(world.look())
    await asyncio.sleep(0.01)
    world.sees("NetworkPolicy", "loopwright-runtime", spec={"podSelector": {}})
    world.gates["ConfigMap"].set()
    await looking
    await world.look()
    assert world.calls == ["get TrainingJob", "apply NetworkPolicy"]


async def test_nobody_fights_an_admission_webhook() -> None:
    world = await started()

    async def insisting(obj: dict[str, Any]) -> dict[str, Any]:
        world.calls.append("apply")
        return world.stored({**obj, "spec": {"podSelector": {}}})

    world.apply = insisting  # type: ignore[method-assign]
    world.sees("NetworkPolicy", "loopwright-runtime", spec={"podSelector": {}})
    await world.look()
    assert world.calls == ["get TrainingJob", "apply"]
    await world.look()
    assert world.calls == []


async def test_what_others_add_is_left_alone() -> None:
    world = await started()
    data = {"script.py": "print()", "note": "x"}
    world.sees("ConfigMap", "job-script", data=data)
    await world.look()
    assert world.calls == []


async def test_a_new_job_needs_no_account_of_its_own() -> None:
    world = await started()
    meta = {"name": "other", "namespace": "n", "uid": "u2", "generation": 1}
    job = world.cache.get(JOB) or {}
    world.cache.observe("ADDED", world.stored({**job, "metadata": meta, "status": {}}))
    await world.look(Key("TrainingJob", "n", "other"))
    made = [call for call in world.calls if call.startswith("created")]
    assert made == ["created ConfigMap", "created RayJob"]


def other(**meta: Any) -> dict[str, Any]:
    version = {"name": "job-script", "namespace": "n", "uid": "x", "resourceVersion": "5"}
    return {"metadata": {**version, **meta}}


async def test_what_is_somebody_elses_stays_so() -> None:
    world = World()
    world.others["job-script"] = other()
    assert await world.look() == 10
    assert world.condition("Ready")[1] == "NameTaken"
    assert "delete it, or rename the TrainingJob" in world.condition("Ready")[2]
    assert not [call for call in world.calls if call.startswith("apply")]
    del world.others["job-script"]
    await world.look()
    assert world.condition("Ready")[1] == "Provisioning"


async def test_of_several_refusals_the_same_one_is_told_each_time() -> None:
    world = World()
    for kind in ("ConfigMap", "NetworkPolicy"):
        world.refuse[kind] = errors.Forbidden(f"no {kind}")
    world.gates["ConfigMap"] = asyncio.Event()
    looking = asyncio.create_task(world.look())
    await asyncio.sleep(0.01)
    world.gates["ConfigMap"].set()
    await looking
    assert world.condition("Ready")[1:] == ["Forbidden", "no ConfigMap"]
    await world.look()
    assert "status" not in world.calls


async def test_an_account_of_somebody_else_is_not_taken_over() -> None:
    world = World()
    world.others["loopwright-runtime"] = other()
    await world.look()
    assert world.condition("Ready")[2].endswith("delete it")


async def test_what_no_api_server_would_store_is_not_sent() -> None:
    world = World()
    env = [{"name": f"A{number}", "value": "x" * 32768} for number in range(30)]
    job = world.cache.get(JOB) or {}
    world.cache.observe("MODIFIED", world.stored({**job, "spec": {**job["spec"], "env": env}}))
    assert await world.look() == 10
    assert "create RayJob" not in world.calls
    assert world.condition("Stalled")[:2] == ["True", "Invalid"]
    assert "move long values" in world.condition("Stalled")[2]


async def test_what_is_there_already_is_ours() -> None:
    world = World()
    world.others["job-script"] = other(ownerReferences=OWNER)
    await world.look()
    assert world.calls.count("apply ConfigMap") == 1
    assert world.condition("Ready")[1] == "Provisioning"


async def test_a_report_of_somebody_else_holds_up_the_next_attempt() -> None:
    world = await started()
    world.others["job-report"] = {"metadata": {"name": "job-report", "namespace": "n", "uid": "x"}}
    lost = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}
    world.sees("RayJob", "job-a1", status=lost)
    await world.look()
    assert world.status["attempts"][0]["cause"] == "Infrastructure"
    world.now += timedelta(seconds=60)
    assert await world.look() == 10
    assert world.condition("Ready")[1:] == [
        "NameTaken",
        "ConfigMap 'job-report' exists and is not Loopwright's; delete it",
    ]
    del world.others["job-report"]
    await world.look()
    assert world.condition("Ready")[1] == "Provisioning"


async def test_a_malformed_report_does_not_hold_up_the_next_attempt() -> None:
    world = await started()
    data = {"report.json": "{"}
    world.sees("ConfigMap", "job-report", data=data)
    world.others["job-report"] = world.cache.get(Key("ConfigMap", "n", "job-report"))
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"})
    await world.look()
    assert world.status["attempts"][0]["cause"] == "Infrastructure"
    world.now += timedelta(seconds=60)
    await world.look()
    assert world.condition("Ready")[1] == "Provisioning"
    assert world.status["attempt"] == 2


async def test_the_rayjob_of_a_former_job_is_waited_for_and_its_report_is_not_read() -> None:
    world = World()
    former = [{"uid": "former"}]
    labels = {"loopwright.io/kind": "TrainingJob", "loopwright.io/name": "job"}
    for kind, name in (("RayJob", "job-a7"), ("ConfigMap", "job-report")):
        meta = {"name": name, "namespace": "n", "labels": labels, "ownerReferences": former}
        world.cache.observe("ADDED", world.stored({"kind": kind, "metadata": meta}, uid=name))
    assert await world.look() == 10
    assert world.condition("Ready")[1] == "NameTaken"
    assert "former job" in world.condition("Ready")[2]
    assert not world.status["attempts"]


def rayjob(world: World, **meta: Any) -> dict[str, Any]:
    found = world.cache.get(Key("RayJob", "n", "job-a1")) or {}
    return {**found, "metadata": {**found["metadata"], **meta}}


async def test_a_rayjob_that_lost_its_labels_is_adopted_again() -> None:
    world = await started()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    await world.look()
    world.others["job-a1"] = rayjob(world, labels={}, ownerReferences=[])
    lose(world, "RayJob", "job-a1")  # To a watch by label it is gone.
    await world.look()
    assert world.calls == ["get RayJob", "apply RayJob"]
    assert (world.status["phase"], world.status["attempt"]) == ("Running", 1)


async def test_a_rayjob_that_bears_another_name_is_adopted_again() -> None:
    world = await started()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    await world.look()
    labels = {"loopwright.io/kind": "TrainingJob", "loopwright.io/name": "other"}
    world.others["job-a1"] = edited = rayjob(world, labels=labels)
    world.sees("RayJob", "job-a1", metadata=edited["metadata"])
    await world.look()
    assert world.calls == ["get RayJob", "apply RayJob"]
    assert (world.status["phase"], world.status["attempt"]) == ("Running", 1)


async def test_a_rayjob_that_is_gone_is_gone() -> None:
    world = await started()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    await world.look()
    lose(world, "RayJob", "job-a1")
    await world.look()
    assert world.status["lastError"]["reason"] == "RayJobDeleted"


def says(state: str) -> dict[str, str]:
    said = {"attempt": 1, "runId": "r", "state": state, "time": "2026-01-01T00:00:00Z"}
    return {"report.json": json.dumps(said)}


@pytest.mark.parametrize("meta", [None, {"deletionTimestamp": "2026"}], ids=["gone", "going"])
async def test_the_last_word_counts_though_the_rayjob_is_gone(meta: dict[str, Any] | None) -> None:
    world = await started()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    world.sees("ConfigMap", "job-report", data=says("Running"))
    await world.look()
    # Its watch lags behind.
    report = {"metadata": metadata("job-report", "u"), "data": says("Succeeded")}
    world.others["job-report"] = world.stored(report)
    if meta is None:
        lose(world, "RayJob", "job-a1")
    else:
        world.sees("RayJob", "job-a1", metadata=rayjob(world, **meta)["metadata"])
    await world.look()
    assert world.status["phase"] == "Succeeded"


async def test_a_rayjob_that_is_there_already_is_not_made_twice() -> None:
    world = World()
    world.refuse["RayJob"] = errors.Unavailable("the answer was lost")
    with pytest.raises(errors.Unavailable):
        await world.look()
    world.refuse.clear()
    meta = {"name": "job-a1", "namespace": "n", "uid": "r", "ownerReferences": OWNER}
    world.others["job-a1"] = world.stored({"metadata": meta})
    await world.look()
    assert "created RayJob" not in world.calls
    # Only what finds it again: its spec may be Kueue's by now.
    assert world.calls[-3:] == ["create RayJob", "get RayJob", "apply RayJob"]
    # Its watch has nothing more to tell, and it was decided without what KubeRay has done to it.
    assert world.woken == [JOB]


@pytest.mark.parametrize(
    ("found", "wanted", "there"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [2, 1]}, {"a": [1]}, True),
        ({"a": [2]}, {"a": [1]}, False),
        (None, {"a": 1}, False),
        ({"a": None}, {"a": {}}, False),
        ({"a": {}}, {"a": {}}, True),
    ],
)
def test_what_is_wanted_is_there_or_not(found: Any, wanted: Any, there: bool) -> None:
    assert covers(found, wanted) is there


@pytest.mark.parametrize(
    ("found", "as_it_should_be"),
    [
        ({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"c": [1]}}, True),
        ({"metadata": {"name": "x"}, "spec": {"c": [1]}, "data": {"d": "e"}}, True),
        ({"metadata": {"name": "x"}, "spec": {"c": [1], "more": 1}}, False),
        ({"metadata": {"name": "x"}, "spec": {"c": [1, 2]}}, False),
        ({"metadata": {"name": "x"}}, False),
        (None, False),
    ],
)
def test_others_may_add_metadata_and_data_only(found: Any, as_it_should_be: bool) -> None:
    wanted = {"metadata": {"name": "x"}, "spec": {"c": [1]}}
    assert right(found, wanted) is as_it_should_be


async def test_an_old_job_deletes_nothing() -> None:
    """After a restart its watch may lag behind that of RayJobs, whose names tell."""
    world = await started()
    old = world.cache.get(JOB) or {}
    attempts = [*old["status"]["attempts"], {"number": 2, "rayJob": "job-a2"}]
    status = {**old["status"], "attempt": 2, "attempts": attempts}
    status["attempts"][0] = {**attempts[0], "endTime": "2026-01-01T00:00:00Z"}
    world.others["job"] = world.stored({**old, "status": status})
    newer = {"kind": "RayJob", "metadata": {**metadata("job-a2", "u"), "uid": "newer"}}
    world.cache.observe("ADDED", world.stored(newer))
    assert await world.look() == 0
    assert not [call for call in world.calls if not call.startswith("get")]
    assert world.status["attempt"] == 2
    await world.look()
    assert not [call for call in world.calls if "job-a2" in call]


async def test_an_old_job_makes_nothing_anew() -> None:
    """It shows an attempt that is on record and has no RayJob yet; its RayJob came and went."""
    world = await started()
    old = world.cache.get(JOB) or {}
    lose(world, "RayJob", "job-a1")
    ended = {
        **old["status"]["attempts"][0],
        "endTime": "2026-01-01T00:00:00Z",
        "cause": "Suspended",
    }
    over = {**old["status"], "attempts": [ended], "completionTime": "2026-01-01T00:00:00Z"}
    world.others["job"] = world.stored({**old, "status": over})
    assert await world.look() == 0
    assert "create RayJob" not in world.calls
    await world.look()
    assert "create RayJob" not in world.calls


async def test_what_was_never_made_is_made_by_the_next_operator() -> None:
    world = await started()
    lose(world, "RayJob", "job-a1")
    await world.look()
    assert "get TrainingJob" in world.calls
    assert "created RayJob" in world.calls
