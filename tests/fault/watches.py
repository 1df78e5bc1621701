"""What may happen to a watch: functions from its lines to the lines that the operator gets."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def _read_ahead(lines: Lines) -> AsyncIterator[asyncio.Queue[tuple[float, bytes] | None]]:
    """The lines with the loop's time at which each came, and None behind the last."""
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def read() -> None:
        try:
            async for line in lines:
                queue.put_nowait((asyncio.get_running_loop().time(), line))
        finally:
            # Also when the connection broke: a watch that only falls silent is another fault.
            queue.put_nowait(None)

    reading = asyncio.create_task(read())
    try:
        yield queue
    finally:
        reading.cancel()


async def swapped(_: Request, lines: Lines) -> AsyncIterator[bytes]:
    """Of two events that come soon after each other the second is first."""
    async with _read_ahead(lines) as queue:
        while (first := await queue.get()) is not None:
            try:
                second = await asyncio.wait_for(queue.get(), PATIENCE)
            except TimeoutError:
                yield first[1]
                continue
            if second is not None:
                yield second[1]
            yield first[1]
            if second is None:
                return


def late(seconds: float) -> WatchFault:
    """Every event comes so much later; those that come together stay together."""

    async def fault(_: Request, lines: Lines) -> Lines:
        async with _read_ahead(lines) as queue:
            while (found := await queue.get()) is not None:
                came, line = found
                await asyncio.sleep(came + seconds - asyncio.get_running_loop().time())
                yield line

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
