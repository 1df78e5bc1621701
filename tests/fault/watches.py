"""What may happen to a watch: functions from its lines to the lines that the operator gets."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

from proxy import Lines, Request, WatchFault

# An event waits so long for a later one that overtakes it.
PATIENCE: Final = 0.1


async def forgetful(request: Request, lines: Lines) -> AsyncIterator[bytes]:
    """Two of three events are lost, but for the operator's own Lease."""
    count = itertools.count()
    async for line in lines:
        if request.resource == "leases" or next(count) % 3 == 0:
            yield line


async def duplicated(_: Request, lines: Lines) -> AsyncIterator[bytes]:
    """Every event comes twice, and the one before it once more."""
    before = b""
    async for line in lines:
        for one in (line, before, line):
            if one:
                yield one
        before = line


async def swapped(_: Request, lines: Lines) -> AsyncIterator[bytes]:
    """Of two events that come soon after each other the second is first."""
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        async for line in lines:
            queue.put_nowait(line)

    reading = asyncio.create_task(read())
    try:
        while not (reading.done() and queue.empty()):
            first = await queue.get()
            try:
                async with asyncio.timeout(PATIENCE):
                    yield await queue.get()
            except TimeoutError:
                pass
            yield first
    finally:
        reading.cancel()


def late(seconds: float) -> WatchFault:
    """Every event comes so much later; those that come together stay together."""

    async def fault(_: Request, lines: Lines) -> Lines:
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def read() -> None:
            async for line in lines:
                queue.put_nowait((loop.time() + seconds, line))
            queue.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            while (found := await queue.get()) is not None:
                due, line = found
                await asyncio.sleep(due - loop.time())
                yield line
        finally:
            reading.cancel()

    return fault


def watch_of(*names: str) -> Callable[[WatchFault], WatchFault]:
    """Makes a fault one of some resources' watches only."""

    def only(fault: WatchFault) -> WatchFault:
        return lambda request, lines: fault(request, lines) if request.resource in names else lines

    return only


def cut(seconds: float) -> WatchFault:
    """Ends each watch properly after a while."""

    async def fault(_: Request, lines: Lines) -> Lines:
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                async with asyncio.timeout_at(end):
                    line = await anext(lines)
            except (TimeoutError, StopAsyncIteration):
                return
            yield line

    return fault


class Silence:
    """Lets the connections of watches go dead, without a word to either end."""

    def __init__(self) -> None:
        self._drops = 0

    def drop(self) -> None:
        """Those that there are now say nothing more; new ones work."""
        self._drops += 1

    async def __call__(self, _: Request, lines: Lines) -> Lines:
        """The fault."""
        before = self._drops
        async for line in lines:
            if self._drops != before:
                await asyncio.Event().wait()
            yield line


def say_first(*lines: bytes, times: int = 1) -> WatchFault:
    """Says something of its own at the beginning of the first watches of each resource."""
    said: Counter[str] = Counter()

    async def fault(request: Request, rest: Lines) -> Lines:
        said[request.resource] += 1
        if said[request.resource] <= times:
            for line in lines:
                yield line
        async for line in rest:
            yield line

    return fault
