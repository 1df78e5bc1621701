"""What benchmarks share: a namespace with a claim, runs in turns, and results to print."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from install import LOCAL_RUNTIME
from kubectl import Kubectl

Manifest = dict[str, Any]

CLAIM = "bench"
MOUNT = f"/mnt/loopwright/pvc/{CLAIM}"
TIMEOUT = 300
OURS = "loopwright"


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    repeats: int
    """Counted runs of each side."""
    jobs: int
    """How many at once."""
    contenders: tuple[str, ...] = ()
    """Those of `scale`; none means all."""
    trials: int = 30
    """Those of `trial_pods`."""


@dataclass(frozen=True)
class Contender:
    """One side of a comparison."""

    make: Callable[[str], Manifest]
    """An object of that name, whose code writes a file of that name to the claim."""
    read: Callable[[float, str], float]
    """The measured value, from the time of creation and that file's text."""


@dataclass(frozen=True)
class Result:
    """What was measured, and how both sides compare."""

    what: str
    values: Mapping[str, list[float]]
    """Ours, then the peer's."""
    unit: str
    digits: int
    comparison: str

    def lines(self) -> list[str]:
        """Medians, spreads and the comparison, for people."""
        return [
            f"{who:<11}median {self._median(who)} {self.unit}  "
            f"spread {self._spread(who)} {self.unit}  n={len(values)}"
            for who, values in self.values.items()
        ] + [self.comparison]

    def table(self, command: str) -> str:
        """The same in Markdown."""
        cells = [
            f"{self._median(who)} {self.unit} ({self._spread(who)})"
            if who == OURS
            else f"{who}: {self._median(who)} {self.unit} ({self._spread(who)})"
            for who in self.values
        ]
        n = str(min(map(len, self.values.values())))
        return (
            f"{HEADER}\n| {' | '.join([self.what, *cells, self.comparison, n, f'`{command}`'])} |"
        )

    def _median(self, who: str) -> str:
        return f"{statistics.median(self.values[who]):.{self.digits}f}"

    def _spread(self, who: str) -> str:
        values = self.values[who]
        return f"{min(values):.{self.digits}f}-{max(values):.{self.digits}f}"


HEADER = """\
| what | Loopwright | peer | comparison | n | command |
| --- | --- | --- | --- | --- | --- |"""


def pod(name: str, resources: Mapping[str, str]) -> Manifest:
    """The spec of a pod with one restricted container that sees the claim."""
    return {
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": name, "image": LOCAL_RUNTIME, "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": {**resources}, "limits": {**resources}},
            "securityContext": {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "out", "mountPath": MOUNT}],
        }],
        "volumes": [{"name": "out", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }  # fmt: skip


def measure(
    contenders: Mapping[str, Contender], repeats: int, unit: str, digits: int, *objects: Manifest
) -> dict[str, list[float]]:
    """Runs the contenders in turns, after one of each that is not counted.

    Args:
        objects: What they need in the namespace.
    """
    kubectl = Kubectl()
    values: dict[str, list[float]] = {who: [] for who in contenders}
    with space(kubectl, *objects) as namespace:
        for turn in range(repeats + 1):
            for who, contender in contenders.items():
                started, text = _run(kubectl, namespace, contender.make(f"{who[0]}{turn}"))
                value = contender.read(started, text)
                note = "" if turn else "  (warm-up)"
                print(f"  {who:<11}{value:8.{digits}f} {unit}{note}", flush=True)
                if turn:
                    values[who].append(value)
    return values


@contextmanager
def space(kubectl: Kubectl, *objects: Manifest) -> Iterator[str]:
    """A namespace that lives as long as the block."""
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    kubectl.run("create", "namespace", namespace)
    try:
        kubectl.apply(text=yaml.safe_dump_all([claim, *objects]), namespace=namespace)
        yield namespace
    finally:
        kubectl.run("delete", "namespace", namespace, "--wait=false")


def _run(kubectl: Kubectl, namespace: str, manifest: Manifest) -> tuple[float, str]:
    """When an object was created, and what its code wrote; leaves no pods behind."""
    name = manifest["metadata"]["name"]
    started = time.time()
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))
    text = _wait(kubectl, namespace, name)
    kubectl.run("delete", manifest["kind"], name, "-n", namespace, "--wait=true")
    while kubectl.list("pods", namespace):
        time.sleep(0.5)
    return started, text


def _wait(kubectl: Kubectl, namespace: str, name: str) -> str:
    """What was written to a file of the claim.

    Raises:
        TimeoutError: nothing was; the message shows the pods.
    """
    deadline = time.monotonic() + TIMEOUT
    folder = None
    while time.monotonic() < deadline:
        # Asked once only: kubectl itself would slow down what is measured.
        folder = folder or folder_of(kubectl, namespace)
        if folder and (file := folder / name).exists() and (text := file.read_text()):
            return text
        time.sleep(0.2)
    pods = kubectl.run("get", "pods", "-n", namespace, "-o", "wide")
    raise TimeoutError(f"{name} wrote nothing within {TIMEOUT} s\n{pods}")


def folder_of(kubectl: Kubectl, namespace: str) -> Path | None:
    """Where the claim's files lie on this machine, once the first pod made local-path bind it."""
    claim = kubectl.get("pvc", CLAIM, namespace)
    if claim is None or "volumeName" not in claim["spec"]:
        return None
    spec = json.loads(kubectl.run("get", "pv", claim["spec"]["volumeName"], "-o", "json"))["spec"]
    return Path((spec.get("hostPath") or spec.get("local"))["path"])
