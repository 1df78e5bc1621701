"""Where predictions run, and how they are batched."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from model_folders import linear, lookup, same, two_inputs
from onnx import TensorProto

from loopwright.serving.batching import Batcher
from loopwright.serving.errors import CannotServe
from loopwright.serving.running import INLINE_BYTES, Direct
from loopwright.serving.tensors import Array

PREDICT = "/v1/models/m:predict"


class FakeModel:
    """Doubles x, and remembers in which threads."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.threads: list[threading.Thread] = []

    def run(self, inputs: Mapping[str, Array], _: Sequence[str]) -> list[Array]:
        """As a model does."""
        self.threads.append(threading.current_thread())
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return [inputs["x"] * 2]


async def test_what_is_quick_runs_where_it_is() -> None:
    model: Any = FakeModel()
    direct = Direct(model, 1)
    x = {"x": np.ones(3, np.float32)}
    for _ in range(50):
        await direct.run(x, ["y"])
    main = threading.main_thread()
    assert model.threads[0] is not main
    assert model.threads[-1] is main
    # Nothing is known yet of larger inputs.
    await direct.run({"x": np.ones(300, np.float32)}, ["y"])
    assert model.threads[-1] is not main
    direct.close()


async def test_what_is_slow_runs_in_a_thread() -> None:
    model: Any = FakeModel(seconds=0.01)
    direct = Direct(model, 1)
    for _ in range(5):
        await direct.run({"x": np.ones(3, np.float32)}, ["y"])
    assert threading.main_thread() not in model.threads
    direct.close()


async def test_long_bodies_are_parsed_in_a_thread() -> None:
    model: Any = FakeModel()
    direct = Direct(model, 1)
    found = [await direct.apart(n, threading.current_thread) for n in (10, INLINE_BYTES + 1)]
    assert found[0] is threading.main_thread()
    assert found[1] is not threading.main_thread()
    direct.close()


class FakeRunner:
    """Doubles x; remembers the batches, and fails on negative numbers."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    async def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """As a runner does."""
        await asyncio.sleep(0)
        x = inputs["x"]
        self.batches.append(x.ravel().tolist())
        if (x < 0).any():
            raise ValueError("negative")
        return [{"double": x * 2, "half": x / 2, "odd": x[:1]}[name] for name in outputs]


def batcher(size: int = 4, seconds: float = 0.001) -> tuple[Batcher, FakeRunner, list[int]]:
    """A batcher, what runs its batches, and their sizes."""
    runner, rows = FakeRunner(), []
    return Batcher(runner, size, seconds, rows.append), runner, rows


async def ask(batcher: Batcher, *x: float, outputs: Sequence[str] = ("double",)) -> list[Any]:
    """The outputs for some rows."""
    found = await batcher.run({"x": np.array(x, np.float32)}, outputs)
    return [one.tolist() for one in found]


async def test_requests_join() -> None:
    batches, runner, rows = batcher(seconds=60)
    found = await asyncio.gather(ask(batches, 1), ask(batches, 2, 3), ask(batches, 4))
    assert found == [[[2.0]], [[4.0, 6.0]], [[8.0]]]
    assert (runner.batches, rows) == ([[1.0, 2.0, 3.0, 4.0]], [4])


async def test_a_request_waits_only_so_long() -> None:
    batches, runner, _ = batcher(size=100)
    assert await ask(batches, 1) == [[2.0]]
    assert runner.batches == [[1.0]]


async def test_a_batch_is_never_larger_than_wanted() -> None:
    batches, runner, rows = batcher(size=4)
    await asyncio.gather(ask(batches, 1, 2, 3), ask(batches, 4, 5), ask(batches, *range(9)))
    assert sorted(map(len, runner.batches)) == [2, 3, 9]
    assert sorted(rows) == [2, 3, 9]


async def test_each_gets_the_outputs_it_wants() -> None:
    batches, runner, _ = batcher(size=2)
    found = await asyncio.gather(
        ask(batches, 4, outputs=["half"]), ask(batches, 6, outputs=["double", "half"])
    )
    assert found == [[[2.0]], [[12.0], [3.0]]]
    assert len(runner.batches) == 1


async def test_a_bad_request_does_not_harm_the_others() -> None:
    batches, _, _ = batcher(size=3)
    found = await asyncio.gather(
        ask(batches, 1), ask(batches, -1), ask(batches, 3), return_exceptions=True
    )
    assert (found[0], found[2]) == ([[2.0]], [[6.0]])
    assert isinstance(found[1], ValueError)


async def test_outputs_without_a_row_for_each_row_are_not_taken_apart() -> None:
    batches, runner, _ = batcher(size=2)
    found = await asyncio.gather(*(ask(batches, n, outputs=["odd"]) for n in (1, 2)))
    assert found == [[[1.0]], [[2.0]]]
    assert runner.batches[1:] == [[1.0], [2.0]]


async def test_rows_of_other_shapes_do_not_join() -> None:
    batches, runner, _ = batcher(size=2)
    x = [np.ones((1, n), np.float32) for n in (2, 3)]
    found = await asyncio.gather(*(batches.run({"x": one}, ["double"]) for one in x))
    assert [one[0].shape for one in found] == [(1, 2), (1, 3)]
    assert len(runner.batches) == 2


async def test_a_request_that_was_given_up_does_not_disturb() -> None:
    batches, _, _ = batcher(size=2)
    gone = asyncio.create_task(ask(batches, 1))
    await asyncio.sleep(0)
    gone.cancel()
    assert await ask(batches, 2) == [[4.0]]


async def test_batches_of_requests(calling: Any) -> None:
    async with calling(linear(), max_batch_size=3, max_latency_ms=1000) as client:
        bodies = [{"instances": [[n, 0, 0]]} for n in range(6)]
        answers = await asyncio.gather(*(client.post(PREDICT, json=one) for one in bodies))
        assert [one.json()["predictions"] for one in answers] == [[[n, 0.0]] for n in range(6)]
        registry = client.service.metrics.registry
        labels = {"endpoint": "m", "variant": ""}
        name = "loopwright_serving_batch_rows"
        assert registry.get_sample_value(f"{name}_count", labels) == 2
        assert registry.get_sample_value(f"{name}_sum", labels) == 6


async def test_one_bad_row_among_requests(calling: Any) -> None:
    async with calling(lookup(), max_batch_size=2, max_latency_ms=1000) as client:
        bodies = [{"instances": [3]}, {"instances": [4]}]
        good, bad = await asyncio.gather(*(client.post(PREDICT, json=one) for one in bodies))
        assert good.json() == {"predictions": [3.0]}
        assert bad.status_code == 400


async def test_inputs_with_different_numbers_of_rows(calling: Any) -> None:
    inputs = [
        {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
        {"name": "b", "shape": [1], "datatype": "INT8", "data": [1]},
    ]
    async with calling(two_inputs(), max_batch_size=2, max_latency_ms=1) as client:
        answer = await client.post("/v2/models/m/infer", json={"inputs": inputs})
        assert answer.json()["outputs"][0]["data"] == [4.0, 8.0]


def test_models_that_cannot_be_batched(calling: Any) -> None:
    for content in (linear(batch=1), same(TensorProto.FLOAT, ())):
        with pytest.raises(CannotServe, match="needs a first dimension of any size") as caught:
            calling(content, max_batch_size=8)
        assert caught.value.reason == "NotBatchable"
