"""F11 to F16, and F22: an API server that is contended, busy, broken, silent, or not there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

from fake_world import FakeWorld, Namespace, Object
from faults import Busy, Swallow, every_first, lose_answers, resource, sometimes, writes
from operators import becomes
from proxy import Fault, Request
from scenario import Ending, Scenario, Stage
from scenarios import SCENARIOS
from scenarios.modelendpoint import PROMOTED
from scenarios.trainingjob import JOB, SUCCESS, claim, ended, phase, training_job, trains
from theatre import Theatre
from watches import Silence

from ports import free_port

OTHER: Final = "other"
# Of a busy server in a minute: once in five seconds by the Lease's client, and some others.
MOST_ASKED: Final = 60
# The operator gives up after 15 s, and whoever sets no limit after five minutes or never.
LONGEST_WAIT: Final = 60.0
# A watch that says nothing is begun anew after 70 s; the API server ends it after 240.
NOTICED: Final = 180.0
# Lives that are played at the same time.
SIDE_BY_SIDE: Final = 4
# Refusals of the same request within a second. A pause is half a second at least, and news may
# cut it short now and then; a loop without one would come to hundreds.
HASTE: Final = 8


class Pair(FakeWorld):
    """Plays two jobs."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace, JOB)
        self.other = FakeWorld(namespace, OTHER)

    async def tick(self, job: Object | None) -> None:
        """Everybody does at most one thing for each job."""
        await super().tick(job)
        await self.other.tick(await self.namespace.get("TrainingJob", OTHER))


TWO: Final = replace(
    SUCCESS,
    name="two jobs",
    objects=(claim(), training_job(OTHER), training_job()),
    world=Pair,
    creations={**SUCCESS.creations, "configmaps": 2, "rayjobs": 2},
    statuses=2 * SUCCESS.statuses,
)


async def survives(theatre: Theatre, scenario: Scenario, fault: Fault) -> Ending:
    """Plays a life with a fault from the beginning; it ends as without."""
    async with theatre.stage(scenario) as stage:
        stage.proxy.fault = fault
        return await check(theatre, stage, await stage.play())


async def check(theatre: Theatre, stage: Stage, ending: Ending) -> Ending:
    """Compares an end with the one without a fault."""
    assert stage.deployment.restarts == 0
    ending.check(await theatre.calmly(stage.scenario), stage.scenario)
    return ending


@contextlib.asynccontextmanager
async def training(theatre: Theatre, **settings: str) -> AsyncIterator[Stage]:
    """In the middle of a job; the world goes on with what comes next."""
    async with theatre.stage(SUCCESS, **settings) as stage:
        stage.world.outcomes = ("runs",)
        await stage.create()
        await stage.until(trains)
        stage.world.outcomes = ("succeeds",)
        yield stage


async def all_survive(
    theatre: Theatre, scenarios: Sequence[Scenario], fault: Callable[[], Fault]
) -> None:
    """Plays several lives side by side, each with a fault of its own."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(scenario: Scenario) -> None:
        async with gate:
            await survives(theatre, scenario, fault())

    async with asyncio.TaskGroup() as tasks:
        for scenario in scenarios:
            tasks.create_task(one(scenario))


async def test_every_write_conflicts_first(theatre: Theatre) -> None:
    """F11: 409 at each write before it passes; what is done once is not done twice."""
    await all_survive(theatre, SCENARIOS, lambda: every_first(409))


async def test_a_third_of_all_calls_fails(theatre: Theatre) -> None:
    """F13: 5xx at 30 % of all calls; nobody asks in a loop."""
    async with theatre.stage(SUCCESS) as stage:
        stage.proxy.fault = sometimes(0.3, (500, 502, 503, 504))
        ending = await check(theatre, stage, await stage.play())
        calm = await theatre.calmly(SUCCESS)
        # How many there are in all depends on how long it takes: the Lease is renewed meanwhile.
        print(f"{ending.requests} requests instead of {calm.requests}")
        refused = [request for request, status in stage.proxy.requests if status >= 500]
        assert 0 < haste(refused) <= HASTE


def haste(refused: Sequence[Request]) -> int:
    """How often the same was asked for within a second, at most."""
    times = defaultdict(list)
    for one in refused:
        times[f"{one.method} {one.path} {one.query}"].append(one.at)
    return max(
        (sum(first <= at < first + 1 for at in each) for each in times.values() for first in each),
        default=0,
    )


async def test_answers_are_lost(theatre: Theatre) -> None:
    """F22: what is written is stored, and no answer arrives; nothing is done or said twice."""
    calm = await theatre.calmly(SUCCESS)
    async with asyncio.TaskGroup() as tasks:
        faults = [lose_answers(matches) for matches in (resource("trainingjobs/status"), writes)]
        plays = [tasks.create_task(survives(theatre, SUCCESS, fault)) for fault in faults]
    for ending in map(asyncio.Task.result, plays):
        print(f"{len(ending.told)} Events instead of {len(calm.told)}")
        assert len(ending.told) <= len(calm.told)
        ending.check_frugal(SUCCESS)


async def test_answers_about_an_endpoint_are_lost(theatre: Theatre) -> None:
    """F22: what happens in a rollout is told although the status that says it seems lost."""
    calm = await theatre.calmly(PROMOTED)
    fault = lose_answers(resource("modelendpoints/status"))
    ending = await survives(theatre, PROMOTED, fault)
    told, expected = rollouts(ending), rollouts(calm)
    assert len(expected) > 4
    assert told == expected


def rollouts(ending: Ending) -> list[str]:
    """What was told of rollouts; of a version that is not there yet nobody need have heard."""
    return sorted(one for one in ending.told if one.startswith("Rollout"))


async def test_what_lasts_a_minute(theatre: Theatre) -> None:
    """F12, F14, F15 and F16: side by side, since the operators mostly wait."""
    await theatre.calmly(SUCCESS)
    async with asyncio.TaskGroup() as tasks:
        for one in LONG:
            tasks.create_task(one(theatre))


async def busy_from_the_start(theatre: Theatre) -> None:
    """F12: 429 while the operator starts."""
    async with theatre.stage(SUCCESS) as stage:
        await stage.create()
        await busy(theatre, stage)


async def busy_later(theatre: Theatre) -> None:
    """F12: 429 while it trains."""
    async with training(theatre) as stage:
        await busy(theatre, stage)


async def busy(theatre: Theatre, stage: Stage) -> None:
    """Nobody asks again before the 5 s are over, and it ends well."""
    stage.proxy.fault = server = Busy(5, 60)
    await check(theatre, stage, await stage.finish())
    asked = {what: len(times) for what, times in server.asked.items()}
    print(f"{sum(asked.values())} requests to a busy server: {asked}")
    assert sum(asked.values()) <= MOST_ASKED
    for what, times in server.asked.items():
        gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert all(gap >= 4.9 for gap in gaps), f"{what}: {gaps}"


def _about_the_job(request: Request) -> bool:
    return request.resource == "trainingjobs/status" and request.name == JOB


async def one_hangs(theatre: Theatre) -> None:
    """F14: no answer about one job for half a minute; the other one is finished meanwhile."""
    async with theatre.stage(TWO) as stage:
        stage.proxy.fault = silence = Swallow(_about_the_job)
        await stage.create()

        async def other_ended() -> bool:
            return ended(await stage.namespace.get("TrainingJob", OTHER))

        await stage.until_found(other_ended)
        assert phase(await stage.namespace.get("TrainingJob", JOB)) == ""
        await stage.until(lambda _: bool(silence.waits))
        silence.until = 0.0
        await check(theatre, stage, await stage.finish())
        print(f"gave up after {silence.waits}")
        assert max(silence.waits) <= LONGEST_WAIT


async def all_hang(theatre: Theatre) -> None:
    """F14: no answer about anything."""
    async with training(theatre) as stage:
        stage.proxy.fault = silence = Swallow(lambda request: not request.watch, 30)
        await check(theatre, stage, await stage.finish())
        print(f"gave up after {silence.waits}")
        assert max(silence.waits) <= LONGEST_WAIT


async def away_later(theatre: Theatre) -> None:
    """F15: connections are refused while a job trains."""
    port = free_port()
    async with training(theatre, health_port=str(port)) as stage:
        await stage.proxy.close()
        await away(theatre, stage, port)


async def away_before(theatre: Theatre) -> None:
    """F15: connections are refused while a job is created."""
    port = free_port()
    async with theatre.stage(SUCCESS, health_port=str(port)) as stage:
        await becomes(port, 200)
        await stage.at_work()
        await stage.proxy.close()
        await stage.create()
        await away(theatre, stage, port)


async def away(theatre: Theatre, stage: Stage, port: int) -> None:
    """Over a minute without an API server; the probe says so, and the process goes on."""
    end = time.monotonic() + 75
    await becomes(port, 503)
    await stage.until(lambda _: time.monotonic() > end, patience=80)
    await stage.proxy.open()
    began = time.monotonic()
    await becomes(port, 200)
    await check(theatre, stage, await stage.finish())
    print(f"ended {time.monotonic() - began:.0f} s later")


async def goes_dead(theatre: Theatre) -> None:
    """F16: no watch says anything any more, and no connection ends; a new job is noticed."""
    async with theatre.stage(SUCCESS) as stage:
        stage.proxy.watch_fault = silence = Silence()
        await stage.at_work()
        while "trainingjobs" not in stage.proxy.watched:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        silence.drop()
        await stage.create()
        began = time.monotonic()
        await stage.until(lambda job: phase(job) != "", patience=NOTICED)
        print(f"noticed after {time.monotonic() - began:.0f} s")
        await check(theatre, stage, await stage.finish())


LONG: Final = (
    busy_from_the_start, busy_later, one_hangs, all_hang, away_later, away_before, goes_dead,
)  # fmt: skip
