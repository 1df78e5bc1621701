"""The monitor's own process: what it holds in memory while it watches real model servers."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import fake_network
import httpx
import numpy as np
from fake_pods import slice_of
from model_folders import write
from model_servers import Server, servers
from monitors import Endpoint
from tests.perf import ROOT, serving
from tests.perf.common import OURS
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.usage import usage

from controlplane import control_plane
from loopwright.api import names
from loopwright.api.endpoint_report import VerdictsReport
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import MonitorState
from loopwright.train.profile import profile

PODS = 6
SECONDS = 60.0
# Length of a window, and rows of each that a pod gets at once.
WINDOW, ROWS = 10, 500
KINDS = ("DataDrift", "PredictionDrift", "DataQuality")
INTERVAL = 1.0
BAR = 80

RESIDENT = Quantity("memory in the end", "MiB")
PEAK = Quantity("peak memory", "MiB")
CPU = Quantity("CPU of a second", "ms")


@dataclass
class Pod:
    """A model server, as its EndpointSlice tells of it."""

    uid: str
    port: int
    revision: str = "r1"
    address: str = fake_network.ADDRESS
    ready: bool = True


def run(repeats: int, pods: int = PODS, seconds: float = SECONDS) -> list[Figures]:
    """A new monitor each time, on one control plane and the same servers.

    Args:
        pods: Model servers.
        seconds: How long a monitor watches once it has judged a window.
    """
    return [asyncio.run(_run(repeats, pods, seconds))]


async def _run(repeats: int, pods: int, seconds: float) -> Figures:
    figures = Figures(
        f"monitor of {pods} pods, 64 features and 10 classes, {len(KINDS)} monitors,"
        f" windows of {WINDOW} s, asked every {INTERVAL:g} s"
    )
    async with _endpoint(pods) as (endpoint, made):
        for turn in range(repeats):
            values = await _watched(endpoint, made, seconds)
            print(f"  {turn + 1}. {values[RESIDENT]:.1f} MiB", flush=True)
            figures.add(OURS, values)
    most = max(figures.values[OURS][RESIDENT])
    figures.comparisons = [f"at most {most:.1f} MiB resident (bar: {BAR} MiB)"]
    return figures


@asynccontextmanager
async def _endpoint(pods: int) -> AsyncIterator[tuple[Endpoint, list[Server]]]:
    with (
        control_plane() as kubectl,
        tempfile.TemporaryDirectory() as name,
        servers(Path(name)) as start,
    ):
        folder = Path(name)
        kubectl.apply(ROOT / "deploy" / "operator.yaml")
        kubectl.run("create", "namespace", "bench")
        rows = np.random.default_rng(0).uniform(0, 16, (5000, 64)).astype(np.float32)
        outputs = {"output": np.random.default_rng(1).normal(size=(5000, 10))}
        baseline = profile({"input": rows}, outputs=outputs, kinds={"output": "logits"})
        digest = write(
            folder / "model", serving.digits(), signature=serving.SIGNATURE, baseline=baseline
        )
        endpoint = Endpoint(kubectl, "bench", folder)
        monitors = [
            Monitor.model_validate({"name": kind.lower(), "kind": kind, "everySeconds": WINDOW})
            for kind in KINDS
        ]
        endpoint.config = endpoint.config.model_copy(
            update={"monitors": monitors, "interval_seconds": INTERVAL}
        )
        await endpoint.make()
        made = [
            start(model_name="digits", model_dir=folder / "model", model_digest=digest,
                  endpoint="digits", variant="main")
            for _ in range(pods)
        ]  # fmt: skip
        for place, one in enumerate(made):
            await asyncio.to_thread(one.wait_ready)
            await endpoint.apply(slice_of("r1", Pod(f"uid-{place}", one.port)))  # type: ignore[arg-type]
        yield endpoint, made


async def _watched(endpoint: Endpoint, made: list[Server], seconds: float) -> Values:
    endpoint.start()
    assert endpoint.process is not None
    async with AsyncExitStack() as stack:
        traffic = asyncio.create_task(_traffic(made))
        stack.callback(traffic.cancel)
        since = time.time()
        await endpoint.eventually("verdicts", lambda: _judged(endpoint, since))
        before, begin = usage(endpoint.process.pid), time.monotonic()
        await asyncio.sleep(seconds)
        after, elapsed = usage(endpoint.process.pid), time.monotonic() - begin
        resident = endpoint.resident() / 2**20
    assert endpoint.end(signal.SIGTERM) == 0
    os.truncate(endpoint.log, 0)
    return {
        RESIDENT: resident, PEAK: after.peak, CPU: 1000 * (after.cpu - before.cpu) / elapsed,
    }  # fmt: skip


async def _traffic(made: list[Server]) -> None:
    random = np.random.default_rng(3)
    async with httpx.AsyncClient() as client:
        while True:
            for one in made:
                rows = random.uniform(0, 16, (ROWS, 64)).round(2).tolist()
                url = f"{one.url}{serving.V1}"
                (await client.post(url, json={"instances": rows})).raise_for_status()
            await asyncio.sleep(INTERVAL)


def _judged(endpoint: Endpoint, since: float) -> bool:
    """Whether this monitor has judged a window of each kind."""
    found = endpoint.api.get("configmap", endpoint.config.report, endpoint.namespace) or {}
    text = (found.get("data") or {}).get(names.VERDICTS_KEY)
    if not text:
        return False
    report = VerdictsReport.model_validate_json(text)
    done = [
        one.name for one in report.verdicts
        if one.state in (MonitorState.OK, MonitorState.VIOLATED)
        and one.window_end is not None and one.window_end.timestamp() > since
    ]  # fmt: skip
    return len(done) == len(KINDS)
