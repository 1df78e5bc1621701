"""An operator among jobs that have all ended: how it starts again, and what its metrics cost."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from replicas import Replica, Replicas
from tests.perf.common import OURS, Options
from tests.perf.figures import Figures, Quantity
from tests.perf.scale import all_succeeded, burst
from tests.perf.server import NAMESPACE, PATIENCE, Server, now, scrape
from tests.perf.usage import Latencies, usage
from tests.perf.world import FakeWorld

from eventually import eventually
from loopwright.kube.client import CONNECTIONS

SCRAPES = 20

READY = Quantity("ready after", "s")
LOOKED = Quantity("leads and has looked at every job after", "s")
WRITES = Quantity("writes", "", 0)
CPU = Quantity("CPU", "s")
PEAK = Quantity("peak memory", "MiB", 0)
SECONDS = Quantity("time of a scrape", "ms")
SERIES = Quantity("series", "", 0)
SIZE = Quantity("size", "KiB")


@contextmanager
def settled(count: int) -> Iterator[tuple[Server, Replicas, Replica]]:
    """A server with so many jobs that have succeeded, and the operator that brought them there."""
    with Server.fresh() as server, server.operators() as operators:
        replica = operators.lead()
        asyncio.run(_live(server, count))
        server.settle()
        yield server, operators, replica


async def _live(server: Server, count: int) -> None:
    async with server.api(CONNECTIONS) as api, FakeWorld(api, NAMESPACE).living() as world:
        world.gate.set()
        await burst(api, NAMESPACE, count)
        await all_succeeded(api, NAMESPACE, count)


def restart(options: Options) -> list[Figures]:
    """A cold start of the operator among settled jobs."""
    figures = Figures(f"restart with {options.jobs} finished jobs")
    with settled(options.jobs) as (server, operators, replica):
        for turn in range(options.repeats):
            replica.end(signal.SIGTERM)
            began, started = now(), time.perf_counter()
            replica = operators.start()
            ready = time.perf_counter() - started
            eventually("all to be looked at", lambda: _looked(replica, options.jobs), PATIENCE)  # noqa: B023
            looked = time.perf_counter() - started
            server.settle()
            spent = usage(replica.process.pid)
            values = {
                READY: ready, LOOKED: looked, WRITES: float(len(server.writes(since=began))),
                CPU: spent.cpu, PEAK: spent.peak,
            }  # fmt: skip
            print(f"  {turn + 1}. ready {ready:.2f} s, all seen {looked:.2f} s", flush=True)
            figures.add(OURS, values)
    wrote = figures.median(OURS, WRITES)
    figures.comparisons = [
        f"ready after {figures.median(OURS, READY):.1f} s (bar: 10 s), {wrote:.0f} writes (bar: 0)"
    ]
    return [figures]


def _looked(replica: Replica, count: int) -> bool:
    text = scrape(replica)
    return Latencies.read(text, "loopwright_reconcile_seconds", kind="TrainingJob").count >= count


def metrics(options: Options) -> list[Figures]:
    """GETs of /metrics, one after the other."""
    figures = Figures(f"scrape of /metrics with {options.jobs} jobs")
    with settled(options.jobs) as (_, _, replica):
        for _ in range(SCRAPES):
            started = time.perf_counter()
            text = scrape(replica)
            milliseconds = 1000 * (time.perf_counter() - started)
            series = sum(not line.startswith("#") for line in text.splitlines())
            figures.add(
                OURS, {SECONDS: milliseconds, SERIES: float(series), SIZE: len(text) / 1024}
            )
    times = figures.values[OURS][SECONDS]
    figures.comparisons = [f"median {statistics.median(times):.1f} ms (bar: 50 ms)"]
    return [figures]
