"""What goes through a model is counted, whole, and is not held for long."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, normal

from loopwright.serving.counting import BYTES, OBJECTS, Counting
from loopwright.serving.running import Direct
from loopwright.serving.tensors import Tensor
from loopwright.sketch import Layout, Sketch
from loopwright.train.profile import profile

DATA, BASELINE = normal(3000, 6)
LAYOUT = Layout.of(BASELINE)
WITH_LABELS = Layout.of(profile({"input": DATA}, outputs={"label": DATA[:, 0] > 0}))


def add(counting: Counting, rows: Any) -> None:
    counting.add(rows.nbytes, {"input": rows}, ["label"], [rows[:, 0] > 0])


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("texts", [True, False])
def test_every_row_is_counted(size: int, texts: bool) -> None:
    counting = Counting(Sketch(WITH_LABELS), texts=texts)
    for at in range(0, len(DATA), size):
        add(counting, DATA[at : at + size])
    found = counting.snapshot().counts
    assert found.rows.tolist() == [3000, 3000]
    expected = counted(WITH_LABELS, {"input": DATA}, {"label": DATA[:, 0] > 0})
    assert found.bins.tolist() == expected.bins.tolist()


def test_what_was_refused_is_counted_too() -> None:
    counting = Counting(Sketch(LAYOUT), texts=False)
    counting.refuse()
    add(counting, np.ones((3, 7)))
    add(counting, DATA[:5])
    found = counting.snapshot().counts
    assert (found.refused, found.rows.tolist()) == (4, [5])


def kept(counting: Counting, rows: Any, times: int) -> int:
    """How many of the requests with these rows still wait."""
    before = sys.getrefcount(rows)
    for _ in range(times):
        counting.add(rows.nbytes, {"input": rows}, [], [])
    return sys.getrefcount(rows) - before


def test_few_requests_wait_and_few_bytes() -> None:
    counting = Counting(Sketch(LAYOUT), texts=False)
    row, many = DATA[:1].copy(), np.ones((BYTES // 48, 6))
    most = BYTES // (OBJECTS + row.nbytes)
    assert kept(counting, row, most) == most
    assert kept(counting, row, 1) == -most
    assert kept(counting, many, 1) <= 1
    assert kept(counting, many, 9) <= 1
    assert kept(Counting(Sketch(LAYOUT), texts=True), row, 9) == 0


def test_large_outputs_do_not_wait() -> None:
    counting = Counting(Sketch(WITH_LABELS), texts=False)
    output = np.ones((1, BYTES))
    before = sys.getrefcount(output)
    counting.add(48, {"input": DATA[:1]}, ["embedding"], [output])
    assert sys.getrefcount(output) == before


class FakeModel:
    """Gives labels."""

    def run(self, inputs: Any, _: Any) -> Any:
        """As a model does."""
        return [inputs["input"][:, 0] > 0]


async def test_quick_and_slow_requests_are_counted() -> None:
    """The first of a size is run in a thread of the pool."""
    counting, model = Counting(Sketch(WITH_LABELS), texts=False), FakeModel()
    direct = Direct(model, 1, counting)  # type: ignore[arg-type]
    for at in range(0, 500, 5):
        await direct.run({"input": DATA[at : at + 5]}, ["label"])
    direct.close()
    assert counting.snapshot().counts.rows.tolist() == [500, 500]


def test_a_tensor_keeps_no_long_body_alive() -> None:
    tensor = Tensor("input", "float64", (-1, 6))
    body = b" " * 10_000 + DATA[:2].tobytes()
    before = sys.getrefcount(body)
    found = tensor.from_bytes(memoryview(body)[10_000:], [2, 6])
    assert found.tolist() == DATA[:2].tolist()
    assert sys.getrefcount(body) == before
