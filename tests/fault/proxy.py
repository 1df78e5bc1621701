"""A proxy between the operator and a real API server: it records requests, and breaks some.

A fault is a function around a request, as a middleware is: it may answer itself, forward and answer
something else, forward and lose the answer, or do something to the operator first. Watches may be
changed line by line as well, once they have begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp
from aiohttp import web

from ports import free_port

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PATH: Final = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[^/]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
# These belong to one connection, not to the message.
HOP_BY_HOP: Final = frozenset(
    {"connection", "content-length", "content-encoding", "host", "transfer-encoding"}
)


@dataclass(frozen=True)
class Request:
    """What the operator asked for."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    waits: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)
    """Whether the operator still waits for the answer."""
    at: float = field(default_factory=time.monotonic, repr=False, compare=False)
    """When it came, by the monotonic clock."""

    @property
    def resource(self) -> str:
        """Plural, with the sub-resource: `trainingjobs/status`."""
        found = PATH.fullmatch(self.path)
        if found is None:
            return ""
        return "/".join(part for part in (found["resource"], found["sub"]) if part)

    @property
    def name(self) -> str:
        """Of the object; that of one to be created is in its body."""
        found = PATH.fullmatch(self.path)
        if found is not None and found["name"]:
            return found["name"]
        # A review has no name.
        meta = json.loads(self.body).get("metadata", {}) if self.method == "POST" else {}
        return str(meta.get("name", ""))

    @property
    def watch(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.query.get("watch") in {"1", "true"}

    @property
    def write(self) -> bool:
        """Whether it changes something other than the operator's own Lease."""
        # A review is a question that is asked by POST.
        return self.method in WRITES and self.resource not in {"leases", "selfsubjectreviews"}

    def __str__(self) -> str:
        verb = "WATCH" if self.watch else self.method
        return f"{verb} {self.resource} {self.name}".rstrip()


@dataclass
class Answer:
    """What the operator gets."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def refusal(cls, status: int, message: str = "injected", **headers: str) -> Answer:
        """As the API server words it."""
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                "message": message, "reason": "Injected"}  # fmt: skip
        kind = {"Content-Type": "application/json"}
        return cls(status, json.dumps(body).encode(), kind | headers)


class Lost(Exception):
    """The connection breaks before the operator has its answer."""


class Forward(Protocol):
    """Asks the API server what the operator asks, or something else."""

    def __call__(self, instead: Request | None = None, /) -> Awaitable[Answer]:
        """Its answer."""


Fault = Callable[[Request, Forward], Awaitable[Answer]]
Lines = AsyncIterator[bytes]
WatchFault = Callable[[Request, Lines], Lines]


async def _no_fault(_: Request, forward: Forward) -> Answer:
    return await forward()


def _no_watch_fault(_: Request, lines: Lines) -> Lines:
    return lines


class Proxy:
    """Listens on loopback and forwards to the API server.

    Args:
        server: URL of the API server.
        cafile: Its certificate authority.
    """

    def __init__(self, server: str, cafile: str) -> None:
        self._server, self._tls = server, ssl.create_default_context(cafile=cafile)
        # The control plane's own CA lacks what Python 3.13 asks of one.
        self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.fault: Fault = _no_fault
        self.watch_fault: WatchFault = _no_watch_fault
        self.requests: list[tuple[Request, int]] = []
        """What the operator asked, and the status it was told; 0 where the answer was lost."""
        self.served: list[tuple[Request, int]] = []
        """What the API server was asked, and what it answered, whatever became of that."""
        # Kept while connections are refused, so nobody else may be given it then.
        self.port = free_port()
        self.pending = 0
        """Requests that wait for their answers, but for watches and those of the Lease."""
        self._site: web.TCPSite | None = None
        self._streams: dict[asyncio.Task[Any], Request] = {}

    async def __aenter__(self) -> Proxy:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None),
            # A line of a watch holds a whole object; aiohttp would refuse half a megabyte.
            read_bufsize=1 << 22,
        )  # fmt: skip
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        await self._runner.cleanup()
        await self._session.close()

    @property
    def url(self) -> str:
        """Where the operator finds the API server."""
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Accepts connections, on the same port as before."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()

    async def close(self) -> None:
        """Refuses connections, and breaks those that there are."""
        if self._site is not None:
            await self._site.stop()
        self._site, server = None, self._runner.server
        for connection in list(server.connections) if server else []:
            if connection.transport is not None:
                connection.transport.abort()
        # Nothing else ends those that wait for the next event.
        for stream in self._streams:
            stream.cancel()

    def writes(self) -> list[Request]:
        """Writes that were stored, but for the Lease's."""
        return [request for request, status in self.served if request.write and status < 300]

    def created(self) -> list[Request]:
        """Writes that made a new object, but for Events."""
        return [
            request
            for request, status in self.served
            if status == 201 and request.write and request.resource != "events"
        ]

    @property
    def watched(self) -> list[str]:
        """Resources that are watched now, one for each watch."""
        return [request.resource for request in self._streams.values() if request.waits()]

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in incoming.headers.items() if k.lower() not in HOP_BY_HOP}
        # Bodies are looked into, and lines of watches cut.
        headers["Accept-Encoding"] = "identity"
        body = await incoming.read()
        request = Request(
            incoming.method, incoming.path, dict(incoming.query), headers, body,
            lambda: incoming.transport is not None and not incoming.transport.is_closing(),
        )  # fmt: skip
        if request.watch:
            stream = asyncio.create_task(self._stream(incoming, request))
            self._streams[stream] = request
            stream.add_done_callback(self._streams.pop)
            return await stream
        counts = request.resource != "leases"
        self.pending += counts
        try:
            return await self._answer(
                incoming, request, lambda instead=None, /: self._forward(instead or request)
            )
        finally:
            self.pending -= counts

    async def _answer(
        self, incoming: web.Request, request: Request, forward: Forward
    ) -> web.Response:
        try:
            answer = await self.fault(request, forward)
        except Lost:
            self.requests.append((request, 0))
            return _broken(incoming)
        self.requests.append((request, answer.status))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _forward(self, request: Request) -> Answer:
        async with self._session.request(
            request.method, self._server + request.path, params=request.query,
            headers=request.headers, data=request.body or None,
        ) as response:  # fmt: skip
            headers = {k: v for k, v in response.headers.items() if k.lower() not in HOP_BY_HOP}
            answer = Answer(response.status, await response.read(), headers)
        self.served.append((request, answer.status))
        return answer

    async def _stream(self, incoming: web.Request, request: Request) -> web.StreamResponse:
        async with contextlib.AsyncExitStack() as stack:
            begun: list[aiohttp.ClientResponse] = []

            async def begin(_: Request | None = None, /) -> Answer:
                response = self._session.get(
                    self._server + request.path, params=request.query, headers=request.headers
                )
                begun.append(await stack.enter_async_context(response))
                # A refusal is an answer like others; a stream is not read here.
                refused = begun[0].status != 200
                return Answer(begun[0].status, await begun[0].read() if refused else b"")

            answer = await self._answer(incoming, request, begin)
            if not begun or answer.status != 200:
                return answer
            return await self._lines(incoming, request, begun[0])

    async def _lines(
        self, incoming: web.Request, request: Request, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        out = web.StreamResponse()
        out.content_type = "application/json"
        try:
            await out.prepare(incoming)
            async for line in self.watch_fault(request, aiter(response.content)):
                await out.write(line)
        except Lost:
            return _broken(incoming)
        except (ConnectionError, aiohttp.ClientError, asyncio.CancelledError):
            return out  # One end has gone.
        await out.write_eof()
        return out


def _broken(incoming: web.Request) -> web.Response:
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response(status=500)
