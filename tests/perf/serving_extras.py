"""The model server with data capture, and while an experiment goes on, beside itself without."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from model_folders import write
from tests.perf import serving
from tests.perf.common import OURS
from tests.perf.figures import Figures, Quantity, Values
from tests.perf.usage import samples

from loopwright.api.capture import CaptureConfig, DataCapture
from loopwright.api.serving import (
    FEEDBACK_ID,
    FEEDBACK_PATH,
    METRIC_CAPTURE_DROPPED,
    METRIC_CAPTURED,
)
from loopwright.train.profile import profile

SECONDS = 5.0
# Clients tell of so many outcomes at once and so often; the endpoint's monitor asks once in five.
OUTCOMES = 100
EVERY = 0.2
# By then all that was captured is stored.
FLUSHED = 3.0
TENTH, ALL, EXPERIMENT = "capturing 10 %", "capturing all", "experiment"
DROPPED = Quantity("sampled requests dropped", "%", 1)


@dataclass(frozen=True)
class Side:
    """One way to run the server."""

    capture: int = 0
    """Percent of the requests."""
    experiment: bool = False


SIDES = {
    OURS: Side(), TENTH: Side(capture=10), ALL: Side(capture=100),
    EXPERIMENT: Side(experiment=True),
}  # fmt: skip


def run(repeats: int, seconds: float = SECONDS) -> list[Figures]:
    """Each in turn, forth and back: the server, and what it starts, on one core."""
    figures = Figures(f"{serving.CONNECTIONS} connections, a row of 64 numbers, {seconds:g} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serving.bodies(folder)
        rows = np.random.default_rng(2).uniform(0, 16, (2000, 64))
        digest = write(
            folder / "model", serving.digits(), signature=serving.SIGNATURE, baseline=profile(rows)
        )
        for turn in range(repeats):
            for who in SIDES if turn % 2 == 0 else reversed(SIDES):
                values = _measure(SIDES[who], folder, digest, seconds)
                print(f"  {who:<16}{values[serving.RATE]:6.0f}/s", flush=True)
                figures.add(who, values)
    for who in (TENTH, ALL, EXPERIMENT):
        ratio = figures.median(who, serving.RATE) / figures.median(OURS, serving.RATE)
        p99 = figures.median(who, serving.P99) / figures.median(OURS, serving.P99)
        figures.comparisons.append(f"{who}: {ratio:.2f} of the rate without, {p99:.2f} of the p99")
    return [figures]


def _measure(side: Side, folder: Path, digest: str, seconds: float) -> Values:
    words = serving.command(folder / "model", digest)
    if side.capture:
        config = folder / "capture.json"
        config.write_text(_config(side.capture))
        words += [f"--capture_config={config}", "--revision=r1"]
    body = serving.body_of(folder, serving.V1)
    env = {"LOOPWRIGHT_CAPTURE_DIR": str(folder / "claim"), "HOSTNAME": "pod-1"}
    with serving.server(words, folder, env) as process:
        while not serving.answers(serving.V1, body):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        _load(body, 1)
        with _experiment(body) if side.experiment else nullcontext():
            found = _load(body, seconds)
        dropped = {DROPPED: _dropped()} if side.capture else {}
    assert found["failed"] == 0, found
    rates = {serving.P50: found["p50"], serving.P99: found["p99"], serving.RATE: found["rate"]}
    return {**rates, **dropped}


def _load(body: Path, seconds: float) -> dict[str, float]:
    return serving.load(("127.0.0.1", serving.PORT), serving.V1, body, seconds, serving.CONNECTIONS)


def _config(percent: int) -> str:
    capture = {
        "destination": {"uri": "pvc://captures/bench"}, "samplePercent": percent,
        "flushSeconds": 1,
    }  # fmt: skip
    config = CaptureConfig(
        endpoint="digits", namespace="bench", capture=DataCapture.model_validate(capture)
    )
    return json.dumps(config.wire())


def _dropped() -> float:
    """Percent of the requests that were sampled."""
    time.sleep(FLUSHED)
    text = httpx.get(f"http://127.0.0.1:{serving.PORT}/metrics").text
    dropped, stored = (
        sum(value for _, value in samples(text, name))
        for name in (METRIC_CAPTURE_DROPPED, METRIC_CAPTURED)
    )
    assert stored, "nothing was captured"
    return 100 * dropped / (dropped + stored)


@contextmanager
def _experiment(body: Path) -> Iterator[None]:
    """Clients that tell of outcomes, and a monitor that asks what was counted."""
    url = f"http://127.0.0.1:{serving.PORT}"
    stop = threading.Event()
    answer = httpx.post(
        f"{url}{serving.V1}", content=body.read_bytes(),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    about = answer.headers[FEEDBACK_ID].rpartition(".")[0]

    def tell() -> None:
        with httpx.Client(base_url=url) as client:
            turn = 0
            while not stop.wait(EVERY):
                items = [
                    {"id": f"{about}.{turn}-{one}", "name": "clicked", "value": one % 2}
                    for one in range(OUTCOMES)
                ]
                client.post(FEEDBACK_PATH, json=items).raise_for_status()
                turn += 1
                if turn % 5 == 0:
                    for path in ("/metrics", FEEDBACK_PATH):
                        client.get(path).raise_for_status()

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
