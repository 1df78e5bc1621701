"""F43 and F44 in small; how fast it is with thousands, `make bench` measures."""

from __future__ import annotations

import asyncio
from collections import Counter

from fake_world import FakeWorld, Namespace
from faults import refuse
from proxy import Request
from scenario import PATIENCE, Scenario, Stage
from scenarios.trainingjob import SUPPORT, claim, ended, phase, training_job
from theatre import Theatre

from perf import world

COUNT = 60
BURST = Scenario(
    "burst",
    (claim(), *(training_job(f"job{number}") for number in range(COUNT))),
    lambda namespace: FakeWorld(namespace, "job0"),
    ended,
    SUPPORT,
    3,
)


async def play(stage: Stage, *, good: int) -> None:
    """All jobs run side by side until so many have succeeded."""
    async with world.FakeWorld(stage.namespace.api, stage.namespace.name).living() as playing:
        playing.gate.set()
        await stage.create()
        async with asyncio.timeout(PATIENCE):
            while (await phases(stage.namespace))["Succeeded"] < good:  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def phases(namespace: Namespace) -> Counter[str]:
    """How many jobs are in which phase."""
    return Counter(phase(job) for job in await namespace.list("TrainingJob"))


async def test_many_jobs_come_and_go(theatre: Theatre) -> None:
    """F43: each gets one RayJob, what they share is made once, and nothing is kept of them."""
    async with theatre.stage(BURST) as stage:
        await play(stage, good=COUNT)
        made = Counter(request.resource for request in stage.proxy.created())
        assert made == {**SUPPORT, "configmaps": COUNT, "rayjobs": COUNT}
        names = [request.name for request in stage.proxy.created() if request.resource == "rayjobs"]
        assert len(set(names)) == COUNT
        await stage.namespace.send("DELETE", stage.namespace.path("TrainingJob"))
        before = len(stage.proxy.writes())
        await asyncio.sleep(3)
        # Events come one after the other, so of those some are still to come.
        written = [w for w in stage.proxy.writes()[before:] if w.resource != "events"]
        assert [str(write) for write in written] == []
        assert not [line for line in stage.deployment.lines() if "exception" in line]


async def test_one_job_that_always_fails(theatre: Theatre) -> None:
    """F44: it waits longer each time, and all others succeed."""

    def bad(request: Request) -> bool:
        return request.write and request.name.startswith("job7-")

    async with theatre.stage(BURST) as stage:
        stage.proxy.fault = refuse(500, bad)
        await play(stage, good=COUNT - 1)
        refused = [request for request, status in stage.proxy.requests if status == 500]
        assert 1 <= len(refused) <= 40
        assert (await phases(stage.namespace))["Provisioning"] == 1
