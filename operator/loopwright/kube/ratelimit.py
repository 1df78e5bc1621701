"""A token bucket: neither kopf nor the client limits how fast it asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class TokenBucket:
    """Lets `qps` requests a second pass, and `burst` at once after a pause."""

    def __init__(self, qps: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._qps, self._burst, self._clock = qps, burst, clock
        self._tokens, self._at = float(burst), clock()
        self._closed_until = self._at

    def reserve(self) -> float:
        """Takes a token, and returns how many seconds to wait before using it."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._qps)
        self._at = now
        # Going below zero queues the callers: each waits its turn behind those before it.
        self._tokens -= 1
        return max(0.0, -self._tokens / self._qps, self._closed_until - now)

    def pause(self, seconds: float) -> None:
        """Lets nothing pass for a while, because the server asked for it."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    async def take(self) -> None:
        """Waits until a request may be sent."""
        if (delay := self.reserve()) > 0:
            await asyncio.sleep(delay)
