"""The restricted Pod Security Standard, as far as pod templates can break it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
     "projected", "secret"}
)  # fmt: skip


def violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """What of a pod's spec the standard forbids."""
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "nodeName"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes") or ():
        if set(volume) - {"name"} - VOLUMES:
            yield f"volume {sorted(volume)}"
    whole = pod.get("securityContext") or {}
    if whole.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if (whole.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "seccompProfile"
    if whole.get("runAsUser") == 0 or whole.get("sysctls"):
        yield "runAsUser or sysctls"
    containers = [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    containers += [pod["model"]] if "model" in pod else []
    for one in containers:
        yield from _of_container(one)


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    found = container.get("securityContext") or {}
    if found.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if found.get("privileged") or found.get("procMount") or found.get("runAsUser") == 0:
        yield "privileged"
    capabilities = found.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "capabilities"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort"
