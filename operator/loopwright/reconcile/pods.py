"""Says in one word and one line why pods do not serve."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from loopwright.api.conditions import MAX_MESSAGE
from loopwright.decide.types import Blocked

# What the model server ends with that waiting does not mend.
PERMANENT: Final = frozenset(
    {
        "DigestMismatch",
        "ModelNotFound",
        "ModelInvalid",
        "FormatUnsupported",
        "ArchitectureUnknown",
        "SchemeUnknown",
        "NotBatchable",
        "SettingsInvalid",
    }
)
TEMPORARY: Final = frozenset({"StorageRefused", "StorageFailed"})
_TOLD: Final = re.compile(r"^([A-Z][A-Za-z]{2,39}): (.+)$", re.MULTILINE)
_IMAGE: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)

Object = dict[str, Any]


def problem(pods: Iterable[Object], deployment: Object | None, service: Object) -> Blocked | None:
    """The most telling reason for an InferenceService's missing pods, or None.

    Args:
        pods: Its pods.
        deployment: What KServe made for it.
        service: The InferenceService.
    """
    found = [one for pod in pods for one in _of_pod(pod)]
    if found:
        return min(found, key=lambda one: (one[0], one[1].message))[1]
    return _of_deployment(deployment) or _of_service(deployment, service)


def _of_pod(pod: Object) -> Iterator[tuple[int, Blocked]]:
    """Reasons, each with its rank: what the server itself says comes first."""
    if "deletionTimestamp" in pod["metadata"]:
        return
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for one in status.get("conditions") or ():
        if one["type"] == "PodScheduled" and one["status"] == "False":
            yield 3, _blocked("Unschedulable", f"no node takes pod {name}: {one.get('message')}")
    statuses = [*(status.get("initContainerStatuses") or ())]
    statuses += status.get("containerStatuses") or ()
    for container in statuses:
        if not container.get("ready"):
            yield from _of_container(name, container)


def _of_container(pod: str, status: Object) -> Iterator[tuple[int, Blocked]]:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        yield 1, _blocked("ImagePullFailed", f"pod {pod}: {message or reason}")
    elif reason in ("CreateContainerConfigError", "CreateContainerError"):
        yield 1, _blocked("ContainerConfig", f"pod {pod}: {message}")
    for when in ("state", "lastState"):
        ended = (status.get(when) or {}).get("terminated")
        if ended:
            yield 0, _ended(pod, ended)


def _ended(pod: str, ended: Object) -> Blocked:
    """What a container's end says; the model server's last line is Reason: message."""
    text = ended.get("message") or ""
    if ended.get("reason") == "OOMKilled":
        return _blocked("OutOfMemory", f"pod {pod} was killed for memory; raise resources.memory")
    told = [one for one in _TOLD.findall(text) if one[0] in PERMANENT | TEMPORARY]
    if told:
        reason, message = told[-1]
        return _blocked(reason, message, permanent=reason in PERMANENT)
    last = (text.strip().splitlines() or [f"exit code {ended.get('exitCode')}"])[-1]
    return _blocked("ServerFailed", f"the server of pod {pod} ended: {last}; see its logs")


def _of_deployment(deployment: Object | None) -> Blocked | None:
    status = (deployment or {}).get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    refused = conditions.get("ReplicaFailure")
    if refused is not None and refused["status"] == "True":
        return _blocked("PodsRefused", refused.get("message", ""))
    return None


def _of_service(deployment: Object | None, service: Object) -> Blocked | None:
    if deployment is not None:
        return None
    status = service.get("status") or {}
    info = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    ready = conditions.get("PredictorReady") or {}
    text = info.get("message") or ready.get("message")
    if text:
        return _blocked(
            info.get("reason") or ready.get("reason") or "KServeFailed", f"KServe: {text}"
        )
    if not conditions:
        text = "KServe has not made the pods yet; if that lasts, see whether its controller runs"
        return _blocked("WaitingForKServe", text)
    return None


def _blocked(reason: str, message: str, *, permanent: bool = False) -> Blocked:
    return Blocked(reason, " ".join(str(message).split())[:MAX_MESSAGE], permanent=permanent)
