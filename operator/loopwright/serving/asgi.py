"""What ASGI applications here share: a request's body within bounds, and an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import orjson

from loopwright.serving.errors import Refused
from loopwright.serving.metrics import CONTENT_TYPE_LATEST

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[bytes, bytes]

JSON: Final = b"application/json"
JSON_HEADERS: Final = [(b"content-type", JSON)]
TEXT_HEADERS: Final = [(b"content-type", CONTENT_TYPE_LATEST.encode())]
# A body that takes longer is given up, or slow clients could take all places.
BODY_SECONDS: Final = 30.0


class Gone(Exception):
    """The client has closed the connection."""


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The request's body.

    Args:
        limit: Bytes that it may have.

    Raises:
        Refused: it is too large, or takes too long.
        Gone: the client has closed the connection.
    """
    length = headers.get(b"content-length", b"0")
    parts, size = [], int(length) if length.isdigit() else 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more, found = True, 0
            while more:
                if max(size, found) > limit:
                    raise Refused(f"the body is larger than {limit} bytes", 413)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                parts.append(message.get("body", b""))
                found += len(parts[-1])
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise Refused(f"the body did not arrive within {BODY_SECONDS:g} s", 408) from error
    if found > limit:
        raise Refused(f"the body is larger than {limit} bytes", 413)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]], *, stays: bool
) -> None:
    """Sends an answer.

    Args:
        stays: Whether the server will take more requests.
    """
    all_headers = [*headers, (b"content-length", str(len(body)).encode())]
    if not stays:
        # Clients that keep connections shall open the next one to another pod.
        all_headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


def error_body(message: str) -> bytes:
    """What tells a client why it was refused."""
    return orjson.dumps({"error": message})
