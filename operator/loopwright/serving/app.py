"""The REST side: a bare ASGI application, since a framework would cost more than most models."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import orjson

from loopwright.api import serving
from loopwright.serving import v1, v2
from loopwright.serving.asgi import (
    JSON,
    JSON_HEADERS,
    TEXT_HEADERS,
    Gone,
    Headers,
    Message,
    Receive,
    Send,
    error_body,
    read_body,
    respond,
)
from loopwright.serving.errors import Refused
from loopwright.serving.feedback import MAX_BYTES
from loopwright.serving.service import REQUEST_ID, Service, request_id
from loopwright.sketch import CONTENT_TYPE

Answer = tuple[bytes, list[tuple[bytes, bytes]]]
"""Body and headers."""
Work = Callable[[Headers, bytes, str], Awaitable[Answer]]
"""From a request's headers, body and id to its answer."""

BINARY: Final = b"application/octet-stream"
SKETCH: Final = [(b"content-type", CONTENT_TYPE.encode())]
JSON_LENGTH: Final = b"inference-header-content-length"
PROXIES: Final = frozenset({b"x-forwarded-for", b"forwarded", b"via", b"x-envoy-external-address"})
ID: Final = REQUEST_ID.encode()
FEEDBACK_ID: Final = serving.FEEDBACK_ID.encode()
_MODEL_PATH = re.compile(r"/v[12]/models/([^/:]+)(?:/versions/([^/:]+))?(?:[/:]\w+)?")


class App:
    """Answers HTTP requests for one model."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._outputs = [next(iter(service.model.signature.outputs))]
        """What v1 answers with."""
        self._gets: dict[str, Callable[[], tuple[int, bytes]]] = {}
        self._posts: dict[str, tuple[str, Work]] = {}
        self._counts: dict[str, Callable[[], tuple[int, bytes, list[tuple[bytes, bytes]]]]] = {
            serving.BASELINE_PATH: self._baseline, serving.SKETCH_PATH: self._sketch,
            serving.FEEDBACK_PATH: self._feedback,
        }  # fmt: skip
        """What is not for clients but for monitors, which ask pods directly."""
        self._add_routes()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        method, path = scope["method"], scope["path"]
        if method == "POST" and (route := self._posts.get(path)) is not None:
            await self._work(*route, dict(scope["headers"]), receive, send)
        elif method == "POST" and path == serving.FEEDBACK_PATH:
            await self._take_feedback(dict(scope["headers"]), receive, send)
        elif method == "GET" and (get := self._gets.get(path)) is not None:
            status, body = get()
            headers = TEXT_HEADERS if path == "/metrics" else JSON_HEADERS
            await self._send(send, status, body, headers)
        elif method == "GET" and path in self._counts and not forwarded(scope["headers"]):
            await self._send(send, *self._counts[path]())
        else:
            await self._refuse(path, send)

    def _add_routes(self) -> None:
        service, model = self._service, self._service.model
        gets, posts = self._gets, self._posts
        gets["/"] = lambda: (200, b'{"status":"alive"}')
        gets["/metrics"] = lambda: (200, service.metrics.text())
        gets[serving.LIVE_PATH] = lambda: (200, b'{"live":true}')
        gets[serving.READY_PATH] = self._ready
        gets["/v1/models"] = gets["/v2/models"] = _fixed({"models": [model.name]})
        gets["/v2"] = _fixed(service.metadata())
        gets[f"/v1/models/{model.name}"] = partial(self._ready, name=model.name)
        posts[f"/v1/models/{model.name}:predict"] = "v1", self._predict
        paths = [f"/v2/models/{model.name}"]
        if model.version:
            paths.append(f"{paths[0]}/versions/{model.version}")
        for path in paths:
            gets[path] = _fixed(model.metadata())
            gets[f"{path}/ready"] = partial(self._ready, name=model.name)
            posts[f"{path}/infer"] = "v2", self._infer

    def _ready(self, **named: str) -> tuple[int, bytes]:
        ready = self._service.ready
        return 200 if ready else 503, orjson.dumps({**named, "ready": ready})

    def _baseline(self) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        baseline = self._service.model.baseline
        if baseline is None or self._service.counting is None:
            return 204, b"", []
        return 200, baseline.model_dump_json(by_alias=True).encode(), JSON_HEADERS

    def _sketch(self) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        counting = self._service.counting
        if counting is None:
            return 204, b"", []
        return 200, counting.snapshot().to_bytes(), SKETCH

    def _feedback(self) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        found = self._service.feedback.snapshot()
        return 200, found.model_dump_json(by_alias=True).encode(), JSON_HEADERS

    async def _take_feedback(self, headers: Headers, receive: Receive, send: Send) -> None:
        """Counts what a client says of answers."""
        try:
            _check_type(headers, JSON)
            body = await read_body(headers, receive, MAX_BYTES)
            counted = self._service.feedback.take(body)
        except Gone:
            return
        except Refused as refusal:
            await self._send(send, refusal.status, error_body(refusal.message), JSON_HEADERS)
            return
        await self._send(send, 200, orjson.dumps({"counted": counted}), JSON_HEADERS)

    async def _predict(self, headers: Headers, body: bytes, _: str) -> Answer:
        apart, signature = self._service.direct.apart, self._service.model.signature
        _check_type(headers, JSON)
        inputs = await apart(len(body), v1.decode, signature, body)
        arrays = await self._service.runner.run(inputs, self._outputs)
        return await apart(arrays[0].nbytes, v1.encode, arrays), JSON_HEADERS

    async def _infer(self, headers: Headers, body: bytes, id: str) -> Answer:
        apart, model = self._service.direct.apart, self._service.model
        length = _json_length(headers)
        request = await apart(len(body), v2.decode, model.signature, body, length)
        arrays = await self._service.runner.run(request.inputs, request.outputs)
        size = sum(one.nbytes for one in arrays)
        answer, length = await apart(
            size, v2.encode, model.name, model.version, request, arrays, id
        )
        if length is None:
            return answer, JSON_HEADERS
        return answer, [(b"content-type", BINARY), (JSON_LENGTH, str(length).encode())]

    async def _work(
        self, protocol: str, work: Work, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Answers a request for a prediction."""
        given = headers.get(ID)
        id = request_id(given.decode("latin-1") if given else None)
        taken = self._service.taken(id, protocol)

        async def whole() -> Answer:
            body = await read_body(headers, receive, self._service.settings.max_body_bytes)
            if taken is not None:
                taken.request(body, headers.get(JSON_LENGTH))
            return await work(headers, body, id)

        try:
            status, answer = await self._service.answer(protocol, id, whole)
        except Gone:
            return
        body, found = (error_body(answer), JSON_HEADERS) if isinstance(answer, str) else answer
        if status == 503:
            found = [*found, (b"retry-after", b"1")]
        named = [(ID, id.encode()), (FEEDBACK_ID, self._service.feedback.id(id).encode())]
        await self._send(send, status, body, [*found, *named])
        if taken is not None:
            taken.answered(status, body, dict(found).get(JSON_LENGTH))

    async def _refuse(self, path: str, send: Send) -> None:
        """Says why there is nothing at a path, or not with this method."""
        if path in self._gets or path in self._posts or path == serving.FEEDBACK_PATH:
            allowed = "GET" if path in self._gets else "POST"
            headers = [*JSON_HEADERS, (b"allow", allowed.encode())]
            await self._send(send, 405, error_body(f"use {allowed}"), headers)
            return
        message = f"there is nothing at {path}"[:1000]
        if match := _MODEL_PATH.fullmatch(path):
            try:
                self._service.check_model(match[1], match[2] or "")
            except Refused as refusal:
                message = refusal.message
        await self._send(send, 404, error_body(message), JSON_HEADERS)

    async def _send(
        self, send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> None:
        await respond(send, status, body, headers, stays=self._service.ready)


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request came through a proxy, as those of clients from outside do."""
    return any(name in PROXIES for name, _ in headers)


def _fixed(answer: object) -> Callable[[], tuple[int, bytes]]:
    body = orjson.dumps(answer)
    return lambda: (200, body)


def _check_type(headers: Headers, expected: bytes) -> None:
    """Whether a body is what it should be. One that says nothing about itself may be anything."""
    found = headers.get(b"content-type")
    if found is not None and found != expected:
        kind = found.partition(b";")[0].strip().lower()
        if kind != expected:
            shown = kind.decode("latin-1")[:100]
            raise Refused(f"Content-Type is {shown}; expected {expected.decode()}")
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() != b"identity":
        raise Refused("expected a body without Content-Encoding")


def _json_length(headers: Headers) -> int | None:
    """How many bytes of a body are JSON, when raw ones may follow."""
    found = headers.get(JSON_LENGTH)
    _check_type(headers, JSON if found is None else BINARY)
    if found is None:
        return None
    if not found.isdigit() or len(found) > 18:
        raise Refused("expected Inference-Header-Content-Length to be a number of bytes")
    return int(found)
