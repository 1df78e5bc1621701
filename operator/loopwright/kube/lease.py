"""Leader election on a Lease: at most one replica acts, and a dead one is replaced in 15 s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from loopwright.api.resources import LEASE
from loopwright.kube.client import Client
from loopwright.kube.errors import ApiError, Conflict, NotFound

NAME: Final = "loopwright-operator"
DURATION: Final = 15.0
# A leader that could not renew for so long steps down, well before another may take over.
RENEW_DEADLINE: Final = 10.0
RETRY: Final = 2.0

logger = logging.getLogger(__name__)


class LostLease(RuntimeError):
    """This replica must stop acting at once."""


class Lease:
    """A Lease that one replica holds.

    Expiry is judged by this replica's own monotonic clock, from when it saw the Lease change last:
    clocks of different machines are never compared.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        monotonic: Callable[[], float] = time.monotonic,
        rewound: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            rewound: Called when the Lease is older than it was before: etcd was restored from a
                backup. Nothing else is read so often, and is sure to have been written since.
        """
        self._client, self._namespace, self._identity = client, namespace, identity
        self._monotonic, self._rewound = monotonic, rewound
        self._version = 0
        self._seen: tuple[Any, float] | None = None
        self._renewed = 0.0
        self.changed = monotonic()
        """When this replica last asked for the Lease and found it renewed, by itself or another."""

    def check(self) -> None:
        """Does nothing while this replica may act.

        A process that was stopped for a while wakes in the middle of what it did, so every write
        asks once more.

        Raises:
            LostLease: another replica may have taken over meanwhile.
        """
        if self._monotonic() - self._renewed >= RENEW_DEADLINE:
            raise LostLease("the Lease was not renewed in time")

    async def acquire(self) -> None:
        """Waits until this replica holds the Lease."""
        self._renewed = 0.0
        while not await self._try():  # noqa: ASYNC110 (what is awaited is another machine)
            await asyncio.sleep(RETRY)
        logger.info("this replica leads: %s", self._identity)

    async def keep(self) -> None:
        """Renews the Lease until it is lost.

        Raises:
            LostLease: another holds it, or it could not be renewed in time.
        """
        while True:
            await asyncio.sleep(RETRY)
            left = self._renewed + RENEW_DEADLINE - self._monotonic()
            if left <= 0:
                raise LostLease("the Lease could not be renewed in time")
            # A request alone may take longer than the Lease lasts.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._try()

    async def release(self) -> None:
        """Gives the Lease back, so that a successor need not wait for it to expire."""
        try:
            try:
                await self._give_back()
            except Conflict:
                # The last renewal was broken off here, and the API server has stored it meanwhile.
                await self._give_back()
        except ApiError as error:
            logger.warning("could not release the lease: %s", error.message)

    async def _give_back(self) -> None:
        lease = await self._client.get(LEASE, self._namespace, NAME)
        if lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"]["holderIdentity"] = ""
            await self._client.replace(LEASE, lease)

    async def _try(self) -> bool:
        asked = self._monotonic()
        try:
            held = await self._take()
        except Conflict:
            return False
        except ApiError as error:
            logger.warning("could not reach the lease: %s", error.message)
            return False
        if held:
            # From before the request: the server may have stored it at any time since.
            self._renewed = self.changed = asked
        elif self._renewed:
            raise LostLease("another replica holds the Lease")
        return held

    async def _take(self) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": now,
        }
        try:
            lease = await self._client.get(LEASE, self._namespace, NAME)
        except NotFound:
            meta = {"name": NAME, "namespace": self._namespace}
            body = {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": meta}
            await self._client.create(LEASE, {**body, "spec": {**spec, "acquireTime": now}})
            return True
        if int(lease["metadata"]["resourceVersion"]) < self._version:
            self._rewound()
        self._version = int(lease["metadata"]["resourceVersion"])
        former = lease.get("spec") or {}
        if former.get("holderIdentity") not in (self._identity, "", None):
            if not self._expired(former):
                return False
            spec["acquireTime"] = now
        stored = await self._client.replace(LEASE, {**lease, "spec": {**former, **spec}})
        self._version = int(stored["metadata"]["resourceVersion"])
        return True

    def _expired(self, spec: dict[str, Any]) -> bool:
        mark = (spec.get("holderIdentity"), spec.get("renewTime"))
        if self._seen is None or self._seen[0] != mark:
            self.changed = self._monotonic()
            self._seen = (mark, self.changed)
            return False
        return self._monotonic() - self._seen[1] > DURATION
