"""/healthz and /readyz, with an answer that means something."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

# The operator's own Lease is watched and renewed every two seconds. When it is renewed and no event
# tells so, the watch is dead, whatever the process looks like.
SILENCE: Final = 180.0
# Without an API server nothing can be said about watches, and a restart would not help.
UNREACHABLE: Final = 30.0


class Health:
    """What the probes ask about."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        answered: Callable[[], float] = time.monotonic,
        due: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            answered: When the API server last answered a request, by the same clock.
            due: When something last changed that a watch must tell of. Nothing does while etcd
                takes no writes, and a restart would not help.
        """
        self._monotonic, self._answered, self._due = monotonic, answered, due
        self._last_event = monotonic()
        self.synced = False

    def event(self) -> None:
        """Notes that a watch event arrived."""
        self._last_event = self._monotonic()

    @property
    def silence(self) -> float:
        """Seconds since the last watch event."""
        return self._monotonic() - self._last_event

    @property
    def reachable(self) -> bool:
        """Whether the API server answers."""
        return self._monotonic() - self._answered() < UNREACHABLE

    async def healthz(self, _: web.Request) -> web.Response:
        """Fails when watch events stopped arriving although there is something to tell."""
        told = self._due() - self._last_event < SILENCE / 2
        healthy = told or self.silence < SILENCE or not self.reachable
        text = f"last watch event {self.silence:.0f} s ago"
        return web.Response(text=text, status=200 if healthy else 500)

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether this replica watches; a stand-by is ready too, since it can take over."""
        if not self.synced:
            return web.Response(text="starting", status=503)
        if not self.reachable:
            return web.Response(text="the API server does not answer", status=503)
        return web.Response(text="ok")

    async def serve(self, port: int) -> web.AppRunner:
        """Starts the server."""
        app = web.Application()
        app.add_routes([web.get("/healthz", self.healthz), web.get("/readyz", self.readyz)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 (the kubelet asks)
        return runner
