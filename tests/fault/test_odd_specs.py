"""F37 and F39: what makes no sense, and what is too much, once it is stored."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import yaml
from fake_world import Object
from kubectl import ROOT
from people import condition, requests
from scenario import Stage, differences
from scenarios.trainingjob import JOB, SUCCESS, claim, phase, training_job
from theatre import Theatre

from perf.api import MERGE, Refused

CRD = ROOT / "crds" / "loopwright.io_trainingjobs.yaml"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.loopwright.io"

NONSENSE: dict[str, Object] = {
    "negative": {"numWorkers": -1},
    "words": {"numWorkers": "many"},
    "infinite": {"numWorkers": 2**63 - 1},
    "nothing": {"script": None},
    "hostile": {"output": {"uri": "file:///etc/passwd"}},
    "list": {"resourcesPerWorker": ["a"]},
    "lots": {"resourcesPerWorker": {"memory": "lots"}},
}


async def set_schema(stage: Stage, schema: Object) -> None:
    """Changes what the API server demands of a TrainingJob's spec, and waits until it does."""
    crd: Any = yaml.safe_load(CRD.read_text())
    [version] = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema
    body = {"spec": {"versions": [version]}}
    await stage.namespace.api.send("PATCH", CRD_PATH, body, MERGE)
    lax = "properties" not in schema
    path = stage.namespace.path("TrainingJob") + "?dryRun=All"
    probe = training_job("probe", numWorkers=-1)
    # Each of several requests, for it takes effect a little later than the answer says.
    while [await accepts(stage, path, probe) for _ in range(3)] != [lax] * 3:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def accepts(stage: Stage, path: str, job: Object) -> bool:
    """Whether the API server takes a job."""
    try:
        await stage.namespace.api.send("POST", path, job)
    except Refused as error:
        if error.status == 422:
            return False
        # The server is busy with serving the kind anew.
        await asyncio.sleep(1)
        return await accepts(stage, path, job)
    return True


async def test_nonsense_that_an_older_crd_let_in(theatre: Theatre) -> None:
    """F37: such a job says what is wrong with it, once, and harms no other.

    Where the API server refuses its status as well, an Event says so.
    """
    calm = await theatre.calmly(SUCCESS)
    schema = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    strict = copy.deepcopy(schema["properties"]["spec"])
    async with theatre.stage(SUCCESS) as stage:
        try:
            await set_schema(
                stage, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            )
            for name, spec in NONSENSE.items():
                await stage.namespace.create(training_job(name, **spec))
        finally:
            await set_schema(stage, strict)

        async def all_refused() -> bool:
            jobs = await stage.namespace.list("TrainingJob")
            stalled = {job["metadata"]["name"]: condition(job, "Stalled") for job in jobs}
            events = await stage.namespace.list("Event")
            told = {e["involvedObject"]["name"] for e in events if e["reason"] == "InvalidSpec"}
            told |= {name for name, one in stalled.items() if one.get("reason") == "InvalidSpec"}
            return told == NONSENSE.keys()

        await stage.until_found(all_refused)
        await stage.settled()
        asked = await requests(stage, 5)
        assert not [what for what in asked if not what.startswith("GET")], asked
        for name in NONSENSE:
            await stage.namespace.delete("TrainingJob", name)
        (await stage.play()).check(calm, SUCCESS)


MUCH = [{"name": f"E{number}", "value": "x" * 32768} for number in range(30)]


async def test_too_much_for_a_rayjob(theatre: Theatre) -> None:
    """F39: the job says what is too much; one with the largest annotations there are does not care.

    kopf would copy them into an annotation of its own, if it had something to remember.
    """
    calm = await theatre.calmly(SUCCESS)
    async with theatre.stage(SUCCESS) as stage:
        annotated = training_job()
        annotated["metadata"]["annotations"] = {"a": "x" * 262_000}
        for obj in (claim(), training_job("much", env=MUCH), annotated):
            await stage.namespace.create(obj)
        await stage.until(lambda job: phase(job) == "Succeeded")

        async def stalled() -> bool:
            much = await stage.namespace.get("TrainingJob", "much")
            return condition(much, "Stalled").get("reason") == "Invalid"

        await stage.until_found(stalled)
        much = await stage.namespace.get("TrainingJob", "much")
        assert "move long values of env and pod" in condition(much, "Stalled")["message"]
        # The last Events come a little later.
        await stage.until_found(stage.at_rest)
        asked = await requests(stage, 3)
        assert not [what for what in asked if not what.startswith("GET")], asked
        await stage.namespace.delete("TrainingJob", "much")
        await stage.namespace.patch("TrainingJob", JOB, metadata={"annotations": None})
        ending = await stage.finish()
        others = {name: obj for name, obj in ending.objects.items() if "/much" not in name}
        assert list(differences(calm.objects, others)) == []
        ending.check_log()
