"""One replica: it watches all the time, and acts while it holds the Lease."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import signal
import socket
import time
import uuid
from typing import Any, Final

import uvloop
from prometheus_client import REGISTRY, start_http_server

from loopwright import endpoint_metrics, metrics
from loopwright.api.resources import (
    BATCHTRANSFORM,
    HYPERPARAMETERSWEEP,
    LEASE,
    MODEL,
    MODELENDPOINT,
    TRAININGJOB,
    Key,
    Resource,
)
from loopwright.controller import Controller, Reconciler
from loopwright.health import Health
from loopwright.kube import audit
from loopwright.kube.cache import Cache
from loopwright.kube.client import Client
from loopwright.kube.connection import Connection
from loopwright.kube.discovery import Discovery
from loopwright.kube.errors import ApiError
from loopwright.kube.events import Recorder
from loopwright.kube.lease import Lease, LostLease
from loopwright.kube.ratelimit import TokenBucket
from loopwright.kube.sync import sync
from loopwright.operator import WATCHED, watch
from loopwright.prometheus import Prometheus
from loopwright.reconcile import (
    batchtransform,
    hyperparametersweep,
    model,
    modelendpoint,
    trainingjob,
)
from loopwright.reconcile.context import Context
from loopwright.reconcile.prices import LOOK_SECONDS, PriceList
from loopwright.settings import Settings

logger = logging.getLogger(__name__)

# A ModelVersion is looked at with its Model.
RECONCILERS: Final[dict[str, Reconciler]] = {
    TRAININGJOB.kind: trainingjob.reconcile,
    HYPERPARAMETERSWEEP.kind: hyperparametersweep.reconcile,
    BATCHTRANSFORM.kind: batchtransform.reconcile,
    MODEL.kind: model.reconcile,
    MODELENDPOINT.kind: modelendpoint.reconcile,
}
# What is said last may still be recorded.
LAST_EVENTS: Final = 2.0
# Listing again is asked for by several watches at once, when they break.
DEBOUNCE: Final = 1.0
# How long listings that are older than what was seen may come from a server that lags behind.
LAGGING: Final = 10.0
# After etcd was restored from a backup, watches tell nothing until versions have grown beyond what
# they had come to. For so long the cache is kept up to date by listings, so far apart.
DEAF: Final = 120.0
DEAF_LISTING: Final = 5.0
# Between listings that fail.
FIRST_PAUSE: Final = 0.5
LAST_PAUSE: Final = 10.0
# Objects made since the last look for cycles; younger looks until the next older one, twice.
GC_THRESHOLDS: Final = (50_000, 20, 50)


class Replica:
    """Cache, queue and Lease of this process."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings, self.connection = settings, connection
        identity = settings.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        # A bucket of its own: renewals must not queue behind a burst of work.
        self.lease_client = Client(connection, TokenBucket(5, 10))
        self.lease = Lease(self.lease_client, settings.namespace, identity, rewound=self._rewound)
        bucket = TokenBucket(settings.qps, settings.burst)
        self.client = Client(connection, bucket, self.lease.check)
        self.cache = Cache(self._tell)
        self.health = Health(
            answered=lambda: max(self.client.answered, self.lease_client.answered),
            due=lambda: self.lease.changed,
        )
        self.events = Recorder(self.client, lambda: len(self.controller.queue) > 0)
        self.stale = asyncio.Event()
        """Set when the cache may have missed something."""
        asked = (self.client, self.cache, self.events, settings, self.client.clock.now)
        self.discovery = Discovery(self.client)
        self.prices = PriceList(self.client, self.events, settings.namespace, settings.prices)
        ctx = Context(
            *asked,
            prometheus=Prometheus(settings.prometheus_url),
            wake=self.wake,
            knows=self.discovery.knows,
            prices=self.prices.prices,
        )
        self.controller = Controller(ctx, RECONCILERS, self.stale.set)

    def observe(self, event: str | None, obj: dict[str, Any]) -> None:
        """Takes in a watch event."""
        self.health.event()
        if obj["kind"] == LEASE.kind:
            return
        if event is None:
            # A listing: kopf has begun anew, and does not say what was deleted meanwhile.
            self.stale.set()
        if not self._watched(obj["metadata"]["namespace"]):
            return
        if (key := self.cache.observe(event, obj)) is not None:
            self.wake(key)

    def _tell(self, event: str | None, before: dict[str, Any] | None, obj: dict[str, Any]) -> None:
        """Who changed what, said by the replica that leads; the others see it too."""
        with contextlib.suppress(LostLease):
            self.lease.check()
            audit.tell(event, before, obj)

    def _watched(self, namespace: str) -> bool:
        """kopf watches the same kinds everywhere, so where the Lease is all others as well."""
        return not self.settings.namespaces or namespace in self.settings.namespaces

    def _rewound(self) -> None:
        """etcd was restored: watches do not tell what has changed by that."""
        self.cache.rewound()
        self.stale.set()

    def wake(self, key: Key) -> None:
        """Has an object of ours looked at, and all others that it concerns."""
        for concerned in self.cache.concerned(key):
            self.controller.queue.add(concerned)

    async def lead(self) -> None:
        """Waits for the Lease and reconciles until it is lost, again and again."""
        while True:
            await self.lease.acquire()
            metrics.LEADER.set(1)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self.lease.keep())
                    tasks.create_task(self._reconcile())
                    tasks.create_task(self.events.run())
            except* LostLease as lost:
                logger.warning("stepping down: %s", lost.exceptions[0])
            finally:
                metrics.LEADER.set(0)

    async def _reconcile(self) -> None:
        await self.discovery.look()
        await self.prices.look()
        await self._list()
        for key in self.cache.own():
            self.controller.queue.add(key)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.controller.run())
            tasks.create_task(self._keep_listing())
            tasks.create_task(self.discovery.run(self._kinds_changed))
            tasks.create_task(self._keep_prices())

    async def _keep_prices(self) -> None:
        """Looks at everything again when prices change: budgets are used up sooner or later."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if await self.prices.look():
                for key in self.cache.own():
                    self.controller.queue.add(key)

    def _kinds_changed(self) -> None:
        """A CRD of another project has come or gone, which only endpoints care about."""
        for key in self.cache.own():
            if key.kind == MODELENDPOINT.kind:
                self.controller.queue.add(key)

    async def _keep_listing(self) -> None:
        """Lists again when a watch may have missed something, and now and then without a reason."""
        rewinds, deaf_until = self.cache.rewinds, 0.0
        while True:
            if self.cache.rewinds != rewinds:
                rewinds, deaf_until = self.cache.rewinds, time.monotonic() + DEAF
            deaf = time.monotonic() < deaf_until
            seconds = DEAF_LISTING if deaf else self.settings.resync_seconds
            spread = random.uniform(0.9, 1.1)  # noqa: S311 (spreads load)
            try:
                async with asyncio.timeout(seconds * spread):
                    await self.stale.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(DEBOUNCE)
            await self._list()

    async def _list(self) -> None:
        """Brings the cache up to date; whoever leads acts only on what the server says now."""
        rewinds = -1
        # What was listed before another past was noticed may be of the lost one.
        while rewinds != self.cache.rewinds:
            rewinds = self.cache.rewinds
            await self._list_all()
        self.cache.of_one_past.set()

    async def _list_all(self) -> None:
        self.stale.clear()
        lagging = time.monotonic() + LAGGING
        for resource in WATCHED:
            for namespace in self.settings.namespaces or (None,):
                for key in await self._listed(resource, namespace, lagging):
                    self.wake(key)

    async def _listed(self, resource: Resource, namespace: str | None, lagging: float) -> set[Key]:
        """Lists until it succeeds. Where some requests fail, all in a row would hardly ever.

        Args:
            lagging: Until when a listing of the past is not believed.
        """
        scope = (namespace,) if namespace else ()
        delay = FIRST_PAUSE
        while True:
            try:
                believe = time.monotonic() >= lagging
                return await sync(self.client, self.cache, (resource,), scope, believe=believe)
            except ApiError as error:
                spread = delay * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
                wait = max(spread, error.retry_after or 0.0)
                logger.warning("cannot list: %s; again in %.1f s", error.message, wait)
            await asyncio.sleep(wait)
            delay = min(LAST_PAUSE, delay * 2)


def main(settings: Settings) -> int:
    """Runs a replica until it is told to stop (0) or breaks (1)."""
    # Nearly all garbage goes by its reference count, and the cache is large: looking for cycles as
    # often as Python does by default took a quarter of the CPU time of a burst of jobs.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    replica = Replica(settings, await Connection.load())
    start_http_server(settings.metrics_port)
    REGISTRY.register(metrics.JobCollector(replica.cache, replica.client.clock.now))
    REGISTRY.register(metrics.BudgetCollector(replica.cache))
    REGISTRY.register(metrics.SweepCollector(replica.cache))
    REGISTRY.register(metrics.BatchCollector(replica.cache))
    REGISTRY.register(metrics.EndpointCollector(replica.cache))
    REGISTRY.register(endpoint_metrics.EndpointStates(replica.cache))
    server = await replica.health.serve(settings.health_port)
    stop = asyncio.Event()

    def ready() -> None:
        # Only now: kopf has installed handlers of its own, which would end the watches first.
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
        replica.health.synced = True

    watching = asyncio.create_task(
        watch(replica.connection, settings, replica.observe, ready, stop)
    )
    leading = asyncio.create_task(replica.lead())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((watching, leading, stopping), return_when=asyncio.FIRST_COMPLETED)
    code = _exit_code(leading, watching)
    await _end(replica, leading, code)
    stop.set()
    await asyncio.gather(watching, stopping, return_exceptions=True)
    await server.cleanup()
    for client in (replica.client, replica.lease_client):
        await client.close()
    return code


async def _end(replica: Replica, leading: asyncio.Task[None], code: int) -> None:
    if code == 0:
        await replica.events.drain(LAST_EVENTS)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    if code == 0:
        await replica.lease.release()


def _exit_code(*tasks: asyncio.Task[None]) -> int:
    """1 when one of the tasks failed. None fails when the replica was told to stop."""
    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None:
            logger.error("the operator stops", exc_info=error)
            return 1
    return 0
