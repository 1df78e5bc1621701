"""Runs a model without holding up the event loop, which also answers probes and scrapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from loopwright.serving.counting import Counting
from loopwright.serving.model import Model
from loopwright.serving.tensors import Array

T = TypeVar("T")

# Handing a prediction to a thread and back costs about as much as a small model takes. What has
# lately been faster than this runs where it is; with one CPU nobody else could use it anyway.
INLINE_SECONDS: Final = 0.0002
INLINE_SECONDS_ONE_CPU: Final = 0.001
# Bytes that are parsed or written where they are; 64 KiB take about 0.2 ms.
INLINE_BYTES: Final = 64 << 10
# Share of the newest measurement in what is expected of the next.
_SHARE: Final = 0.2


class Runner(Protocol):
    """What predicts."""

    async def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The outputs asked for."""


class Direct:
    """Runs each request by itself: in a thread of its own pool unless it is known to be quick.

    Args:
        counting: Counts each of them.
    """

    def __init__(self, model: Model, threads: int, counting: Counting | None = None) -> None:
        self._model, self._counting = model, counting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._limit = INLINE_SECONDS if threads > 1 else INLINE_SECONDS_ONE_CPU
        # Expected seconds by size: the number of bits in the number of bytes.
        self._expected = [float("inf")] * 64

    async def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The outputs asked for."""
        size = sum(array.nbytes for array in inputs.values())
        if self._expected[size.bit_length()] < self._limit:
            arrays = self._timed(size, inputs, outputs)
            if self._counting is not None:
                self._counting.add(size, inputs, outputs, arrays)
            return arrays
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._run_and_count, size, inputs, outputs)

    async def apart(self, size: int, work: Callable[..., T], *args: object) -> T:
        """Calls a function that takes long when there are many bytes."""
        if size <= INLINE_BYTES:
            return work(*args)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        """Ends the threads once they are idle."""
        self._pool.shutdown(wait=False)

    def _run_and_count(
        self, size: int, inputs: Mapping[str, Array], outputs: Sequence[str]
    ) -> Sequence[Array]:
        """In a thread of the pool."""
        arrays = self._timed(size, inputs, outputs)
        if self._counting is not None:
            self._counting.add_now(inputs, outputs, arrays)
        return arrays

    def _timed(
        self, size: int, inputs: Mapping[str, Array], outputs: Sequence[str]
    ) -> Sequence[Array]:
        # CPU time of this thread: waiting for the interpreter's lock would count as work, and what
        # is quick would look slow as long as there is load.
        start = time.thread_time()
        try:
            return self._model.run(inputs, outputs)
        finally:
            bits = size.bit_length()
            seconds, before = time.thread_time() - start, self._expected[bits]
            known = before != float("inf")
            self._expected[bits] = before + _SHARE * (seconds - before) if known else seconds
