"""Which pods serve: read from the EndpointSlices of the Services of all revisions. Pure.

A Service hands its labels on to its EndpointSlices, so what runs says itself whose it is, and
nobody has to tell the monitor when a revision comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from loopwright.api import names
from loopwright.monitor.windows import Revision

Slice = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """One that serves a revision, or is about to, or was."""

    uid: str
    revision: Revision
    url: str
    """Of its server, without a slash at the end."""
    ready: bool
    """Whether it is sent requests."""


def selector(endpoint: str) -> str:
    """Finds the EndpointSlices of an endpoint's revisions."""
    return f"{names.LABEL_KIND}=ModelEndpoint,{names.LABEL_NAME}={endpoint},{names.LABEL_REVISION}"


def revisions(slices: Iterable[Slice]) -> list[Revision]:
    """All revisions, those without pods too."""
    return sorted({one for found in slices if (one := _revision(found)) is not None})


def pods(slices: Iterable[Slice], port: int) -> list[Pod]:
    """All pods, each once.

    Args:
        port: Where metrics are served, if a Service lists it; else its first port.
    """
    found: dict[str, Pod] = {}
    # IPv4 before IPv6, for a pod may be in slices of both.
    for one in sorted(slices, key=lambda one: str(one.get("addressType"))):
        revision = _revision(one)
        numbers = [p.get("port") for p in one.get("ports") or [] if p.get("port")]
        if revision is None or one.get("addressType") not in ("IPv4", "IPv6"):
            continue
        chosen = port if port in numbers or not numbers else numbers[0]
        for endpoint in one.get("endpoints") or []:
            address = endpoint["addresses"][0]
            host = f"[{address}]" if ":" in address else address
            uid = (endpoint.get("targetRef") or {}).get("uid") or address
            ready = (endpoint.get("conditions") or {}).get("ready", True)
            found.setdefault(uid, Pod(uid, revision, f"http://{host}:{chosen}", ready))
    return list(found.values())


def _revision(one: Slice) -> Revision | None:
    labels = one["metadata"].get("labels") or {}
    variant, revision = labels.get(names.LABEL_VARIANT), labels.get(names.LABEL_REVISION)
    return Revision(variant, revision) if variant and revision else None
