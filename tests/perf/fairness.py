"""Whether some jobs hold up others: one that always fails, and a namespace with very many."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from tests.perf.api import Api, within
from tests.perf.common import Options
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.replay import training_job
from tests.perf.scale import all_succeeded, burst
from tests.perf.server import NAMESPACE, PATIENCE, RAYJOBS, TRAININGJOBS, Server
from tests.perf.world import FakeWorld, Run, Script, fails, succeeds

from loopwright.kube.client import CONNECTIONS

BAD = "bad"
FEW = "few"

GOOD = Quantity("the good ones succeeded after", "s")
ATTEMPTS = Quantity("attempts of the bad one", "", 0)
FIRST = Quantity("the few have their RayJobs after", "s", 2)
CROWD = Quantity("the many have their RayJobs after", "s", 2)


def run(options: Options) -> list[Figures]:
    """Measures both, with and without what might disturb, by turns."""
    few = max(1, options.jobs // 100)
    many = options.jobs * 9 // 10
    failing = Figures(f"{options.jobs} jobs and one that always fails")
    crowd = Figures(f"a namespace with {few} jobs after one with {many}")
    for turn in range(options.repeats):
        for disturbed in (False, True) if turn % 2 == 0 else (True, False):
            with Server.fresh() as server, server.operators() as operators:
                operators.lead()
                values = asyncio.run(_beside_failing(server, options.jobs, disturbed))
            _add(failing, turn, "beside it" if disturbed else "alone", values)
            with Server.fresh() as server, server.operators() as operators:
                operators.lead()
                server.namespace(FEW)
                values = asyncio.run(_beside_crowd(server, few, many if disturbed else 0))
            _add(crowd, turn, "after the many" if disturbed else "alone", values)
    slower = failing.median("beside it", GOOD) / failing.median("alone", GOOD)
    failing.comparisons = [f"{slower:.2f}x the time"]
    slower = crowd.median("after the many", FIRST) / crowd.median("alone", FIRST)
    share = crowd.median("after the many", FIRST) / crowd.median("after the many", CROWD)
    crowd.comparisons = [f"{slower:.1f}x the time of being alone, {share:.0%} of the many's time"]
    return [failing, crowd]


def _add(figures: Figures, turn: int, who: str, values: Values) -> None:
    text = ", ".join(f"{q.what} {q.text(value)}" for q, value in values.items())
    print(f"  {turn + 1}. {who}: {text}", flush=True)
    figures.add(who, values)


async def _beside_failing(server: Server, count: int, disturbed: bool) -> Values:
    async with server.api(CONNECTIONS) as api, server.api(2) as apart:

        async def fails_fast(run: Run) -> None:
            # Its requests do not wait for those of the others: it fails as often as it can.
            await fails(replace(run, api=apart))

        def script(job: str) -> Script:
            return fails_fast if job == BAD else succeeds

        async with FakeWorld(api, NAMESPACE, script).living() as world:
            world.gate.set()
            if disturbed:
                await _start_failing(api, world)
            started = time.perf_counter()
            await burst(api, NAMESPACE, count)
            await all_succeeded(api, NAMESPACE, count)
            seconds = time.perf_counter() - started
    return {GOOD: seconds} | ({ATTEMPTS: float(world.runs[BAD])} if disturbed else {})


async def _start_failing(api: Api, world: FakeWorld) -> None:
    retry = {"maxApplicationFailures": 100, "backoffSeconds": 0, "backoffMaxSeconds": 0}
    await api.create(TRAININGJOBS.format(NAMESPACE), [training_job(BAD, retry=retry)])
    async with asyncio.timeout(60):
        while world.runs[BAD] < 2:  # noqa: ASYNC110 (the world counts for itself)
            await asyncio.sleep(0.05)


async def _beside_crowd(server: Server, few: int, many: int) -> Values:
    values: Values = {}

    async def timed(what: Quantity, namespace: str, count: int, started: float) -> None:
        arrived = api.until(RAYJOBS.format(namespace), count)
        await within(PATIENCE, f"{count} RayJobs", arrived)
        values[what] = time.perf_counter() - started

    async with server.api(CONNECTIONS) as api, asyncio.TaskGroup() as tasks:
        if many:
            tasks.create_task(timed(CROWD, NAMESPACE, many, time.perf_counter()))
            jobs = (training_job(f"job-{number:05}") for number in range(many))
            await api.create(TRAININGJOBS.format(NAMESPACE), jobs)
        tasks.create_task(timed(FIRST, FEW, few, time.perf_counter()))
        jobs = (training_job(f"job-{number:05}") for number in range(few))
        await api.create(TRAININGJOBS.format(FEW), jobs)
    return values
