"""The work queue: each key once, each namespace in turn, failing keys later and later."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import OrderedDict, deque
from typing import Final

from loopwright.api.resources import Key

FIRST_RETRY: Final = 0.5
LAST_RETRY: Final = 60.0


class WorkQueue:
    """Keys that want a reconcile.

    A key is never given to two workers at once; one that is added while it is worked on comes
    again afterwards. Namespaces take turns, so that one with a thousand jobs starves no other.
    """

    def __init__(self, jitter: random.Random | None = None) -> None:
        # Jitter spreads retries; nothing secret depends on it.
        self._random = jitter or random.Random()  # noqa: S311
        self._ready: OrderedDict[str, deque[Key]] = OrderedDict()
        self._waiting: set[Key] = set()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready or being worked on."""
        return len(self._waiting) + len(self._active)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Asks for a reconcile, after `delay` seconds; the earliest of several wins."""
        if delay <= 0:
            self._due.pop(key, None)
            self._enqueue(key)
        else:
            due = self._now() + delay
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                heapq.heappush(self._heap, (due, key))
        self._changed.set()

    async def get(self) -> Key:
        """The next key; call `done` when finished with it."""
        while True:
            self._promote()
            if self._ready:
                return self._pop()
            self._changed.clear()
            wait = max(0.0, self._heap[0][0] - self._now()) if self._heap else None
            # Not wait_for: Python 3.11's may swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    def done(self, key: Key) -> None:
        """Says that a worker has finished with a key."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._enqueue(key)
            self._changed.set()

    def failures(self, key: Key) -> int:
        """How often it failed since it last succeeded."""
        return self._failures.get(key, 0)

    def succeeded(self, key: Key) -> None:
        """Forgets a key's failures."""
        self._failures.pop(key, None)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Asks for a reconcile after a failure, later each time; returns the delay."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(count, 10))
        delay = max(at_least, delay * self._random.uniform(0.8, 1.2))
        self.add(key, delay)
        return delay

    def _enqueue(self, key: Key) -> None:
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.setdefault(key.namespace, deque()).append(key)

    def _pop(self) -> Key:
        namespace, keys = self._ready.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._ready[namespace] = keys
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def _promote(self) -> None:
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            # An entry that an earlier or immediate one replaced is stale.
            if self._due.get(key) == due:
                del self._due[key]
                self._enqueue(key)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
