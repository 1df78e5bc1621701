"""The RayJob of one attempt."""

from __future__ import annotations

from typing import Final

from loopwright.api import names, quantity
from loopwright.api.jobspec import queue_of
from loopwright.api.shared import Resources
from loopwright.desired.context import AttemptContext, JobContext, Manifest, cpus
from loopwright.desired.pods import template

# The driver's configuration says what is run; no word of this comes from a user.
ENTRYPOINT: Final = "python -m loopwright.runtime"
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
GROUP: Final = "workers"

# Little goes through Ray's object store; Ray's default is a third of the memory.
MIN_STORE_BYTES: Final = 100_000_000
STORE_SHARE: Final = 0.1


def rayjob(job: JobContext, attempt: AttemptContext) -> Manifest:
    """The RayJob. It is applied once: KubeRay ignores later changes to it."""
    spec: Manifest = {
        # HTTPMode: no shell and no submitter pod between us and the driver.
        "submissionMode": "HTTPMode",
        "entrypoint": ENTRYPOINT,
        # The driver must run in the head pod, which has no CPUs to give.
        "entrypointNumCpus": 0,
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "activeDeadlineSeconds": max(1, attempt.remaining_seconds) + job.grace,
        "rayClusterSpec": _cluster(job, attempt),
    }
    if job.spec.run_policy.max_pending_seconds is not None:
        spec["preRunningDeadlineSeconds"] = job.spec.run_policy.max_pending_seconds
    name = names.rayjob_name(job.kind, job.name, attempt.number)
    meta = job.metadata(name, attempt.number)
    if (queue := queue_of(job.spec)) is not None:
        # Kueue lets it go. On the cluster or its pods the label would queue them once more.
        meta["labels"][QUEUE_LABEL] = queue
        spec["suspend"] = True
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": meta, "spec": spec}


def _cluster(job: JobContext, attempt: AttemptContext) -> Manifest:
    workers = job.spec.num_workers
    resources = job.spec.resources_per_worker
    head = job.spec.head.resources if workers else resources
    cluster: Manifest = {
        "rayVersion": job.ray_version,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # The monitor resizes clusters, this one has its size; starting it takes half a second.
            "rayStartParams": {**_start(head, works=not workers), "no-monitor": "true"},
            "template": template(job, attempt, head, head=True),
        },
    }
    if workers:
        cluster["workerGroupSpecs"] = [
            {
                "groupName": GROUP,
                "replicas": workers,
                "minReplicas": workers,
                "maxReplicas": workers,
                "rayStartParams": _start(resources, works=True),
                "template": template(job, attempt, resources, head=False),
            }
        ]
    return cluster


def _start(resources: Resources, *, works: bool) -> dict[str, str]:
    memory = int(quantity.parse(resources.memory))
    store = max(MIN_STORE_BYTES, int(memory * STORE_SHARE))
    params = {
        # A coordinating head offers none, so that no worker process lands on it.
        "num-cpus": str(cpus(resources.cpu) if works else 0),
        "object-store-memory": str(store),
    }
    if resources.gpu and works:
        params["num-gpus"] = str(resources.gpu)
    return params
