"""A load generator for HTTP: a few connections, each sending the next request after the answer.

It runs as a process of its own, on a core of its own, and prints what it measured as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import cast

import uvloop


class Connection(asyncio.Protocol):
    """One connection; answers must have a Content-Length."""

    def __init__(self, request: bytes, done: asyncio.Event) -> None:
        self._request, self._done = request, done
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent = 0.0
        self.seconds: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        """Sends the request once more."""
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Takes the time once the whole answer is there."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.seconds.append(time.perf_counter() - self._sent)
        self.failed += b" 200 " not in head.split(b"\r\n", 1)[0]
        self._buffer = body[length:]
        if not self._done.is_set():
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """A server must not close it."""
        self.failed += not self._done.is_set()


async def load(host: str, port: int, request: bytes, connections: int, seconds: float) -> dict:
    """Requests a second, latencies in milliseconds and how many requests failed."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    made = []
    start = time.perf_counter()
    for _ in range(connections):
        _, one = await loop.create_connection(lambda: Connection(request, done), host, port)
        made.append(one)
    await asyncio.sleep(seconds)
    done.set()
    elapsed = time.perf_counter() - start
    latencies = [second * 1000 for one in made for second in one.seconds]
    cuts = statistics.quantiles(latencies, n=1000)
    return {
        "rate": len(latencies) / elapsed,
        "p50": cuts[499],
        "p99": cuts[989],
        "failed": sum(one.failed for one in made),
    }


def main() -> None:
    """Loads a server, by default on this machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    words = parser.parse_args()
    body = words.body.read_bytes()
    head = (
        f"POST {words.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    found = load(words.host, words.port, request, words.connections, words.seconds)
    print(json.dumps(uvloop.run(found)))


if __name__ == "__main__":
    main()
