"""Kubernetes Events, for `kubectl describe`: one for each transition, best effort."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from loopwright.api.resources import EVENT
from loopwright.kube.client import Client
from loopwright.kube.errors import ApiError, Conflict

MAX_MESSAGE: Final = 1024
# More wait only when the API server refuses everything; then Events matter least.
MAX_WAITING: Final = 10_000
# How long an Event waits for other work, and how often it looks.
PATIENCE: Final = 10.0
LOOK: Final = 0.1
logger = logging.getLogger(__name__)


class Recorder:
    """Writes Events one after the other, so that they hold up nothing that matters more.

    Args:
        busy: Whether there is other work. Events wait for it, for a while.
    """

    def __init__(self, client: Client, busy: Callable[[], bool]) -> None:
        self._client, self._busy = client, busy
        self._waiting: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue(MAX_WAITING)

    def record(
        self, obj: dict[str, Any], kind: str, reason: str, message: str, now: datetime
    ) -> None:
        """Asks for an Event about a transition of an object; returns at once."""
        with contextlib.suppress(asyncio.QueueFull):
            event = _event(obj, kind, reason, message, now)
            self._waiting.put_nowait((time.monotonic() + PATIENCE, event))

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            latest, event = await self._waiting.get()
            try:
                while self._busy() and time.monotonic() < latest:  # noqa: ASYNC110 (not one event)
                    await asyncio.sleep(LOOK)
                await self._client.create(EVENT, event)
            except Conflict:
                pass  # Said before.
            except ApiError as error:
                logger.warning("could not record an event: %s", error.message)
            finally:
                self._waiting.task_done()

    async def drain(self, seconds: float) -> None:
        """Waits until all are written, but no longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.join()


def _event(
    obj: dict[str, Any], kind: str, reason: str, message: str, now: datetime
) -> dict[str, Any]:
    """An Event whose name follows from what it says, so that saying it again changes nothing."""
    meta = obj["metadata"]
    seed = f"{meta['uid']}/{reason}/{message}".encode()
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
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
