"""Our model server beside bare FastAPI and KServe's own Python server, with the same ONNX model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import onnx
from model_folders import BATCH, model, write
from tests.perf import ROOT
from tests.perf.figures import Figures, Quantity, Values

from loopwright.api.baseline import Baseline
from loopwright.train.profile import profile
from ports import free_port

KSERVE_PYTHON = ROOT / ".venv/kserve/bin/python"
PEERS = ROOT / "tests/perf/model_servers"
V1, V2 = "/v1/models/digits:predict", "/v2/models/digits/infer"
PORT, GRPC_PORT = free_port(), free_port()
SECONDS = 3
CONNECTIONS = 4

OURS, OURS_V2, BLIND = "loopwright, v1", "loopwright, v2", "without counting"
FASTAPI, TUNED, KSERVE = "FastAPI", "FastAPI by hand", "kserve SDK"
P50, P99 = Quantity("median latency", "ms", 3), Quantity("99th percentile", "ms", 3)
RATE = Quantity("requests a second", "", 0)
MEMORY = Quantity("memory", "MiB", 0)
START = Quantity("start to first answer", "s", 2)


@dataclass(frozen=True)
class Side:
    """A server and how it is asked."""

    command: Sequence[str]
    path: str = V1


def run(repeats: int) -> list[Figures]:
    """Each server in turn, forth and back, alone on one core; the load comes from the other."""
    assert KSERVE_PYTHON.exists(), "run `make kserve-venv` first"
    figures = Figures(f"{CONNECTIONS} connections, a row of 64 numbers, {SECONDS} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bodies(folder)
        sides = _sides(folder)
        for turn in range(repeats):
            for who in sides if turn % 2 == 0 else reversed(sides):
                values = _measure(sides[who], folder)
                print(f"  {who:<16}{values[P50]:8.3f} ms {values[RATE]:6.0f}/s", flush=True)
                figures.add(who, values)
    figures.comparisons += [_compare(figures, peer) for peer in (FASTAPI, TUNED, KSERVE, BLIND)]
    return [figures]


def digits() -> onnx.ModelProto:
    """A network of 64, 128, 128 and 10 neurons."""
    random, nodes, constants, last = np.random.default_rng(0), [], {}, "input"
    sizes = (64, 128, 128, 10)
    for layer, (wide, narrow) in enumerate(pairwise(sizes)):
        constants[f"w{layer}"] = (random.normal(size=(wide, narrow)) / 8).astype(np.float32)
        constants[f"b{layer}"] = np.zeros(narrow, np.float32)
        out = "output" if layer == 2 else f"g{layer}"
        nodes.append(onnx.helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [out]))
        if layer < 2:
            nodes.append(onnx.helper.make_node("Relu", [out], [f"r{layer}"]))
            last = f"r{layer}"
    kind = onnx.TensorProto.FLOAT
    return model(nodes, [("input", kind, [BATCH, 64])], [("output", kind, [BATCH, 10])], constants)


SIGNATURE = {
    "inputs": [{"name": "input", "dtype": "float32", "shape": [-1, 64]}],
    "outputs": [{"name": "output", "dtype": "float32", "shape": [-1, 10]}],
}


def bodies(folder: Path) -> None:
    """Writes the body of a request in each protocol."""
    row = [round(float(one), 3) for one in np.random.default_rng(1).uniform(0, 16, 64)]
    tensor = {"name": "input", "shape": [1, 64], "datatype": "FP32", "data": row}
    for path, body in ((V1, {"instances": [row]}), (V2, {"inputs": [tensor]})):
        body_of(folder, path).write_text(json.dumps(body))


def body_of(folder: Path, path: str) -> Path:
    """The file of the body that goes with a path."""
    return folder / ("v2.json" if path == V2 else "v1.json")


def _sides(folder: Path) -> dict[str, Side]:
    rows = np.random.default_rng(2).uniform(0, 16, (2000, 64))
    counting = _ours(folder / "model", profile(rows))
    file, peer = str(folder / "model/model.onnx"), str(KSERVE_PYTHON)
    fastapi = [peer, str(PEERS / "bare_fastapi.py"), file, str(PORT)]
    kserve = [peer, str(PEERS / "kserve_sdk.py"), file, f"--http_port={PORT}"]
    return {
        OURS: Side(counting),
        OURS_V2: Side(counting, V2),
        BLIND: Side(_ours(folder / "plain", None)),
        FASTAPI: Side(fastapi),
        TUNED: Side([*fastapi, "raw"]),
        KSERVE: Side([*kserve, f"--grpc_port={GRPC_PORT}"]),
    }


def _ours(folder: Path, baseline: Baseline | None) -> list[str]:
    """Our server of a model, which counts what comes into the bins of its baseline."""
    return command(folder, write(folder, digits(), signature=SIGNATURE, baseline=baseline))


def command(folder: Path, digest: str) -> list[str]:
    """Starts our server of a model folder."""
    return [
        sys.executable, "-m", "loopwright.serving", "--model_name=digits", f"--model_dir={folder}",
        f"--model_digest={digest}", f"--http_port={PORT}", f"--grpc_port={GRPC_PORT}",
        "--endpoint=digits", "--variant=a", "--drain_seconds=0",
    ]  # fmt: skip


def _measure(side: Side, folder: Path) -> Values:
    body = body_of(folder, side.path)
    with server(side.command, folder) as process:
        begin = time.monotonic()
        while not answers(side.path, body):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.01)
        start = time.monotonic() - begin
        _load(side.path, body, 1)
        found = _load(side.path, body, SECONDS)
        status = Path(f"/proc/{process.pid}/status").read_text()
    assert found["failed"] == 0, found
    resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert resident is not None
    return {
        P50: found["p50"], P99: found["p99"], RATE: found["rate"],
        MEMORY: int(resident[1]) / 1024, START: start,
    }  # fmt: skip


@contextmanager
def server(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server on one core, with what it starts itself."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), **(env or {})}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", "0", *command], stdout=log, stderr=log, env=env
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(path: str, body: Path) -> bool:
    """Whether the server is up."""
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{PORT}{path}"
    try:
        return httpx.post(url, content=body.read_bytes(), headers=headers).status_code == 200
    except httpx.TransportError:
        return False


def _load(path: str, body: Path, seconds: float) -> dict[str, float]:
    return load(("127.0.0.1", PORT), path, body, seconds, CONNECTIONS)


def load(
    server: tuple[str, int], path: str, body: Path, seconds: float, connections: int
) -> dict[str, float]:
    """What `load.py` measures, on the second core."""
    program = str(ROOT / "tests/perf/load.py")
    words = [str(server[1]), path, str(body), "--host", server[0], "--seconds", str(seconds)]
    words += ["--connections", str(connections)]
    command = ["taskset", "-c", "1", sys.executable, program, *words]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def _compare(figures: Figures, peer: str) -> str:
    ratios = [
        f"{name} {figures.median(OURS, quantity) / figures.median(peer, quantity):.2f}"
        for name, quantity in (("p50", P50), ("p99", P99), ("rate", RATE))
    ]
    bars = {
        FASTAPI: " (bars: p50 1.00, p99 1.20)",
        KSERVE: " (bar: rate 2.00)",
        BLIND: " (bar: rate 0.97)",
    }
    return f"{OURS} to {peer}: {', '.join(ratios)}{bars.get(peer, '')}"
