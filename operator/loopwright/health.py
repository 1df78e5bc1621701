"""/healthz and /readyz, with an answer that means something."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

# The operator's own Lease is watched and renewed every two seconds, so an event is always due:
# silence means that the watch is dead, whatever the process looks like.
SILENCE: Final = 180.0


class Health:
    """What the probes ask about."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_event = monotonic()
        self.synced = False

    def event(self) -> None:
        """Notes that a watch event arrived."""
        self._last_event = self._monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the last watch event."""
        return self._monotonic() - self._last_event

    async def healthz(self, _: web.Request) -> web.Response:
        """Fails when watch events stopped arriving."""
        healthy = self.silence < SILENCE
        text = f"last watch event {self.silence:.0f} s ago"
        return web.Response(text=text, status=200 if healthy else 500)

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether this replica watches; a stand-by is ready too, since it can take over."""
        return web.Response(
            text="ok" if self.synced else "starting", status=200 if self.synced else 503
        )

    async def serve(self, port: int) -> web.AppRunner:
        """Starts the server."""
        app = web.Application()
        app.add_routes([web.get("/healthz", self.healthz), web.get("/readyz", self.readyz)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 (the kubelet asks)
        return runner
