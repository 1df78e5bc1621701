"""F28 to F31: people change a job's spec, suspend it, annotate it, and take names it needs."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from fake_world import Namespace, Object, Step
from people import (
    RAYJOB,
    condition,
    held,
    let_go,
    requests,
    status,
    training,
    waits_for,
)
from scenarios.trainingjob import (
    JOB,
    SUCCESS,
    claim,
    ended,
    life,
    phase,
    suspends,
    training_job,
    trains,
)
from theatre import Theatre

from perf.api import APPLY, Refused

IMMUTABLE: dict[str, Object] = {
    "numWorkers": {"numWorkers": 2},
    "script": {"script": {"inline": "x"}},
    "image": {"image": "registry.example.com/other"},
    "output": {"output": None},
    "env": {"env": [{"name": "A", "value": "b"}]},
    "maxRuntimeSeconds": {"runPolicy": {"maxRuntimeSeconds": 5}},
}


async def test_what_is_immutable_is_refused_during_a_run(theatre: Theatre) -> None:
    """F28: the API server says so, and the job goes on."""
    calm = await theatre.calmly(SUCCESS)
    async with training(theatre, held()) as stage:
        for field, spec in IMMUTABLE.items():
            with pytest.raises(Refused, match=f"{field} is immutable; create a new object"):
                await stage.namespace.patch("TrainingJob", JOB, spec=spec)
        (await let_go(stage)).check(calm, held())


async def test_details_of_pods_change_with_the_next_attempt(theatre: Theatre) -> None:
    """F28: head and pod may change, which the running attempt does not notice."""
    scenario = held(life("details", rayjobs=2, statuses=6, retry={"backoffSeconds": 1}))
    async with training(theatre, scenario) as stage:
        before = await stage.namespace.get(*RAYJOB)
        spec = {"head": {"resources": {"cpu": "2"}}, "pod": {"labels": {"team": "a"}}}
        await stage.namespace.patch("TrainingJob", JOB, spec=spec)

        await stage.until(lambda job: status(job)["observedGeneration"] == 2)
        assert await stage.namespace.get(*RAYJOB) == before
        stage.world.outcomes = ("lost", "succeeds")
        ending = await stage.finish()
        ending.check(ending, scenario)
        rayjob = ending.objects[f"RayJob/{JOB}-a2"]["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert rayjob["template"]["metadata"]["labels"]["team"] == "a"
        container = rayjob["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"]["cpu"] == "2"


@pytest.mark.parametrize("seconds", [0.0, 0.5])
async def test_a_job_is_suspended_and_resumed_at_once(theatre: Theatre, seconds: float) -> None:
    """F28: the attempt that ran is stopped, one other follows, and they never run at once."""
    async with training(theatre, held()) as stage:
        await suspends(True)(stage.namespace, JOB)
        await asyncio.sleep(seconds)
        await suspends(False)(stage.namespace, JOB)
        ending = await let_go(stage)
        job = status(await stage.namespace.get("TrainingJob", JOB))
        causes = [attempt.get("cause") for attempt in job["attempts"]]
        print(causes, ending.creations)
        assert job["failures"] == {"application": 0, "infrastructure": 0}
        assert causes in ([None], ["Suspended", None])


SUSPENSIONS = (
    Step(lambda job: phase(job) == "Suspended", suspends(False)),
    Step(lambda job: phase(job) == "Provisioning", suspends(True)),
    Step(lambda job: phase(job) == "Suspended", suspends(False)),
    Step(trains, suspends(True)),
    Step(lambda job: phase(job) == "Suspended", suspends(False)),
    Step(lambda job: phase(job) == "Retrying", suspends(True)),
    Step(lambda job: phase(job) == "Suspended", suspends(False)),
)


async def test_a_job_is_suspended_in_every_phase(theatre: Theatre) -> None:
    """F29: each time it lets go of its cluster; time in which it is suspended does not count."""
    retry = {"maxApplicationFailures": 1, "backoffSeconds": 60}
    scenario = life(
        "suspended in every phase", "runs", "runs", "fails", "succeeds", steps=SUSPENSIONS,
        rayjobs=4, statuses=20, retry=retry, runPolicy={"suspend": True},
    )  # fmt: skip
    async with theatre.stage(scenario) as stage:
        ending = await stage.play()
        await suspends(True)(stage.namespace, JOB)
        final = await stage.finish()
        final.check(final, scenario)
        assert final.history[-1]["completionTime"] == ending.history[-1]["completionTime"]
        job = status(await stage.namespace.get("TrainingJob", JOB))
        assert job["phase"] == "Succeeded"
        causes = ["Suspended", "Suspended", "Application", None]
        assert [attempt.get("cause") for attempt in job["attempts"]] == causes
        assert job["usedRuntimeSeconds"] == sum(int(runtime(one)) for one in job["attempts"])
        phases = [one["phase"] for one in final.history]
        print(phases)
        assert {before for before, after in pairwise(phases) if after == "Suspended"} >= {
            "Provisioning", "Running", "Retrying",
        }  # fmt: skip


def runtime(attempt: dict[str, Any]) -> float:
    """Seconds that an attempt took."""
    start, end = (datetime.fromisoformat(attempt[name]) for name in ("startTime", "endTime"))
    return (end - start).total_seconds()


# More than a busy machine needs to let a job train, suspend it, and see that.
LIMIT = 40


async def test_the_deadline_passes_while_a_job_is_suspended(theatre: Theatre) -> None:
    """F29: a suspended job has time until it is resumed; then it has what was left."""
    limit = {"maxRuntimeSeconds": LIMIT}
    scenario = held(life("deadline", rayjobs=2, statuses=7, runPolicy=limit))
    async with training(theatre, scenario) as stage:
        await suspends(True)(stage.namespace, JOB)
        await asyncio.sleep(LIMIT)
        job = await stage.namespace.get("TrainingJob", JOB)
        assert phase(job) == "Suspended"
        used = status(job)["usedRuntimeSeconds"]
        assert used < LIMIT
        await suspends(False)(stage.namespace, JOB)
        ending = await stage.finish()
        ending.check(ending, scenario)
        job = status(await stage.namespace.get("TrainingJob", JOB))
        assert (job["phase"], job["lastError"]["reason"]) == ("Failed", "MaxRuntimeExceeded")
        [second] = [w for w in ending.writes if str(w) == f"POST rayjobs {JOB}-a2"]
        assert json.loads(second.body)["spec"]["activeDeadlineSeconds"] == LIMIT - used
        assert job["usedRuntimeSeconds"] >= LIMIT - 1


async def apply(namespace: Namespace, obj: Object, manager: str) -> Object:
    """Server-side applies, as Argo CD and Flux do."""
    path = namespace.path(obj["kind"], obj["metadata"]["name"])
    query = f"?fieldManager={manager}"
    found: Object = json.loads(await namespace.api.send("PATCH", path + query, obj, APPLY))
    return found


async def test_gitops_and_the_operator_never_quarrel(theatre: Theatre) -> None:
    """F30: the same manifest again changes nothing, labels come and go, and nobody writes."""
    job = training_job()
    async with theatre.stage(held()) as stage:
        await stage.namespace.create(claim())
        await apply(stage.namespace, job, "argocd-controller")
        await stage.until(trains)
        await stage.settled()
        before = await stage.namespace.get("TrainingJob", JOB) or {}
        again = await apply(stage.namespace, job, "argocd-controller")
        assert again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        text = json.dumps({**job, "metadata": {"name": JOB, "namespace": stage.namespace.name}})
        diff = await asyncio.to_thread(
            theatre.admin.run, "diff", "--server-side", "-f", "-", stdin=text
        )
        assert diff == ""
        ours = {m["manager"]: m for m in before["metadata"]["managedFields"]}
        others = [name for name, m in ours.items() if "subresource" not in m]
        assert others == ["argocd-controller"]
        writes = len(stage.proxy.writes())
        for note in ("a", None):
            meta = {"labels": {"team": note}, "annotations": {"example.com/note": note}}
            await stage.namespace.patch("TrainingJob", JOB, metadata=meta)
            await requests(stage, 1)
        assert [str(write) for write in stage.proxy.writes()[writes:]] == []
        (await let_go(stage)).check(await theatre.calmly(SUCCESS), held())


def somebodys(kind: str, version: str, name: str, **more: Any) -> Object:
    """An object that has nothing to do with Loopwright."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


CLUSTER = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": []}}}}
OTHERS = (
    somebodys("ConfigMap", "v1", "one-script", data={"mine": "x"}),
    somebodys("RayJob", "ray.io/v1", "two-a1", spec={"rayClusterSpec": CLUSTER}),
)
NEEDY = [obj["metadata"]["name"].partition("-")[0] for obj in OTHERS]


async def others(namespace: Namespace) -> list[Object | None]:
    """Their objects as they are now."""
    return [await namespace.get(obj["kind"], obj["metadata"]["name"]) for obj in OTHERS]


async def have_owner(namespace: Namespace) -> None:
    """Makes one of them the child of something else."""
    found = await namespace.get("PersistentVolumeClaim", "results") or {}
    owner = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "results"}
    owner["uid"] = found["metadata"]["uid"]
    await namespace.patch("ConfigMap", "one-script", metadata={"ownerReferences": [owner]})


async def test_names_of_children_are_taken(theatre: Theatre) -> None:
    """F31: a job says whose name it needs; others' objects and other jobs are left alone."""
    async with theatre.stage(SUCCESS) as stage:
        await stage.namespace.create(claim())
        for obj in OTHERS:
            await stage.namespace.create(obj)
        await have_owner(stage.namespace)
        before = await others(stage.namespace)
        for name in (*NEEDY, JOB):
            await stage.namespace.create(training_job(name))

        async def needy() -> list[Object | None]:
            return [await stage.namespace.get("TrainingJob", name) for name in NEEDY]

        async def all_wait() -> bool:
            return all(waits_for("NameTaken")(job) for job in await needy())

        async def all_go() -> bool:
            return {condition(job, "Ready")["reason"] for job in await needy()} == {"Provisioning"}

        await stage.until_found(all_wait)
        await stage.until(ended)
        for job, obj in zip(await needy(), OTHERS, strict=True):
            assert f"'{obj['metadata']['name']}' exists" in condition(job, "Ready")["message"]
        assert await others(stage.namespace) == before
        for obj in OTHERS:
            await stage.namespace.delete(obj["kind"], obj["metadata"]["name"])
        await stage.until_found(all_go)
