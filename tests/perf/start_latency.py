"""From `kubectl create` to the first line of user code: a TrainingJob against a RayJob by hand.

Both use the same warm image, the same resources and one worker, one after the other in turns. The
RayJob is what KubeRay's documentation shows: default probes, HTTPMode, no Loopwright anywhere.
User code writes the wall clock to a claim, whose folder this machine can read.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from install import LOCAL_RUNTIME
from kubectl import Kubectl

CLAIM = "bench"
MOUNT = f"/mnt/loopwright/pvc/{CLAIM}"
RESOURCES = {"cpu": "300m", "memory": "1500Mi"}
HEAD = {"cpu": "300m", "memory": "2Gi"}


def stamp(name: str) -> list[str]:
    """User code: write the time at which it began."""
    code = f"import time; t = time.time(); open('{MOUNT}/{name}', 'w').write(str(t))"
    return ["python", "-c", code]


def training_job(name: str) -> dict[str, Any]:
    """Ours."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "command": stamp(name),
            "numWorkers": 1,
            "resourcesPerWorker": RESOURCES,
            "head": {"resources": HEAD},
            "output": {"uri": f"pvc://{CLAIM}/out"},
        },
    }


def ray_job(name: str) -> dict[str, Any]:
    """The peer."""

    def pod(role: str, resources: dict[str, str]) -> dict[str, Any]:
        return {
            "spec": {
                "securityContext": {
                    "runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": role, "image": LOCAL_RUNTIME, "imagePullPolicy": "IfNotPresent",
                    "resources": {"requests": resources, "limits": resources},
                    "securityContext": {
                        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "out", "mountPath": MOUNT}],
                }],
                "volumes": [{"name": "out", "persistentVolumeClaim": {"claimName": CLAIM}}],
            }
        }  # fmt: skip

    code = stamp(name)[2].replace('"', '\\"')
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "submissionMode": "HTTPMode",
            "entrypoint": f'python -c "{code}"',
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},
                    "template": pod("ray-head", HEAD),
                },
                "workerGroupSpecs": [{
                    "groupName": "workers", "replicas": 1, "minReplicas": 1, "maxReplicas": 1,
                    "rayStartParams": {"num-cpus": "1"},
                    "template": pod("ray-worker", RESOURCES),
                }],
            },
        },
    }  # fmt: skip


def folder(kubectl: Kubectl, namespace: str) -> Path:
    """Where the claim's files lie on this machine; local-path keeps them in a folder."""
    claim = kubectl.get("pvc", CLAIM, namespace)
    assert claim is not None
    spec = json.loads(kubectl.run("get", "pv", claim["spec"]["volumeName"], "-o", "json"))["spec"]
    return Path((spec.get("hostPath") or spec.get("local"))["path"])


def one(
    kubectl: Kubectl, namespace: str, make: Callable[[str], dict[str, Any]], name: str
) -> float:
    """Seconds from creation to the first line of user code."""
    manifest = make(name)
    started = time.time()
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))
    deadline = started + 180
    while time.time() < deadline:
        if claim_bound(kubectl, namespace):
            mark = folder(kubectl, namespace) / name
            if mark.exists() and mark.read_text():
                break
        time.sleep(0.2)
    seconds = float((folder(kubectl, namespace) / name).read_text()) - started
    kubectl.run("delete", manifest["kind"], name, "-n", namespace, "--wait=true")
    while kubectl.list("pods", namespace):
        time.sleep(0.5)
    return seconds


def claim_bound(kubectl: Kubectl, namespace: str) -> bool:
    """Whether the claim has a volume yet; it gets one with the first pod."""
    claim = kubectl.get("pvc", CLAIM, namespace)
    return bool(claim and claim["spec"].get("volumeName"))


def measure(kubectl: Kubectl, repeats: int) -> dict[str, list[float]]:
    """Alternates both, after one of each that is not counted."""
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
    }  # fmt: skip
    kubectl.run("create", "namespace", namespace)
    kubectl.apply(text=yaml.safe_dump(claim), namespace=namespace)
    times: dict[str, list[float]] = {"loopwright": [], "rayjob": []}
    try:
        for turn in range(repeats + 1):
            for who, make in (("loopwright", training_job), ("rayjob", ray_job)):
                seconds = one(kubectl, namespace, make, f"{who[0]}{turn}")
                print(
                    f"  {who:<11}{seconds:6.2f} s{'  (warm-up)' if turn == 0 else ''}", flush=True
                )
                if turn:
                    times[who].append(seconds)
    finally:
        kubectl.run("delete", "namespace", namespace, "--wait=false")
    return times


def main() -> None:
    """Prints medians, spreads and the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    times = measure(Kubectl(), parser.parse_args().repeats)
    for who, values in times.items():
        print(
            f"{who:<11}median {statistics.median(values):.2f} s  "
            f"spread {min(values):.2f}-{max(values):.2f} s  n={len(values)}"
        )
    difference = statistics.median(times["loopwright"]) - statistics.median(times["rayjob"])
    print(f"difference {difference:+.2f} s (bar: +1.50 s)")


if __name__ == "__main__":
    main()
