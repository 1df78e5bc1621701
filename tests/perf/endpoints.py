"""A burst of endpoints: how fast each gets its InferenceService, and what the operator spends.

Control plane only. Once all InferenceServices are there, a fake KServe gives each a Deployment with
a pod that answers, and the endpoints become Ready. The raw loop makes the same endpoints and the
operator's own writes for them, each on a control plane of its own, by turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from fake_kserve import deployment_of, model, version
from replicas import Replica
from tests.perf.api import MERGE, PLAIN, Api, Object, within
from tests.perf.common import OURS, Options
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.replay import Subject, Write, record, replay
from tests.perf.scale import CPU, P50, P99, PEAK, RAW, by_resource
from tests.perf.server import NAMESPACE, PATIENCE, Server, now, scrape
from tests.perf.usage import Latencies, usage

from loopwright.kube.client import CONNECTIONS

OWN = f"/apis/loopwright.io/v1alpha1/namespaces/{NAMESPACE}"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"

MADE = Quantity("all InferenceServices made after", "s")
MADE_CPU = Quantity("CPU until then", "s")
MADE_WRITES = Quantity("writes per endpoint until then", "", 2)
READY = Quantity("all Ready after", "s")
WRITES = Quantity("writes per endpoint in all", "", 2)


def endpoint(name: str) -> Object:
    """What a user writes."""
    variant = {"name": "main", "model": {"modelVersionRef": {"name": "m-v1"}}}
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelEndpoint"}
    return {**head, "metadata": {"name": name}, "spec": {"variants": [variant]}}


async def models(api: Api) -> None:
    """The model that all of them serve."""
    await api.send("POST", f"{OWN}/models", model())
    await api.send("POST", f"{OWN}/modelversions", version("v1"))


ENDPOINTS = Subject(
    f"{OWN}/modelendpoints",
    f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices",
    endpoint,
    models,
)


def run(options: Options) -> list[Figures]:
    """Both, in turns that go back and forth."""
    figures = Figures(f"{options.jobs} endpoints in a burst")
    writes = record(ENDPOINTS)
    told = ", ".join(f"{one.method} {one.path.rpartition('/')[0]}" for one in writes)
    print(f"  the operator's writes until an InferenceService is there: {told}", flush=True)
    sides: dict[str, Callable[[], Values]] = {
        OURS: lambda: ours(options.jobs),
        RAW: lambda: raw(writes, options.jobs),
    }
    for turn in range(options.repeats):
        for who in sides if turn % 2 == 0 else reversed(sides):
            values = sides[who]()
            said = ", ".join(f"{what.what} {what.text(value)}" for what, value in values.items())
            print(f"  {turn + 1}. {who}: {said}", flush=True)
            figures.add(who, values)
    ratio = figures.median(OURS, MADE) / figures.median(RAW, MADE)
    figures.comparisons = [f"{ratio:.2f}x the time of the raw loop"]
    return [figures]


def ours(count: int) -> Values:
    """The operator, from the burst until all are Ready."""
    with Server.fresh() as server, server.operators() as operators:
        return asyncio.run(_ours(server, operators.lead(), count))


async def _ours(server: Server, replica: Replica, count: int) -> Values:
    pid = replica.process.pid
    async with server.api(CONNECTIONS) as api:
        await models(api)
        await asyncio.to_thread(server.settle)
        idle, begun = usage(pid), now()
        started = time.perf_counter()
        arrived = asyncio.create_task(api.until(ENDPOINTS.children, count))
        await api.create(ENDPOINTS.path, ENDPOINTS.objects(count))
        await within(PATIENCE, f"{count} InferenceServices", arrived)
        made, made_at, made_usage = time.perf_counter() - started, now(), usage(pid)
        async with fake_kserve(api):
            ready = api.until(ENDPOINTS.path, count, _ready)
            await within(PATIENCE, f"{count} endpoints to be Ready", ready)
        done = time.perf_counter() - started
    await asyncio.to_thread(server.settle)
    spent, text = usage(pid), await asyncio.to_thread(scrape, replica)
    latencies = Latencies.read(text, "loopwright_reconcile_seconds", kind="ModelEndpoint")
    writes = server.writes(since=begun)
    print(f"     {by_resource(writes, count)}", flush=True)
    early = [event for event in writes if event["requestReceivedTimestamp"] <= made_at]
    return {
        MADE: made,
        MADE_CPU: made_usage.cpu - idle.cpu,
        MADE_WRITES: len(early) / count,
        READY: done,
        WRITES: len(writes) / count,
        CPU: spent.cpu - idle.cpu,
        PEAK: spent.peak,
        P50: 1000 * latencies.quantile(0.5),
        P99: 1000 * latencies.quantile(0.99),
    }


def raw(writes: Sequence[Write], count: int) -> Values:
    """The same writes in a loop."""

    async def measure(server: Server) -> float:
        async with server.api(CONNECTIONS) as api:
            await models(api)
            started = time.perf_counter()
            await replay(api, writes, count, ENDPOINTS)
            return time.perf_counter() - started

    with Server.fresh() as server:
        return {MADE: asyncio.run(measure(server)), MADE_WRITES: float(len(writes))}


def _ready(obj: Object) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


@asynccontextmanager
async def fake_kserve(api: Api) -> AsyncIterator[None]:
    """Gives each InferenceService a Deployment whose pod answers at once, while the block runs."""
    playing = asyncio.create_task(_play(api))
    try:
        yield
        if playing.done():
            playing.result()
    finally:
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing


async def _play(api: Api) -> None:
    seen: set[str] = set()
    async with asyncio.TaskGroup() as tasks:
        async for service in api.watch(ENDPOINTS.children, PLAIN):
            uid = service["metadata"]["uid"]
            if uid not in seen:
                seen.add(uid)
                tasks.create_task(_serve(api, service))


async def _serve(api: Api, service: Object) -> None:
    name = f"{service['metadata']['name']}-predictor"
    await api.send("POST", DEPLOYMENTS, deployment_of(service, name))
    one = {"replicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    await api.send("PATCH", f"{DEPLOYMENTS}/{name}/status", {"status": one}, MERGE)
