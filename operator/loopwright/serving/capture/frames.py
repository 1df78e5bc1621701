"""How the server hands a request to the process that keeps it: one frame on its standard input."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson

_HEAD: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Body:
    """A body as it was sent."""

    kind: str
    """One of those in `bodies`."""
    size: int
    content: bytes | None = None
    """None if it is not to be kept."""
    json_length: int = 0
    """Bytes of JSON that it begins with, if raw ones follow."""


NOTHING: Final = Body("json", 0)


@dataclass(frozen=True)
class Record:
    """A request and its answer."""

    id: str
    time: float
    """When its head arrived, in seconds since the epoch."""
    protocol: str
    status: int | None
    """None, and so is the time, if the answer was not seen, or the request."""
    seconds: float | None
    request: Body
    response: Body


def pack(record: Record) -> bytes:
    """A frame: the length of the header, the header, and both bodies."""
    bodies = (record.request, record.response)
    header = orjson.dumps(
        [
            record.id, record.time, record.protocol, record.status, record.seconds,
            [[one.kind, one.size, one.json_length, _length(one)] for one in bodies],
        ]
    )  # fmt: skip
    return b"".join([_HEAD.pack(len(header)), header, *(one.content or b"" for one in bodies)])


def _length(body: Body) -> int | None:
    return None if body.content is None else len(body.content)


class Unpacker:
    """Takes frames out of a stream, which may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are complete now."""
        self._rest += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> Record | None:
        rest, at = self._rest, _HEAD.size
        if len(rest) < at:
            return None
        (length,) = _HEAD.unpack_from(rest)
        if len(rest) < at + length:
            return None
        *head, described = orjson.loads(rest[at : at + length])
        at += length
        if len(rest) < at + sum(one[3] or 0 for one in described):
            return None
        bodies = []
        for kind, size, json_length, kept in described:
            content = None if kept is None else bytes(rest[at : at + kept])
            bodies.append(Body(kind, size, content, json_length))
            at += kept or 0
        del rest[:at]
        return Record(*head, *bodies)
