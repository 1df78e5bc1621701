"""Kubernetes Events, for `kubectl describe`: one for each transition, best effort."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from typing import Any, Final

from loopwright.kube.client import Client
from loopwright.kube.errors import ApiError, Conflict
from loopwright.kube.resources import EVENT

MAX_MESSAGE: Final = 1024
logger = logging.getLogger(__name__)


async def emit(
    client: Client, obj: dict[str, Any], kind: str, reason: str, message: str, now: datetime
) -> None:
    """Records a transition of an object; failing to do so fails nothing else.

    The name follows from what is said, so that saying it again after a crash changes nothing.
    """
    meta = obj["metadata"]
    seed = f"{meta['uid']}/{reason}/{message}".encode()
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name']}.{hashlib.sha256(seed).hexdigest()[:16]}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:MAX_MESSAGE],
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": "loopwright"},
        "reportingComponent": "loopwright.io/operator",
    }
    try:
        await client.create(EVENT, event)
    except Conflict:
        return
    except ApiError as error:
        logger.warning("could not record an event: %s", error.message)
