"""Pod scheduled to Ready, and sizes of images: our servers and KServe's own Python server.

Each is an InferenceService with the same small model on a claim and the same probes, alone on the
node, with its image there already. KServe's server runs in an image that is built here: the stock
one holds more. The kubelet looks at containers and probes them once a second, so each begins at a
random moment of that second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from install import install
from tests.perf.api import PLAIN, Api
from tests.perf.claim import Models, models
from tests.perf.common import CLAIM, OURS, Manifest
from tests.perf.figures import Figures, Quantity

from controlplane import cluster_tool

TORCH, KSERVE = "loopwright with torch", "kserve SDK"
IMAGES = {
    OURS: "localhost/loopwright/serving:dev",
    TORCH: "localhost/loopwright/serving-torch:dev",
    KSERVE: "localhost/loopwright/kserve-server:dev",
}
START = Quantity("scheduled to Ready", "s", 2)
SIZE = Quantity("image, compressed", "MiB", 0)
RESOURCES = {"cpu": "1", "memory": "1Gi"}
PATIENCE = 180.0


def run(repeats: int) -> list[Figures]:
    """One of each that is not counted, then each in turn."""
    cluster_tool("images", "serving-torch", "kserve-server")
    figures, chance = Figures("one small model"), np.random.default_rng(0)
    makers: dict[str, Callable[[Models, str], Manifest]] = {
        OURS: _ours, TORCH: _torch, KSERVE: _kserve,
    }  # fmt: skip
    with models() as found:
        install(found.kubectl)
        for turn in range(repeats + 1):
            for who in makers if turn % 2 == 0 else reversed(makers):
                name = f"s{list(makers).index(who)}-{turn}"
                time.sleep(chance.random())
                seconds = asyncio.run(_start(found, name, makers[who](found, name)))
                note = "" if turn else "  (warm-up)"
                print(f"  {who:<24}{seconds:8.2f} s{note}", flush=True)
                if turn:
                    figures.add(who, {START: seconds})
        for who, size in _sizes(found).items():
            figures.add(who, {SIZE: size})
    figures.values = {who: figures.values[who] for who in makers}
    for who in (TORCH, KSERVE):
        ratio = figures.median(OURS, START) / figures.median(who, START)
        figures.comparisons.append(f"{OURS} takes {ratio:.2f} times as long as {who}")
    return [figures]


def _service(name: str, predictor: Manifest) -> Manifest:
    annotations = {"deploymentMode": "Standard", "autoscalerClass": "none"}
    meta = {f"serving.kserve.io/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": meta},
        "spec": {"predictor": predictor},
    }


def _model(name: str, format: str, uri: str) -> Manifest:
    model = {"modelFormat": {"name": format}, "storageUri": uri}
    return _service(
        name, {"model": {**model, "resources": {"requests": RESOURCES, "limits": RESOURCES}}}
    )


def _ours(found: Models, name: str) -> Manifest:
    return _model(name, "loopwright-onnx", found.onnx)


def _torch(found: Models, name: str) -> Manifest:
    return _model(name, "loopwright-safetensors", found.safetensors)


def _kserve(_: Models, name: str) -> Manifest:
    """The peer, with our runtime's probes in place of KServe's, which look every ten seconds."""
    ready = {"httpGet": {"path": "/v2/health/ready", "port": 8080}}
    live = {"httpGet": {"path": "/v2/health/live", "port": 8080}}
    container = {
        "name": "kserve-container",
        "image": IMAGES[KSERVE],
        "args": ["/mnt/bench/onnx/model.onnx"],
        "env": [{"name": "ORT_DISABLE_TELEMETRY", "value": "1"}],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {**ready, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 1},
        "startupProbe": {**live, "periodSeconds": 1, "failureThreshold": 600},
        "resources": {"requests": RESOURCES, "limits": RESOURCES},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "models", "mountPath": "/mnt/bench", "readOnly": True}],
    }
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}}
    return _service(name, {"containers": [container], "volumes": [volume]})


async def _start(found: Models, name: str, service: Manifest) -> float:
    """Seconds, as a watch sees them: the times in a pod's conditions are whole seconds."""
    kubectl, namespace = found.kubectl, found.namespace
    assert kubectl.kubeconfig is not None
    async with Api(kubectl.kubeconfig, 2) as api, asyncio.timeout(PATIENCE):
        watching = asyncio.create_task(_watched(api, namespace, name))
        words = ("create", "-n", namespace, "-f", "-")
        await asyncio.to_thread(kubectl.run, *words, stdin=yaml.safe_dump(service))
        seconds = await watching
    words = ("delete", "inferenceservice", name, "-n", namespace)
    await asyncio.to_thread(kubectl.run, *words)
    while await asyncio.to_thread(kubectl.list, "pods", namespace):  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return seconds


async def _watched(api: Api, namespace: str, name: str) -> float:
    scheduled = 0.0
    events = api.watch(f"/api/v1/namespaces/{namespace}/pods", PLAIN)
    try:
        async for pod in events:
            if not pod["metadata"]["name"].startswith(f"{name}-predictor"):
                continue
            true = {one["type"] for one in _conditions(pod) if one["status"] == "True"}
            if "PodScheduled" in true and not scheduled:
                scheduled = time.perf_counter()
            if "Ready" in true:
                return time.perf_counter() - scheduled
    finally:
        await events.aclose()
    raise AssertionError("the watch ended")


def _conditions(pod: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = (pod.get("status") or {}).get("conditions") or []
    return found


def _sizes(found: Models) -> dict[str, float]:
    """MiB on the node."""
    [node] = found.kubectl.list("nodes")
    images = node["status"]["images"]
    known = {name: one["sizeBytes"] for one in images for name in one["names"] or ()}
    return {who: known[image] / 2**20 for who, image in IMAGES.items()}
