"""Reports: where they are stored, and those that an endpoint's monitor makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loopwright.api import names
from loopwright.api.resources import POD
from loopwright.view.cluster import Cluster
from loopwright.view.errors import Trouble
from loopwright.view.refs import Found
from loopwright.view.scene import ready_pod

# Where monitors answer.
MONITOR_PORT: Final = 8080


def uris(found: Found) -> Iterator[str]:
    """Reports that a job has stored, the most telling first."""
    status = found.obj.get("status") or {}
    checks = [status.get("validation") or {}, *(status.get("validations") or ())]
    yield from filter(
        None,
        [
            status.get("reportUri"),
            (status.get("outputs") or {}).get("driftReportUri"),
            *(one.get("reportUri") for one in checks),
        ],
    )


def of_monitor(cluster: Cluster, found: Found, path: str, most: int | None = None) -> bytes:
    """A page of an endpoint's monitor: `report` or `experiment`.

    Args:
        most: Bytes that are read; by default all.

    Raises:
        Trouble: there is no monitor, it does not answer, or it says too much.
    """
    selector = f"app.kubernetes.io/name={names.MONITOR_ACCOUNT},{names.LABEL_NAME}={found.name}"
    pods = cluster.list(POD, selector)
    if not pods:
        text = "it begins with the first variant that is ready"
        raise Trouble(f"{found.ref} has no monitor", text)
    name = ready_pod(pods, f"the monitor of {found.ref}")["metadata"]["name"]
    where = f"{POD.path(cluster.namespace)}/{name}:{MONITOR_PORT}/proxy/{path}"
    return cluster.read("GET", where, most=most)
