"""kopf's registration and settings. kopf only watches: every event ends as a key in the queue."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
from kopf._core.engines.peering import Identity
from prometheus_client import REGISTRY, start_http_server

from loopwright import metrics
from loopwright.api.names import GROUP, LABEL_KIND
from loopwright.controller import Controller
from loopwright.health import Health
from loopwright.kube.cache import Cache
from loopwright.kube.client import Client
from loopwright.kube.connection import Connection
from loopwright.kube.lease import NAME as LEASE_NAME
from loopwright.kube.lease import Lease, LostLease
from loopwright.kube.ratelimit import TokenBucket
from loopwright.kube.resources import CONFIGMAP, LEASE, RAYCLUSTER, RAYJOB, TRAININGJOB, Resource
from loopwright.kube.sync import sync
from loopwright.reconcile import trainingjob
from loopwright.reconcile.context import Context
from loopwright.settings import Settings

logger = logging.getLogger(__name__)

CHILDREN = (RAYJOB, RAYCLUSTER, CONFIGMAP)
WATCHED = (TRAININGJOB, *CHILDREN)


def configure(settings: kopf.OperatorSettings) -> None:
    """Every setting that matters, with its reason."""
    # A watch that says nothing is renewed: a lost TCP connection is silent for ever otherwise.
    settings.watching.server_timeout = 240
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 70
    # Filtered by the server: without it all ConfigMaps of the cluster would stream in.
    for child in CHILDREN:
        settings.watching.label_selectors[child.group, child.version, child.plural] = LABEL_KIND
    settings.networking.request_timeout = 30
    # Handlers only fill a queue, so a few workers keep up with any number of objects.
    settings.queueing.worker_limit = 20
    # Our own Events say what matters; kopf's would repeat its log.
    settings.posting.enabled = False
    settings.posting.loggers = False
    # Never used, since no handler of ours changes state; should one appear, it is told apart.
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    # Our own Lease elects; kopf's peering pauses every replica of equal priority.
    settings.peering.standalone = True


def now() -> datetime:
    """The time, as precisely as Kubernetes stores it."""
    return datetime.now(UTC).replace(microsecond=0)


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings, self.connection = settings, connection
        self.client = Client(connection, TokenBucket(settings.qps, settings.burst))
        self.cache = Cache()
        self.health = Health()
        ctx = Context(self.client, self.cache, settings, now)
        self.controller = Controller(ctx, {TRAININGJOB.kind: trainingjob.reconcile})

    def registry(self) -> kopf.OperatorRegistry:
        """What is watched."""
        registry = kopf.OperatorRegistry()
        for resource in WATCHED:
            self._watch(registry, resource)

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            # kopf's own TLS refuses the CAs of many clusters on Python 3.13; ours does not.
            session = self.connection.session(0, aiohttp.ClientTimeout(total=None))
            return kopf.AiohttpSession(server=self.connection.server, aiohttp_session=session)

        @kopf.on.event(
            LEASE.group, LEASE.version, LEASE.plural, registry=registry,
            field="metadata.name", value=LEASE_NAME,
        )  # fmt: skip
        async def on_lease(**_: Any) -> None:
            self.health.event()

        return registry

    def _watch(self, registry: kopf.OperatorRegistry, resource: Resource) -> None:
        @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
        async def on_event(event: Any, **_: Any) -> None:
            self.health.event()
            # kopf keeps the object; the cache drops parts of it.
            obj = {"apiVersion": resource.api_version, "kind": resource.kind, **event["object"]}
            obj["metadata"] = dict(obj["metadata"])
            key = self.cache.observe(event["type"], obj)
            if key is not None:
                self.controller.queue.add(key)

    async def lead(self, lease: Lease) -> None:
        """Waits for the Lease, then reconciles until it is lost."""
        await lease.acquire()
        metrics.LEADER.set(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(lease.keep())
                tasks.create_task(self._reconcile())
        finally:
            metrics.LEADER.set(0)

    async def _reconcile(self) -> None:
        await sync(self.client, self.cache, WATCHED, self.settings.namespaces)
        for key in self.cache.own():
            self.controller.queue.add(key)
        await self.controller.run()


async def run(settings: Settings) -> int:
    """Runs a replica until it is told to stop (0) or loses its Lease (1)."""
    operator = Operator(settings, await Connection.load())
    start_http_server(settings.metrics_port)
    REGISTRY.register(metrics.JobCollector(operator.cache, now))
    server = await operator.health.serve(settings.health_port)
    identity = settings.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
    lease = Lease(operator.client, settings.namespace, identity)
    stop, ready = asyncio.Event(), asyncio.Event()
    watching = asyncio.create_task(_watch(operator, settings, stop, ready))
    await _first(ready.wait(), watching)
    # Only now: kopf has installed handlers of its own, which would end the watches first.
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    operator.health.synced = True
    leading = asyncio.create_task(operator.lead(lease))
    await _first(watching, leading, stop.wait())
    code = _exit_code(leading, watching)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    if code == 0:
        await lease.release()
    stop.set()
    await asyncio.gather(watching, return_exceptions=True)
    await server.cleanup()
    await operator.client.close()
    return code


async def _watch(
    operator: Operator, settings: Settings, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    kopf_settings = kopf.OperatorSettings()
    configure(kopf_settings)
    scope: dict[str, Any] = {"clusterwide": True}
    if settings.namespaces:
        scope = {"namespaces": [*settings.namespaces, settings.namespace]}
    await kopf.operator(
        registry=operator.registry(),
        settings=kopf_settings,
        standalone=True,
        # kopf would ask for the user's name, and a pod's user has none.
        identity=Identity("loopwright"),
        stop_flag=stop,
        ready_flag=ready,
        **scope,
    )


async def _first(*awaitables: Any) -> None:
    tasks = [asyncio.ensure_future(item) for item in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _exit_code(*tasks: asyncio.Task[None]) -> int:
    """1 when one of the tasks failed. None fails when the replica was told to stop."""
    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None
        if isinstance(error, BaseExceptionGroup) and error.subgroup(LostLease):
            logger.warning("the lease is lost; stepping down")
            return 1
        if error is not None:
            logger.error("the operator stops", exc_info=error)
            return 1
    return 0
