"""F23 to F26: people delete and edit a job and its children."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from fake_world import FINALIZER, Namespace, Object, Step
from faults import KillAt
from people import (
    RAYJOB,
    RESOURCES,
    SCRIPT,
    SUPPORT,
    children,
    condition,
    held,
    let_go,
    nth_write,
    once,
    requests,
    status,
    training,
    waits_for,
)
from proxy import Answer, Forward, Request
from scenario import Stage
from scenarios.trainingjob import (
    DELETED,
    JOB,
    SUCCESS,
    ended,
    life,
    phase,
    suspends,
    trains,
)
from theatre import Theatre

from loopwright.operator import WATCHED

SIDE_BY_SIDE = 3


async def nothing_is_left(stage: Stage) -> None:
    """Plays until job and children are gone, and nothing makes them anew."""

    async def gone() -> bool:
        return await stage.it() is None and not await children(stage.namespace)

    await stage.until_found(gone)
    ending = await stage.finish()
    # What the operator made while the job was deleted the garbage collector may not have seen yet.
    await stage.until_found(gone)
    assert ending.creations.get("rayjobs", 0) <= 1
    assert ending.finalizers == []
    ending.check_intents()
    ending.check_log()


async def test_a_job_is_deleted_at_every_step(theatre: Theatre) -> None:
    """F23: before the k-th write of a life, for every k."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(number: int) -> None:
        async with gate, theatre.stage(DELETED) as stage:
            delete = partial(stage.namespace.delete, "TrainingJob", JOB)
            stage.proxy.fault = once(nth_write(number), delete, before=True)
            await stage.create()
            await nothing_is_left(stage)

    async with asyncio.TaskGroup() as tasks:
        for number in range(1, len((await theatre.calmly(DELETED)).writes) + 1):
            tasks.create_task(one(number))


def listed(stage: Stage, before: int) -> bool:
    """Whether the operator has looked at what there is since then."""
    later = {request.resource for request, _ in stage.proxy.requests[before:]}
    return later >= {"trainingjobs", "rayjobs", WATCHED[-1].plural}


async def test_a_job_is_deleted_while_the_operator_is_away(theatre: Theatre) -> None:
    """F23: after the k-th write of a life, for every k; all goes without the operator's help."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(number: int) -> None:
        async with gate, theatre.stage(DELETED) as stage:
            stage.deployment.away = True
            stage.proxy.fault = kill = KillAt(stage.deployment, {number}, "after")
            await stage.create()
            await stage.until(lambda job: bool(kill.at) or job is None)
            await stage.namespace.delete("TrainingJob", JOB)
            await nothing_is_left(stage)
            before = len(stage.proxy.requests)
            stage.deployment.away = False
            await stage.until(lambda _: listed(stage, before))
            await nothing_is_left(stage)

    async with asyncio.TaskGroup() as tasks:
        for number in range(1, len((await theatre.calmly(DELETED)).writes) + 1):
            tasks.create_task(one(number))


async def test_what_training_relies_on_is_deleted(theatre: Theatre) -> None:
    """F24: each is made again, once, and the job does not notice."""
    calm = await theatre.calmly(SUCCESS)
    scenario = held(**Counter(RESOURCES[kind] for kind, _ in SUPPORT))
    async with training(theatre, scenario) as stage:
        for child in SUPPORT:
            await stage.namespace.delete(*child)

        async def all_there() -> bool:
            return all([await stage.namespace.get(*child) for child in SUPPORT])

        await stage.until_found(all_there)
        (await let_go(stage)).check(calm, scenario)


async def deletes_rayjob(namespace: Namespace, _: str) -> None:
    """A person deletes the RayJob of the first attempt."""
    await namespace.delete(*RAYJOB)


WHEN: dict[str, Callable[[Object], bool]] = {
    "provisioning": lambda job: "rayJobUid" in status(job).get("attempts", [{}])[0],
    "training": trains,
}


@pytest.mark.parametrize("when", WHEN)
async def test_the_rayjob_is_deleted(theatre: Theatre, when: str) -> None:
    """F24: the attempt fails for infrastructure, and the next one succeeds."""
    scenario = life(
        f"RayJob deleted while {when}", "runs", "succeeds", rayjobs=2, statuses=6,
        steps=(Step(WHEN[when], deletes_rayjob),), retry={"backoffSeconds": 1},
    )  # fmt: skip
    async with theatre.stage(scenario) as stage:
        ending = await stage.play()
        ending.check(ending, scenario)
        assert "RayJobDeleted" in {one.get("lastError", {}).get("reason") for one in ending.history}
        job = status(await stage.namespace.get("TrainingJob", JOB))
        assert job["phase"] == "Succeeded"
        assert job["failures"] == {"application": 0, "infrastructure": 1}
        assert [attempt.get("cause") for attempt in job["attempts"]] == ["Infrastructure", None]


async def test_the_rayjob_is_deleted_before_anybody_saw_it(theatre: Theatre) -> None:
    """F24: nothing of it has run, so the same attempt makes it again."""
    calm = await theatre.calmly(SUCCESS)
    scenario = replace(SUCCESS, creations={**SUCCESS.creations, "rayjobs": 2})
    async with theatre.stage(scenario) as stage:
        deleted = False

        async def delete(request: Request, forward: Forward) -> Answer:
            nonlocal deleted
            if deleted or str(request) != "POST rayjobs job-a1":
                return await forward()
            deleted = True
            async with stage.world.still:
                answer = await forward()
                await stage.namespace.delete(*RAYJOB)
            return answer

        stage.proxy.fault = delete
        (await stage.play()).check(calm, scenario)


async def test_the_rayjob_is_deleted_after_the_end(theatre: Theatre) -> None:
    """F24: a result is final."""
    async with theatre.stage(SUCCESS) as stage:
        before = (await stage.play()).history[-1]
        await stage.namespace.delete(*RAYJOB)
        ending = await stage.finish()
        ending.check(ending, SUCCESS)
        assert ending.history[-1] == before
        assert await stage.namespace.list("RayJob") == []


MINE: dict[str, Any] = {"labels": {"team": "a"}, "annotations": {"example.com/note": "b"}}
NO_LABELS = {"labels": dict.fromkeys(("loopwright.io/kind", "loopwright.io/name"))}
NO_OWNERS = {"ownerReferences": None}
RULE = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"], "resourceNames": ["x"]}
EDITS: dict[str, dict[tuple[str, str], Object]] = {
    "content": {
        SCRIPT: {"data": {"script.py": "{}", "mine": "kept"}},
        SUPPORT[1]: {"spec": {"podSelector": {"matchLabels": {"nobody": "this"}}}},
        SUPPORT[2]: {"automountServiceAccountToken": True},
        SUPPORT[3]: {"rules": [RULE]},
        SUPPORT[4]: {"subjects": []},
    },
    "labels": {SCRIPT: {"metadata": NO_LABELS}},
    "owners": {SCRIPT: {"metadata": NO_OWNERS}},
    "manager": {
        child: {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}} for child in SUPPORT
    },
}


def ours(obj: Object | None) -> Object:
    """The parts of a child that are the operator's."""
    meta = (obj or {})["metadata"]
    data = (obj or {}).get("data", {})
    return {
        **{name: value for name, value in (obj or {}).items() if name not in ("metadata", "data")},
        "data": {name: value for name, value in data.items() if name != "mine"},
        "labels": {name: v for name, v in meta.get("labels", {}).items() if name != "team"},
        "owners": meta.get("ownerReferences"),
    }


def with_mine(patch: Object) -> Object:
    """The same change, and some that are nobody else's business."""
    meta = patch.get("metadata", {})
    labels = {**meta.get("labels", {}), **MINE["labels"]}
    return {**patch, "metadata": {**MINE, **meta, "labels": labels}}


@pytest.mark.parametrize("what", EDITS)
async def test_what_training_relies_on_is_edited(theatre: Theatre, what: str) -> None:
    """F25: what is the operator's is restored, and what is others' is kept."""
    async with training(theatre, held()) as stage:
        before = {child: await stage.namespace.get(*child) for child in EDITS[what]}
        for child, patch in EDITS[what].items():
            await stage.namespace.patch(*child, **with_mine(patch))

        async def restored() -> bool:
            now = {child: await stage.namespace.get(*child) for child in before}
            return all(ours(now[child]) == ours(before[child]) for child in before)

        await stage.until_found(restored)
        await forget_mine(stage, EDITS[what])
        (await let_go(stage)).check(await theatre.calmly(SUCCESS), held())


async def forget_mine(stage: Stage, edits: dict[tuple[str, str], Object]) -> None:
    """Removes what people added, which must be there still."""
    for child, patch in edits.items():
        found = await stage.namespace.get(*child) or {}
        assert found["metadata"]["labels"].items() >= MINE["labels"].items()
        assert found["metadata"]["annotations"] == MINE["annotations"]
        undo: Object = {"metadata": {"labels": {"team": None}, "annotations": None}}
        if "mine" in patch.get("data", {}):
            assert found["data"]["mine"] == "kept"
            undo["data"] = {"mine": None}
        await stage.namespace.patch(*child, **undo)


async def test_what_nobody_could_tell_to_be_ours_is_left_alone(theatre: Theatre) -> None:
    """F25: without labels and owner it is not taken over, but training goes on, and people know."""
    async with training(theatre, held()) as stage:
        nothing = {"labels": None, "ownerReferences": None}
        await stage.namespace.patch(*SCRIPT, metadata=nothing, data={"script.py": "mine"})
        before = await stage.namespace.get(*SCRIPT)

        async def told() -> bool:
            events = await stage.namespace.list("Event")
            return "NameTaken" in {event["reason"] for event in events}

        await stage.until_found(told)
        ending = await let_go(stage)
        ending.check(ending, held())
        assert await stage.namespace.get(*SCRIPT) == before


RAYJOB_EDITS: dict[str, Object] = {
    "no labels": NO_LABELS,
    "another name": {"labels": {"loopwright.io/name": "other"}},
    "no owner": NO_OWNERS,
    "neither": {**NO_LABELS, **NO_OWNERS},
}


@pytest.mark.parametrize("what", RAYJOB_EDITS)
async def test_the_rayjob_is_edited(theatre: Theatre, what: str) -> None:
    """F25: it is adopted again, and never taken for gone."""
    calm = await theatre.calmly(SUCCESS)
    async with training(theatre, held()) as stage:
        await stage.namespace.patch(*RAYJOB, metadata=RAYJOB_EDITS[what])
        # Before anything else is news of the job.
        for note in ("look", None):
            await stage.namespace.patch("TrainingJob", JOB, metadata={"annotations": {"a": note}})

        async def adopted() -> bool:
            meta = (await stage.namespace.get(*RAYJOB) or {})["metadata"]
            named = meta.get("labels", {}).get("loopwright.io/name") == JOB
            return named and "ownerReferences" in meta

        await stage.until_found(adopted)
        (await let_go(stage)).check(calm, held())


async def test_the_rayjob_gets_an_owner_in_place_of_the_job(theatre: Theatre) -> None:
    """F25: it has both then."""
    async with training(theatre, held()) as stage:
        claim = await stage.namespace.get("PersistentVolumeClaim", "results") or {}
        owner = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "results"}
        owner["uid"] = claim["metadata"]["uid"]
        await stage.namespace.patch(*RAYJOB, metadata={"ownerReferences": [owner]})

        async def adopted() -> bool:
            meta = (await stage.namespace.get(*RAYJOB) or {})["metadata"]
            return len(meta["ownerReferences"]) == 2

        await stage.until_found(adopted)
        ending = await let_go(stage)
        ending.check(ending, held())
        found = ending.objects["/".join(RAYJOB)]["metadata"]["ownerReferences"]
        assert {one["kind"] for one in found} == {"PersistentVolumeClaim", "TrainingJob"}


async def sticks(stage: Stage) -> None:
    """Somebody's finalizer holds the RayJob."""
    await stage.namespace.patch(*RAYJOB, metadata={"finalizers": [FINALIZER, "example.com/stuck"]})


async def test_a_stuck_finalizer_holds_up_the_next_attempt(theatre: Theatre) -> None:
    """F26: the job waits without haste, says for what, and goes on."""
    scenario = held(rayjobs=1)
    async with training(theatre, scenario) as stage:
        await sticks(stage)
        await suspends(True)(stage.namespace, JOB)
        await stage.until(lambda job: phase(job) == "Suspended")
        await suspends(False)(stage.namespace, JOB)
        await stage.until(waits_for("RayJobEnding"))
        # What is asked of KubeRay, and Events, come a little later than the status that tells.
        await stage.settled()
        # It looks every ten seconds, and asks for little each time.
        began = time.monotonic()
        asked = await requests(stage, 12)
        looks = 2 + (time.monotonic() - began) // 10
        assert asked.total() <= 2 * looks, asked
        assert {what for what in asked if not what.startswith("GET")} <= {"POST events"}, asked
        job = await stage.namespace.get("TrainingJob", JOB)
        assert "metadata.finalizers" in condition(job, "Ready")["message"]
        assert status(job)["attempt"] == 1
        await stage.namespace.patch(*RAYJOB, metadata={"finalizers": None})
        ending = await let_go(stage)
        ending.check(ending, scenario)
        assert status(await stage.namespace.get("TrainingJob", JOB))["attempt"] == 2


async def test_a_stuck_finalizer_does_not_hold_up_deletion(theatre: Theatre) -> None:
    """F26: the job goes at once, and another of its name waits for the RayJob."""
    scenario = held(rayjobs=1, configmaps=1)
    async with training(theatre, scenario) as stage:
        await sticks(stage)
        await stage.namespace.delete("TrainingJob", JOB)

        async def only_the_rayjob() -> bool:
            return not await stage.it() and await children(stage.namespace) == ["/".join(RAYJOB)]

        await stage.until_found(only_the_rayjob)
        await stage.namespace.create(scenario.objects[-1])
        await stage.until(waits_for("NameTaken"))
        await stage.namespace.patch(*RAYJOB, metadata={"finalizers": None})
        ending = await let_go(stage)
        assert ended(await stage.namespace.get("TrainingJob", JOB))
        assert ending.creations == dict(scenario.creations)
