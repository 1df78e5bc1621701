"""kopf's registration and settings. kopf only watches: every event ends as a key in the queue."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import aiohttp
import kopf
from kopf._core.engines.peering import Identity

from loopwright.api.names import GROUP, LABEL_KIND
from loopwright.api.resources import (
    CHILDREN,
    JOBS,
    LEASE,
    MODEL,
    MODELENDPOINT,
    MODELVERSION,
    Resource,
)
from loopwright.kube.connection import Connection
from loopwright.kube.lease import NAME as LEASE_NAME
from loopwright.settings import Settings

logger = logging.getLogger(__name__)

WATCHED: Final = (*JOBS.values(), MODEL, MODELVERSION, MODELENDPOINT, *CHILDREN)
FIRST_PAUSE: Final = 1.0
LAST_BACKOFF: Final = 10.0
LAST_PAUSE: Final = 30.0
# How kopf names the tasks of its watches.
WATCH_TASK: Final = "watcher for "

Sink = Callable[[str | None, dict[str, Any]], None]
"""Takes a watch event's type (None: from a listing) and its object."""


class Backoffs:
    """Pauses after requests that fail, without an end.

    kopf ends all watches when one of them gives up, as it would after a minute without an API
    server, or without the right to watch a single kind.
    """

    def __iter__(self) -> Iterator[float]:
        pause = FIRST_PAUSE
        while True:
            yield pause * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
            pause = min(LAST_BACKOFF, pause * 2)


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing: no handler asks what changed since the last time.

    kopf would copy each object of each event to find that out, a third of all that the operator
    did.
    """

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """An essence that is always the same."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """What was remembered."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Remembers nothing."""


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
    # RayJobs are large, and each chunk is in memory as a whole.
    settings.watching.chunk_size = 100
    # aiohttp rounds up to a whole second.
    settings.networking.request_timeout = 14
    settings.networking.error_backoffs = Backoffs()
    # A worker is a task per object, which lives on for a while after its last event. A limit would
    # let the objects of a burst wait for each other's idle time; handlers only fill a queue.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.5
    # Our own Events say what matters; kopf's would repeat its log.
    settings.posting.enabled = False
    settings.posting.loggers = False
    # Never used, since no handler of ours changes state; should one appear, it is told apart.
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = NoDiffBase()
    # Ten minutes after a watch broke off it would kill this process, which goes on.
    settings.process.ultimate_exiting_timeout = None
    # Our own Lease elects; kopf's peering pauses every replica of equal priority.
    settings.peering.standalone = True


def registry(connection: Connection, sink: Sink) -> kopf.OperatorRegistry:
    """What is watched, and where events go."""
    registry = kopf.OperatorRegistry()
    for resource in WATCHED:
        _watch(registry, resource, sink)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        # kopf's own TLS refuses the CAs of many clusters on Python 3.13; ours does not.
        session = connection.session(0, aiohttp.ClientTimeout(total=None))
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)

    # The operator's own, whose renewals prove that watches work.
    _watch(registry, LEASE, sink, field="metadata.name", value=LEASE_NAME)
    return registry


def _watch(registry: kopf.OperatorRegistry, resource: Resource, sink: Sink, **only: Any) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, **only)
    async def on_event(event: Any, **_: Any) -> None:
        # kopf keeps the object; whoever takes it in drops parts of it.
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, **event["object"]}
        obj["metadata"] = dict(obj["metadata"])
        sink(event["type"], obj)


async def watch(
    connection: Connection,
    settings: Settings,
    sink: Sink,
    ready: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Watches until told to stop.

    kopf ends at an error inside a watch. That is no reason for this process to end: kopf is begun
    again, and lists everything anew.
    """
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            await _kopf(connection, settings, sink, ready, stop)
            # Told to stop; by a signal to kopf itself perhaps, before ours were in place.
            stop.set()
            return
        except Exception as error:
            if time.monotonic() - began > LAST_PAUSE:
                pause = FIRST_PAUSE
            what = f"{type(error).__name__}: {error}"
            logger.warning("watching broke off: %s; again in %.0f s", what, pause)
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
                return
            except TimeoutError:
                pause = min(LAST_PAUSE, pause * 2)


async def _kopf(
    connection: Connection,
    settings: Settings,
    sink: Sink,
    ready: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    kopf_settings = kopf.OperatorSettings()
    configure(kopf_settings)
    scope: dict[str, Any] = {"clusterwide": True}
    if settings.namespaces:
        scope = {"namespaces": [*settings.namespaces, settings.namespace]}
    started = asyncio.get_running_loop().create_future()
    started.add_done_callback(lambda _: ready())
    tasks = await kopf.spawn_tasks(
        registry=registry(connection, sink),
        settings=kopf_settings,
        standalone=True,
        # kopf would ask for the user's name, and a pod's user has none.
        identity=Identity("loopwright"),
        stop_flag=stop,
        ready_flag=started,
        **scope,
    )
    # Not kopf.operator(): in the end it cancels all tasks that began after it, ours included.
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # When one watch fails, kopf forgets about the others.
        forgotten = [t for t in asyncio.all_tasks() if t.get_name().startswith(WATCH_TASK)]
        for task in (*tasks, *forgotten):
            task.cancel()
        await asyncio.gather(*forgotten, return_exceptions=True)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
