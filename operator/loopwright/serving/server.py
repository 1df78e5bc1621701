"""The life of the server: it listens once its model is loaded, and drains when told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Protocol

import uvicorn

from loopwright.serving.app import App
from loopwright.serving.errors import CannotServe
from loopwright.serving.service import Service

logger = logging.getLogger(__name__)

# Longer than gateways keep idle connections (Traefik: 90 s), or one of theirs would be closed
# just as it is used again.
KEEP_ALIVE_SECONDS = 120


class Drains(Protocol):
    """How long an application goes on after a signal."""

    @property
    def drain_seconds(self) -> float:
        """Until it takes no more requests."""

    @property
    def drain_timeout_seconds(self) -> float:
        """Until those that it has taken are given up."""


class Served(Protocol):
    """What an application answers for."""

    ready: bool

    @property
    def settings(self) -> Drains:
        """Its settings."""


class HttpServer(uvicorn.Server):
    """uvicorn, except that a signal makes it drain before it stops."""

    def __init__(self, app: Any, service: Served) -> None:
        """
        Args:
            app: An ASGI application.
            service: Is told that no more requests are wanted.
        """
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="uvloop",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=round(settings.drain_timeout_seconds),
            )
        )
        self._service = service
        self.stopping = asyncio.Event()
        """Set when no more requests are taken."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The pod is to end: be unready at once, and stop when that has got about."""
        if not self._service.ready:
            self.force_exit = True
            self._stop()
            return
        self._service.ready = False
        seconds = self._service.settings.drain_seconds
        logger.info("draining: requests are accepted for %g s", seconds)
        asyncio.get_running_loop().call_later(seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True
        self.stopping.set()


async def serve(service: Service) -> None:
    """Serves until a signal comes, and everything that came before it is answered.

    Raises:
        CannotServe: a port is taken.
    """
    if service.capture is not None:
        await service.capture.start()
    server = HttpServer(App(service), service)
    servers = [server.serve([listener(service.settings.http_port)])]
    if service.settings.grpc_port:
        servers.append(await _serve_grpc(service, server))
    # What is there now stays: collecting garbage need not look at it again.
    gc.collect()
    gc.freeze()
    await asyncio.gather(*servers)
    service.direct.close()
    if service.capture is not None:
        await service.capture.close()


async def _serve_grpc(service: Service, server: HttpServer) -> Coroutine[None, None, None]:
    """Begins to serve gRPC; returns what ends it together with REST."""
    # gRPC takes 20 MiB and 0.1 s; who turns it off need not pay for it.
    from loopwright.serving.grpc_server import GrpcServer

    grpc_server = GrpcServer(service)
    port = service.settings.grpc_port
    try:
        await grpc_server.start("[::]", port)
    except RuntimeError as error:
        raise _in_use("grpc_port", port) from error

    async def end() -> None:
        await server.stopping.wait()
        seconds = 0.0 if server.force_exit else service.settings.drain_timeout_seconds
        await grpc_server.stop(seconds)

    return end()


def listener(port: int) -> socket.socket:
    """Listens on all addresses of the pod, whose network may have IPv4, IPv6 or both.

    Raises:
        CannotServe: the port is taken.
    """
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise _in_use("http_port", port) from error


def _in_use(setting: str, port: int) -> CannotServe:
    return CannotServe("PortInUse", f"--{setting}={port} cannot be listened on; name another")
