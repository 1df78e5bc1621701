"""A burst of jobs: how fast each gets its RayJob, and what the operator and its peers spend on it.

Ours turns TrainingJobs into RayJobs and then follows them through a fake world until all have
succeeded. In the same run, by turns and each on a control plane of its own: the raw loop makes the
same TrainingJobs and the operator's own writes for them; KubeRay turns RayJobs into RayClusters;
Kubeflow Trainer turns TrainJobs into JobSets.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from replicas import Replica
from tests.perf import peers
from tests.perf.api import Api, Object, within
from tests.perf.common import OURS, Options
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.replay import Write, record, replay, training_jobs
from tests.perf.server import (
    NAMESPACE,
    PATIENCE,
    PEER,
    RAYJOBS,
    TRAININGJOBS,
    Server,
    now,
    scrape,
)
from tests.perf.usage import Latencies, samples, usage
from tests.perf.world import FakeWorld

from loopwright.kube.client import CONNECTIONS

MADE = Quantity("all children made after", "s")
RATE = Quantity("children", "/s", 0)
WRITES = Quantity("writes, the user's included", "/s", 0)
MADE_CPU = Quantity("CPU until then", "s")
MADE_PER_JOB = Quantity("writes per job until then", "", 2)
DONE = Quantity("all succeeded after", "s")
LAG = Quantity("after the last driver's report", "s", 2)
CPU = Quantity("CPU in all", "s")
PER_JOB = Quantity("writes per job in all", "", 2)
READS = Quantity("reads per job in all", "", 2)
PEAK = Quantity("peak memory", "MiB", 0)
P50 = Quantity("reconcile, median", "ms", 0)
P99 = Quantity("reconcile, 99th percentile", "ms", 0)

RAW = "raw loop"
Contender = Callable[[Sequence[Write], int], Values]


def run(options: Options) -> list[Figures]:
    """Measures all contenders, in turns that go back and forth."""
    figures = Figures(f"{options.jobs} jobs in a burst")
    chosen = options.contenders or DEFAULT
    if unknown := set(chosen) - CONTENDERS.keys():
        raise SystemExit(f"no such contender: {unknown}; there are: {', '.join(CONTENDERS)}")
    writes = record()
    print(
        f"  the operator writes {len(writes)} objects a job until its RayJob is there", flush=True
    )
    for turn in range(options.repeats):
        for who in chosen if turn % 2 == 0 else reversed(chosen):
            values = CONTENDERS[who](writes, options.jobs)
            print(f"  {turn + 1}. {who}: {_said(values)}", flush=True)
            figures.add(who, values)
    figures.values = {who: figures.values[who] for who in chosen}
    figures.comparisons = _comparisons(figures)
    return [figures]


def ours(_: Sequence[Write], count: int) -> Values:
    """The operator, from the burst to the last success."""
    with Server.fresh() as server, server.operators() as operators:
        replica = operators.lead()
        return asyncio.run(_ours(server, replica, count))


async def _ours(server: Server, replica: Replica, count: int) -> Values:
    pid = replica.process.pid
    reads = await asyncio.to_thread(_reads, server)
    idle = usage(pid)
    async with server.api(CONNECTIONS) as api, FakeWorld(api, NAMESPACE).living() as world:
        started = time.perf_counter()
        await burst(api, NAMESPACE, count)
        made, made_at, made_usage = time.perf_counter() - started, now(), usage(pid)
        world.gate.set()
        await all_succeeded(api, NAMESPACE, count)
        done, lag = time.perf_counter() - started, time.perf_counter() - world.reported
    await asyncio.to_thread(server.settle)
    spent, text = usage(pid), await asyncio.to_thread(scrape, replica)
    latencies = Latencies.read(text, "loopwright_reconcile_seconds", kind="TrainingJob")
    print(
        f"     reconciles: {latencies.text()}\n     {by_resource(server.writes(), count)}",
        flush=True,
    )
    writes = server.writes()
    early = [event for event in writes if event["requestReceivedTimestamp"] <= made_at]
    return _made(count, made, early) | {
        MADE_CPU: made_usage.cpu - idle.cpu,
        DONE: done,
        LAG: lag,
        CPU: spent.cpu - idle.cpu,
        PER_JOB: len(writes) / count,
        READS: (_reads(server) - reads) / count,
        PEAK: spent.peak,
        P50: 1000 * latencies.quantile(0.5),
        P99: 1000 * latencies.quantile(0.99),
    }


def raw(writes: Sequence[Write], count: int) -> Values:
    """The same writes in a loop."""

    async def measure(server: Server) -> float:
        async with server.api(CONNECTIONS) as api:
            started = time.perf_counter()
            await replay(api, writes, count)
            return time.perf_counter() - started

    with Server.fresh() as server:
        made = asyncio.run(measure(server))
    total = count * (1 + len(writes))
    return {
        MADE: made, RATE: count / made, WRITES: total / made, MADE_PER_JOB: float(len(writes)),
    }  # fmt: skip


def peer(
    make: Callable[[Server, Sequence[Write], int], peers.Peer], writes: Sequence[Write], count: int
) -> Values:
    """Another operator, from the burst until all its children are there."""

    async def measure(server: Server, other: peers.Peer) -> float:
        async with server.api(CONNECTIONS) as api:
            started = time.perf_counter()
            arrived = asyncio.create_task(api.until(other.target, count))
            await api.create(other.source, other.objects)
            await within(PATIENCE, f"{count} children", arrived)
            return time.perf_counter() - started

    with Server.fresh() as server:
        other = make(server, writes, count)
        with other.running(server) as pid:
            idle = usage(pid)
            made = asyncio.run(measure(server, other))
            spent, early = usage(pid), server.writes(PEER)
    cpu = spent.cpu - idle.cpu
    return _made(count, made, early) | {MADE_CPU: cpu, PEAK: spent.peak}


CONTENDERS: dict[str, Contender] = {
    OURS: ours,
    RAW: raw,
    "kuberay": partial(peer, partial(peers.kuberay, lifted=False)),
    "trainer": partial(peer, partial(peers.trainer, lifted=False)),
    "kuberay, no limits": partial(peer, partial(peers.kuberay, lifted=True)),
    "trainer, no limits": partial(peer, partial(peers.trainer, lifted=True)),
}
DEFAULT = tuple(CONTENDERS)


async def burst(api: Api, namespace: str, count: int) -> None:
    """Creates TrainingJobs and waits for their RayJobs."""
    arrived = asyncio.create_task(api.until(RAYJOBS.format(namespace), count))
    await api.create(TRAININGJOBS.format(namespace), training_jobs(count))
    await within(PATIENCE, f"{count} RayJobs", arrived)


async def all_succeeded(api: Api, namespace: str, count: int) -> None:
    """Waits until so many TrainingJobs have."""

    def good(job: Object) -> bool:
        return bool(job.get("status", {}).get("phase") == "Succeeded")

    path = TRAININGJOBS.format(namespace)
    await within(PATIENCE, f"{count} jobs to succeed", api.until(path, count, good))


def _made(count: int, seconds: float, writes: Sequence[Object]) -> Values:
    stored = sum(event["responseStatus"]["code"] < 400 for event in writes)
    return {
        MADE: seconds,
        RATE: count / seconds,
        WRITES: (count + stored) / seconds,
        MADE_PER_JOB: len(writes) / count,
    }


def _reads(server: Server) -> float:
    """GETs and LISTs of objects so far, of all clients; in a run only the operator sends any."""
    text = server.kubectl.run("get", "--raw", "/metrics")
    return sum(
        value
        for labels, value in samples(text, "apiserver_request_total")
        if labels["verb"] in ("GET", "LIST") and labels["resource"]
    )


def by_resource(writes: Sequence[Object], count: int) -> str:
    """How many writes of each kind there were for each of so many objects."""
    found = Counter(
        "/".join(filter(None, (e["objectRef"]["resource"], e["objectRef"].get("subresource"))))
        + ("" if e["responseStatus"]["code"] < 400 else f" ({e['responseStatus']['code']})")
        for e in writes
    )
    parts = [f"{what} {number / count:.2f}" for what, number in sorted(found.items())]
    return f"writes for each: {', '.join(parts)}"


def _said(values: Values) -> str:
    return ", ".join(
        f"{quantity.what} {quantity.text(value)}" for quantity, value in values.items()
    )


def _comparisons(figures: Figures) -> list[str]:
    lines = []
    if figures.measured(OURS, RAW):
        ratio = figures.median(OURS, WRITES) / figures.median(RAW, WRITES)
        lines.append(f"writes/s: {ratio:.0%} of the raw loop's (bar: 50%)")
    for who in figures.values:
        if who not in (OURS, RAW) and figures.measured(OURS):
            wall = figures.median(OURS, MADE) / figures.median(who, MADE)
            cpu = figures.median(OURS, MADE_CPU) / figures.median(who, MADE_CPU)
            bar = " (bars: 2x, 4x)" if who == "kuberay" else ""
            lines.append(f"{wall:.2f}x the time and {cpu:.2f}x the CPU of {who}{bar}")
    return lines
