"""A namespace of the embedded cluster with models on a claim, for benchmarks of serving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import model_folders
import numpy as np
import yaml
from kubectl import Kubectl
from safetensors.numpy import save
from tests.perf import common, serving
from tests.perf.common import CLAIM, Manifest

from loopwright.networks import INNER, NAME

SMALL = {"cpu": "100m", "memory": "128Mi"}
TIMEOUT = 120.0


@dataclass(frozen=True)
class Models:
    """Where models are."""

    kubectl: Kubectl
    namespace: str
    digest: str
    """Of `onnx`."""
    onnx: str = f"pvc://{CLAIM}/onnx"
    safetensors: str = f"pvc://{CLAIM}/safetensors"

    def apply(self, *objects: Manifest) -> None:
        """Applies objects."""
        self.kubectl.apply(text=yaml.safe_dump_all(objects), namespace=self.namespace)

    def pods(self) -> list[Manifest]:
        """All pods that are not about to end."""
        found = self.kubectl.list("pods", self.namespace)
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]


@contextmanager
def models() -> Iterator[Models]:
    """Writes the models to a claim in a namespace that lives as long as the block."""
    kubectl = Kubectl()
    with common.space(kubectl) as namespace:
        folder = _bound(kubectl, namespace)
        digest = model_folders.write(folder / "onnx", serving.digits(), signature=serving.SIGNATURE)
        _network(folder / "safetensors")
        yield Models(kubectl, namespace, digest)


def _bound(kubectl: Kubectl, namespace: str) -> Path:
    """The claim's folder on this machine, which a first pod makes."""
    spec = {**common.pod("bind", SMALL), "restartPolicy": "Never"}
    spec["containers"][0]["command"] = ["true"]
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bind"}}
    kubectl.apply(text=yaml.safe_dump({**head, "spec": spec}), namespace=namespace)
    until = time.monotonic() + TIMEOUT
    while (folder := common.folder_of(kubectl, namespace)) is None or not folder.exists():
        assert time.monotonic() < until, "the claim is not bound"
        time.sleep(0.5)
    kubectl.run("delete", "pod", "bind", "-n", namespace, "--wait=true", "--grace-period=0")
    return folder


def _network(folder: Path) -> None:
    """The network of the ONNX model as layers, with other weights."""
    sizes = [(64, 128), (128, 128), (128, 10)]
    layers: list[Manifest] = []
    weights = {}
    for wide, narrow in sizes:
        number = len(layers)
        weights[f"{number}.weight"] = np.full((narrow, wide), 1 / wide, np.float32)
        weights[f"{number}.bias"] = np.zeros(narrow, np.float32)
        layers += [{NAME: "Linear", "in_features": wide, "out_features": narrow}, {NAME: "ReLU"}]
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(save(weights))
    model_folders.describe(
        folder, signature=serving.SIGNATURE, format="safetensors",
        architecture={"builder": "sequential", "arguments": {INNER: layers[:-1]}},
    )  # fmt: skip
