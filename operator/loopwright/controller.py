"""Runs reconciles: workers take keys from the queue, a slow wheel adds those nobody asked for."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from loopwright import metrics
from loopwright.api.resources import Key
from loopwright.kube.errors import ApiError, Conflict
from loopwright.kube.lease import LostLease
from loopwright.kube.queue import WorkQueue
from loopwright.reconcile.context import Context

Reconciler = Callable[[Context, Key], Awaitable[float | None]]

logger = logging.getLogger(__name__)
WHEEL_STEP: Final = 5.0
MANY_CONFLICTS: Final = 3


class Controller:
    """The queue, and the tasks that work on it."""

    def __init__(
        self, ctx: Context, reconcilers: Mapping[str, Reconciler], stale: Callable[[], None]
    ) -> None:
        """
        Args:
            stale: Called when the cache seems to lag behind, and watches do not mend it.
        """
        self.queue = WorkQueue()
        self._stale = stale
        self._ctx = ctx
        self._reconcilers = reconcilers
        metrics.QUEUE_DEPTH.set_function(lambda: len(self.queue))

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._ctx.settings.workers):
                tasks.create_task(self._work())
            tasks.create_task(self._wheel())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                # An attempt that runs again is not over because a RayJob said so in a lost future.
                await self._ctx.cache.of_one_past.wait()
                await self._one(key)
            finally:
                self.queue.done(key)

    async def _one(self, key: Key) -> None:
        started = time.perf_counter()
        where = {"kind": key.kind, "object": f"{key.namespace}/{key.name}"}
        try:
            again = await self._reconcilers[key.kind](self._ctx, key)
        except Conflict:
            # Normal: someone else was faster. The newer state is on its way, unless it got lost.
            self.queue.retry(key)
            if self.queue.failures(key) >= MANY_CONFLICTS:
                self._stale()
        except ApiError as error:
            delay = self.queue.retry(key, error.retry_after or 0.0)
            metrics.RECONCILE_ERRORS.labels(key.kind, error.reason).inc()
            logger.warning("%s; again in %.1f s", error.message, delay, extra=where)
        except LostLease:
            raise  # Whoever leads now does the rest.
        except Exception:
            # One object that breaks the code must not take the others along.
            delay = self.queue.retry(key)
            metrics.RECONCILE_ERRORS.labels(key.kind, "Bug").inc()
            logger.exception("reconcile failed; again in %.1f s", delay, extra=where)
        else:
            self.queue.succeeded(key)
            if again is not None:
                self.queue.add(key, max(again, 0.1))
        finally:
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - started)

    async def _wheel(self) -> None:
        """Looks at every object once a round, spread over it: the net under missed events."""
        steps = max(1, round(self._ctx.settings.resync_seconds / WHEEL_STEP))
        for step in itertools.cycle(range(steps)):
            await asyncio.sleep(WHEEL_STEP)
            for key in self._ctx.cache.own():
                if hash(key) % steps == step:
                    self.queue.add(key)
