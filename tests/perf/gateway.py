"""The hop through the gateway: the same pod asked by its address and through the endpoint's URL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.perf import serving
from tests.perf.claim import Models, models
from tests.perf.common import Manifest
from tests.perf.figures import Figures, Quantity, Values

NAME = "digits"
SECONDS = 5
MANY = 4
DIRECT, THROUGH = "the pod itself", "through the gateway"
ALONE_P50 = Quantity("1 connection: median latency", "ms", 3)
ALONE_P99 = Quantity("1 connection: 99th percentile", "ms", 3)
MANY_P50 = Quantity(f"{MANY} connections: median latency", "ms", 3)
MANY_P99 = Quantity(f"{MANY} connections: 99th percentile", "ms", 3)
RATE = Quantity(f"{MANY} connections: requests a second", "", 0)
TIMEOUT = 120.0


def run(repeats: int) -> list[Figures]:
    """Both ways in turns, forth and back."""
    figures = Figures(f"a row of 64 numbers, {SECONDS} s, v2")
    with models() as found, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serving.bodies(folder)
        sides = {DIRECT: _direct, THROUGH: _through}
        addresses = _serve(found, sides)
        for turn in range(repeats):
            for who in sides if turn % 2 == 0 else reversed(sides):
                values = _measure(addresses[who], folder)
                print(f"  {who:<20}{values[ALONE_P50]:8.3f} ms", flush=True)
                figures.add(who, values)
    for quantity in (ALONE_P50, ALONE_P99):
        hop = figures.median(THROUGH, quantity) - figures.median(DIRECT, quantity)
        figures.comparisons.append(f"{quantity.what}: the hop takes {hop:.3f} ms")
    return [figures]


def endpoint(found: Models) -> list[Manifest]:
    """A registered model and an endpoint with one pod."""
    version = {
        "modelRef": {"name": NAME}, "version": "v1", "uri": found.onnx, "digest": found.digest,
        "format": "onnx",
    }  # fmt: skip
    variant = {
        "name": "main", "model": {"modelVersionRef": {"name": f"{NAME}-v1"}},
        "resources": {"cpu": "1", "memory": "512Mi"},
    }  # fmt: skip
    specs: dict[tuple[str, str], Manifest] = {
        ("Model", NAME): {},
        ("ModelVersion", f"{NAME}-v1"): version,
        ("ModelEndpoint", NAME): {"variants": [variant]},
    }
    return [
        {"apiVersion": "loopwright.io/v1alpha1", "kind": kind, "metadata": {"name": name},
         "spec": spec}
        for (kind, name), spec in specs.items()
    ]  # fmt: skip


def _serve(found: Models, sides: dict[str, Callable[[Models], str]]) -> dict[str, str]:
    """The URL of each side, once it answers."""
    found.apply(*endpoint(found))
    until = time.monotonic() + TIMEOUT
    while True:
        addresses = {who: side(found) for who, side in sides.items()}
        if all(map(_answers, addresses.values())):
            return addresses
        assert time.monotonic() < until, addresses
        time.sleep(0.5)


def _direct(found: Models) -> str:
    addresses = [pod.get("status", {}).get("podIP") for pod in found.pods()]
    return f"http://{addresses[0]}:8080" if addresses and addresses[0] else ""


def _through(found: Models) -> str:
    status = (found.kubectl.get("mep", NAME, found.namespace) or {}).get("status") or {}
    return str(status.get("url") or "")


def _answers(url: str) -> bool:
    try:
        path = f"{url}/v2/models/{NAME}/ready"
        return bool(url) and httpx.get(path, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _measure(url: str, folder: Path) -> Values:
    parts = urlsplit(url)
    assert parts.hostname is not None
    server = (parts.hostname, parts.port or 80)
    path, body = parts.path + serving.V2, serving.body_of(folder, serving.V2)
    serving.load(server, path, body, 1, 1)
    alone = serving.load(server, path, body, SECONDS, 1)
    many = serving.load(server, path, body, SECONDS, MANY)
    assert alone["failed"] == many["failed"] == 0, (alone, many)
    return {
        ALONE_P50: alone["p50"], ALONE_P99: alone["p99"],
        MANY_P50: many["p50"], MANY_P99: many["p99"], RATE: many["rate"],
    }  # fmt: skip
