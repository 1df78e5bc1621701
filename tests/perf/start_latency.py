"""From `kubectl create` to the first line of user code: a TrainingJob against a RayJob by hand.

Both use the same warm image, the same resources and one worker, one after the other in turns. The
RayJob is what KubeRay's documentation shows: default probes, HTTPMode, no Loopwright anywhere.
User code writes the wall clock to a claim, whose folder this machine can read.
"""

from __future__ import annotations

import statistics

from tests.perf.common import CLAIM, MOUNT, OURS, Contender, Manifest, Result, measure, pod

HEAD = {"cpu": "1", "memory": "2Gi"}  # Loopwright's default.
RESOURCES = {"cpu": "700m", "memory": "1500Mi"}


def stamp(name: str) -> list[str]:
    """User code: write the time at which it began."""
    code = f"import time; t = time.time(); open('{MOUNT}/{name}', 'w').write(str(t))"
    return ["python", "-c", code]


def training_job(name: str) -> Manifest:
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


def ray_job(name: str) -> Manifest:
    """The peer."""
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
                    "template": {"spec": pod("ray-head", HEAD)},
                },
                "workerGroupSpecs": [{
                    "groupName": "workers", "replicas": 1, "minReplicas": 1, "maxReplicas": 1,
                    "rayStartParams": {"num-cpus": "1"},
                    "template": {"spec": pod("ray-worker", RESOURCES)},
                }],
            },
        },
    }  # fmt: skip


def seconds(started: float, text: str) -> float:
    """From creation to the first line of user code."""
    return float(text) - started


def run(repeats: int) -> Result:
    """Measures both."""
    contenders = {OURS: Contender(training_job, seconds), "rayjob": Contender(ray_job, seconds)}
    times = measure(contenders, repeats, "s", 2)
    difference = statistics.median(times[OURS]) - statistics.median(times["rayjob"])
    comparison = f"difference {difference:+.2f} s (bar: +1.50 s)"
    return Result("creation to first line of user code", times, "s", 2, comparison)
