"""Objects of Kubernetes, KubeRay, KServe and Kueue, each in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from loopwright.view.cluster import Object
from loopwright.view.scene import conditions, labels


class Told(NamedTuple):
    """What is said of an object."""

    state: str
    """In one word; may be empty."""
    detail: str = ""
    aside: bool = False
    """Whether the detail only matters to those who look for it."""


def tell(obj: Object) -> Told:
    """What its own controller says of an object."""
    status = obj.get("status") or {}
    match obj["kind"]:
        case "RayJob":
            found = status.get("jobDeploymentStatus") or "Pending"
            return Told(found, status.get("message") or "", aside=True)
        case "RayCluster":
            ready, wanted = (
                status.get("readyWorkerReplicas", 0),
                status.get("desiredWorkerReplicas"),
            )
            text = f"{ready}/{wanted} workers" if wanted is not None else ""
            return Told((status.get("state") or "pending").capitalize(), text)
        case "Workload":
            return Told(_workload(obj))
        case "PersistentVolumeClaim":
            return Told(status.get("phase") or "Pending")
        case "Pod":
            return Told(pod_state(obj))
        case _:
            ready = conditions(obj).get("Ready", {}).get("status")
            return Told({"True": "Ready", "False": "NotReady"}.get(str(ready), ""))


def _workload(obj: Object) -> str:
    found = conditions(obj)
    for name in ("Finished", "Evicted", "Admitted", "QuotaReserved"):
        if found.get(name, {}).get("status") == "True":
            return name
    return "Waiting"


def pod_state(pod: Object) -> str:
    """As kubectl says it: the phase, or what a container waits for or ended with."""
    status = pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    if status.get("reason"):
        return str(status["reason"])
    for one in [*(status.get("initContainerStatuses") or ()),
                *(status.get("containerStatuses") or ())]:  # fmt: skip
        found = one.get("state") or {}
        if reason := (found.get("waiting") or {}).get("reason"):
            return str(reason)
        ended = found.get("terminated") or {}
        if ended.get("exitCode"):
            return str(ended.get("reason") or f"exit code {ended['exitCode']}")
    if conditions(pod).get("PodScheduled", {}).get("status") == "False":
        return "Unschedulable"
    return str(status.get("phase") or "Pending")


def healthy(pod: Object) -> bool:
    """Whether a pod is ready or has done its work."""
    if (pod.get("status") or {}).get("phase") == "Succeeded":
        return True
    return bool(conditions(pod).get("Ready", {}).get("status") == "True")


def notes(pod: Object) -> tuple[str, str, str]:
    """A pod's part in a Ray cluster, its restarts and its node; each may be empty."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    restarts = sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or ())
    return (
        str(labels(pod).get("ray.io/node-type", "")),
        f"{restarts} restarts" if restarts else "",
        f"on {spec['nodeName']}" if spec.get("nodeName") else "",
    )


def by_trouble(pods: Sequence[Object]) -> list[Object]:
    """Pods that have trouble first, then by name."""
    return sorted(pods, key=lambda pod: (healthy(pod), str(pod["metadata"]["name"])))
