"""Predicts rows of several requests together, when each may wait a little."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from loopwright.serving.running import Runner
from loopwright.serving.tensors import Array

logger = logging.getLogger(__name__)


@dataclass
class _Request:
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    rows: int
    done: asyncio.Future[Sequence[Array]]


@dataclass
class _Group:
    """Requests whose rows have the same shapes."""

    requests: list[_Request] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None


class Batcher:
    """Collects requests until they have enough rows, or the first has waited long enough.

    Args:
        runner: Runs the batches.
        size: Rows of a batch.
        seconds: The longest wait.
        observe: Is told the rows of each batch.
    """

    def __init__(
        self, runner: Runner, size: int, seconds: float, observe: Callable[[int], object]
    ) -> None:
        self._runner, self._size, self._seconds = runner, size, seconds
        self._observe = observe
        self._groups: dict[Hashable, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The outputs asked for, of these rows alone."""
        counts = {len(array) for array in inputs.values()}
        rows = counts.pop()
        if counts or rows >= self._size:
            self._observe(rows)
            return await self._runner.run(inputs, outputs)
        key = tuple(array.shape[1:] for array in inputs.values())
        group = self._groups.setdefault(key, _Group())
        if group.rows + rows > self._size:
            self._send(key)
            group = self._groups.setdefault(key, _Group())
        loop = asyncio.get_running_loop()
        request = _Request(inputs, outputs, rows, loop.create_future())
        group.requests.append(request)
        group.rows += rows
        if group.rows == self._size:
            self._send(key)
        elif group.timer is None:
            group.timer = loop.call_later(self._seconds, self._send, key)
        return await request.done

    def _send(self, key: Hashable) -> None:
        group = self._groups.pop(key)
        if group.timer is not None:
            group.timer.cancel()
        self._observe(group.rows)
        task = asyncio.get_running_loop().create_task(self._predict(group.requests))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _predict(self, requests: Sequence[_Request]) -> None:
        try:
            await self._together(requests)
        except Exception as error:
            if len(requests) > 1:
                # One of them may be to blame, and the others must not suffer for it.
                logger.warning("a batch of %d requests failed: %s", len(requests), error)
                await asyncio.gather(*(self._predict([one]) for one in requests))
            elif not requests[0].done.done():
                requests[0].done.set_exception(error)

    async def _together(self, requests: Sequence[_Request]) -> None:
        outputs = list(dict.fromkeys(name for one in requests for name in one.outputs))
        inputs = {
            name: np.concatenate([one.inputs[name] for one in requests])
            for name in requests[0].inputs
        }
        rows = sum(one.rows for one in requests)
        found = dict(zip(outputs, await self._runner.run(inputs, outputs), strict=True))
        if any(len(array) != rows for array in found.values()):
            raise ValueError(f"the outputs do not have a row for each of {rows} rows")
        first = 0
        for one in requests:
            if not one.done.done():
                one.done.set_result([found[n][first : first + one.rows] for n in one.outputs])
            first += one.rows
