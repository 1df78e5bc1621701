"""A burst of sweeps and a burst of batches, beside one of training jobs, from creation to success.

Control plane only, as in `scale`: a fake world writes what KubeRay and the drivers would, with
reports as large as those of real ones. The raw loop makes the same objects and the operator's own
writes until their RayJobs are there, each on a control plane of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from replicas import Replica
from tests.perf.api import Api, Object, within
from tests.perf.common import Options
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.replay import JOBS, Subject, Write, record, replay
from tests.perf.scale import CPU, DONE, LAG, MADE, MADE_CPU, P50, P99, PEAK, by_resource
from tests.perf.server import NAMESPACE, PATIENCE, RAYJOBS, Server, now, scrape
from tests.perf.usage import Latencies, usage
from tests.perf.world import FakeWorld, Run, Script, succeeds

from loopwright.api import names
from loopwright.kube.client import CONNECTIONS

OWN: Final = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}"
DIGEST: Final = f"sha256:{'0' * 64}"
WRITES = Quantity("writes per object in all", "", 2)
MADE_WRITES = Quantity("writes per object until then", "", 2)
CPU_EACH = Quantity("CPU per object", "ms", 0)


def _ours(kind: str, name: str, **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip


def sweep(name: str) -> Object:
    """What a user writes."""
    return _ours(
        "HyperparameterSweep", name,
        objectives=[{"metric": "accuracy", "direction": "Maximize"}],
        parameters=[
            {"name": "lr", "logUniform": {"min": "0.0001", "max": "0.1"}},
            {"name": "layers", "int": {"min": 1, "max": 4}},
        ],
        algorithm={"tpe": {}}, maxTrials=30,
        trialTemplate={"spec": {"function": "a:b", "output": {"uri": "pvc://results/x"}}},
    )  # fmt: skip


def batch(name: str) -> Object:
    """What a user writes."""
    return _ours(
        "BatchTransform", name,
        model={"modelRef": {"name": "m", "alias": "live"}},
        input={"uri": "pvc://results/in", "format": "parquet"},
        output={"uri": f"pvc://results/{name}"},
    )  # fmt: skip


async def models(api: Api) -> None:
    """The model that all batches run."""
    version = {
        "modelRef": {"name": "m"}, "version": "v1", "uri": "s3://models/v1", "digest": DIGEST,
        "format": "onnx",
    }  # fmt: skip
    model = _ours("Model", "m", aliases={"live": "v1"})
    await api.send("POST", f"{OWN}/models", model)
    await api.send("POST", f"{OWN}/modelversions", _ours("ModelVersion", "m-v1", **version))


async def _lives(run: Run, *reports: Object) -> None:
    await run.says("Initializing")
    await run.says("Running", "RUNNING")
    *on_the_way, last = reports
    for one in on_the_way:
        await run.reports("Running", **one)
    await run.reports("Succeeded", **last)
    await run.says("Complete", "SUCCEEDED")


async def searches(run: Run) -> None:
    """Thirty trials, told of three times."""
    await _lives(run, *(_search(ended) for ended in (5, 15, 30)))


def _search(ended: int) -> Object:
    trials = [
        {
            "name": f"t{number}", "state": "Succeeded", "value": f"0.{99 - number}", "step": 27,
            "parameters": {"lr": f"0.00{number}", "layers": "3"}, "seconds": 60,
            "metrics": {"accuracy": f"0.{99 - number}", "loss": "0.123456"},
            "modelUri": f"pvc://results/x/0123456789/trials/t{number}/model",
        }
        for number in range(1, min(ended, 20) + 1)
    ]  # fmt: skip
    counts = {"total": ended, "succeeded": ended, "finished": f"{ended}/30"}
    return {
        "trials": counts, "best": trials[0], "topTrials": trials,
        "historyUri": "pvc://results/x/0123456789/history.jsonl",
        **({"stopReason": "MaxTrials"} if ended == 30 else {}),
    }  # fmt: skip


async def transforms(run: Run) -> None:
    """Forty shards, told of three times."""
    await _lives(run, *(_shards(done, run.job) for done in (10, 20, 40)))


def _shards(done: int, job: str) -> Object:
    working = [
        {"number": n, "state": "Running", "file": f"2026/11/rows-{n:05d}.parquet", "records": 1000}
        for n in range(done, min(done + 8, 40))
    ]
    counts = {"read": 1000 * done, "written": 1000 * done}
    uri = f"pvc://results/{job}"
    outputs = {
        "uri": uri, "manifestUri": f"{uri}/_manifest.json", "digest": DIGEST, "files": 40,
        "bytes": 10**9,
    }  # fmt: skip
    return {
        "records": counts, "shards": {"total": 40, "done": done}, "shardStates": working,
        "recordsPerSecond": "12345", **({"outputs": outputs} if done == 40 else {"etaSeconds": 60}),
    }  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What is measured."""

    name: str
    subject: Subject
    life: Script


_RAYJOBS: Final = RAYJOBS.format(NAMESPACE)
KINDS: Final = (
    Kind("HyperparameterSweep", Subject(f"{OWN}/hyperparametersweeps", _RAYJOBS, sweep), searches),
    Kind("BatchTransform", Subject(f"{OWN}/batchtransforms", _RAYJOBS, batch, models), transforms),
    Kind("TrainingJob", JOBS, succeeds),
)


def run(options: Options) -> list[Figures]:
    """All kinds, in turns that go back and forth."""
    figures = Figures(f"{options.jobs} objects of a kind in a burst")
    raw = Figures("raw loops")
    writes = {kind.name: record(kind.subject) for kind in KINDS}
    for turn in range(options.repeats):
        for kind in KINDS if turn % 2 == 0 else reversed(KINDS):
            values = ours(kind, options.jobs)
            said = ", ".join(f"{what.what} {what.text(value)}" for what, value in values.items())
            print(f"  {turn + 1}. {kind.name}: {said}", flush=True)
            figures.add(kind.name, values)
            raw.add(kind.name, {MADE: replayed(kind, writes[kind.name], options.jobs)})
    for kind in KINDS:
        ratio = figures.median(kind.name, MADE) / raw.median(kind.name, MADE)
        figures.comparisons.append(
            f"{kind.name}: {ratio:.2f}x the time of the raw loop of {len(writes[kind.name])} writes"
        )
    return [figures]


def ours(kind: Kind, count: int) -> Values:
    """The operator, from the burst to the last success."""
    with Server.fresh() as server, server.operators() as operators:
        return asyncio.run(_measured(server, operators.lead(), kind, count))


def replayed(kind: Kind, writes: Sequence[Write], count: int) -> float:
    """Seconds of the same writes in a loop."""

    async def measure(server: Server) -> float:
        async with server.api(CONNECTIONS) as api:
            await _prepare(api, kind)
            started = time.perf_counter()
            await replay(api, writes, count, kind.subject)
            return time.perf_counter() - started

    with Server.fresh() as server:
        return asyncio.run(measure(server))


async def _prepare(api: Api, kind: Kind) -> None:
    if kind.subject.before is not None:
        await kind.subject.before(api)


async def _measured(server: Server, replica: Replica, kind: Kind, count: int) -> Values:
    pid, subject = replica.process.pid, kind.subject
    async with server.api(CONNECTIONS) as api:
        await _prepare(api, kind)
        await asyncio.to_thread(server.settle)
        idle, begun = usage(pid), now()
        async with FakeWorld(api, NAMESPACE, lambda _: kind.life).living() as world:
            started = time.perf_counter()
            arrived = asyncio.create_task(api.until(subject.children.format(NAMESPACE), count))
            await api.create(subject.path.format(NAMESPACE), subject.objects(count))
            await within(PATIENCE, f"{count} RayJobs", arrived)
            made, made_at, made_usage = time.perf_counter() - started, now(), usage(pid)
            world.gate.set()
            succeeded = api.until(subject.path.format(NAMESPACE), count, _succeeded)
            await within(PATIENCE, f"{count} to succeed", succeeded)
            done, lag = time.perf_counter() - started, time.perf_counter() - world.reported
    await asyncio.to_thread(server.settle)
    spent, text = usage(pid), await asyncio.to_thread(scrape, replica)
    latencies = Latencies.read(text, "loopwright_reconcile_seconds", kind=kind.name)
    writes = server.writes(since=begun)
    print(f"     {by_resource(writes, count)}", flush=True)
    early = [event for event in writes if event["requestReceivedTimestamp"] <= made_at]
    cpu = spent.cpu - idle.cpu
    return {
        MADE: made,
        MADE_CPU: made_usage.cpu - idle.cpu,
        MADE_WRITES: len(early) / count,
        DONE: done,
        LAG: lag,
        WRITES: len(writes) / count,
        CPU: cpu,
        CPU_EACH: 1000 * cpu / count,
        PEAK: spent.peak,
        P50: 1000 * latencies.quantile(0.5),
        P99: 1000 * latencies.quantile(0.99),
    }


def _succeeded(obj: Object) -> bool:
    return bool((obj.get("status") or {}).get("phase") == "Succeeded")
