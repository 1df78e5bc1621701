"""A process counts what it sees: row by row or at once, by several threads, forked or not."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, normal

from loopwright.sketch import Counts, Layout, Sketch
from loopwright.train.profile import profile

DATA, BASELINE = normal(3000, 6)
LAYOUT = Layout.of(BASELINE)


def same(one: Counts, other: Counts) -> bool:
    """Whether two counted the same."""
    return one.follows(other) and other.follows(one)


@pytest.mark.parametrize("size", [1, 3, 1000, 3000])
def test_rows_may_come_in_any_number(size: int) -> None:
    sketch = Sketch(LAYOUT)
    for at in range(0, len(DATA), size):
        sketch.add({"input": DATA[at : at + size]})
    found = sketch.snapshot().counts
    assert same(found, counted(LAYOUT, DATA))
    assert found.rows.tolist() == [3000]
    found.check()


def test_snapshots_are_cumulative_and_stay_as_they_are() -> None:
    sketch = Sketch(LAYOUT)
    assert sketch.snapshot().counts.most_rows == 0
    sketch.add({"input": DATA[:10]})
    first = sketch.snapshot()
    sketch.add({"input": DATA[10:30]})
    second = sketch.snapshot()
    assert first.counts.rows.tolist() == [10]
    assert second.counts.rows.tolist() == [30]
    assert first.process == second.process
    assert same(second.counts - first.counts, counted(LAYOUT, DATA[10:30]))


def test_arrays_may_change_after_they_were_added() -> None:
    sketch = Sketch(LAYOUT)
    for at, size in ((0, 10), (10, 1000), (1010, 1990)):
        rows = DATA[at : at + size].copy()
        sketch.add({"input": rows})
        rows[:] = 1e6
    assert same(sketch.snapshot().counts, counted(LAYOUT, DATA))


def test_types_may_be_mixed() -> None:
    sketch = Sketch(LAYOUT)
    for rows in (DATA[:5], DATA[5:9].astype(np.float32), DATA[9:10].tolist()):
        sketch.add({"input": rows})
    sketch.add({"input": np.array(DATA[10:12], dtype=object)})
    assert same(sketch.snapshot().counts, counted(LAYOUT, DATA[:12]))


def test_requests_of_all_sorts_at_once() -> None:
    rows = [DATA[:2], DATA[2:3].astype(np.float32), np.ones((2, 5)), np.arange(6)[None],
            DATA[3:6].reshape(3, 2, 3), [["a"] * 6], np.ones((0, 6))]  # fmt: skip
    requests: list[Any] = [*({"input": one} for one in rows), {}, {"other": DATA[:1]}]
    one_by_one, at_once = Sketch(LAYOUT), Sketch(LAYOUT)
    for one in requests:
        one_by_one.add(one)
    at_once.add_all(requests)
    at_once.add_all([{"input": DATA[6:8]}, {"input": DATA[8:10]}])
    one_by_one.add({"input": DATA[6:10]})
    found = at_once.snapshot().counts
    assert same(found, one_by_one.snapshot().counts)
    # Whatever it is called: the baseline was made of an array without a name.
    assert (found.refused, found.rows.tolist()) == (2, [13])


def test_rows_of_any_width_may_alternate() -> None:
    """Where the baseline does not say how many values a row has."""
    baseline = profile({"input": DATA}, outputs={"probabilities": softmax(DATA)})
    unknown = [one.model_copy(update={"size": 0}) for one in baseline.prediction_sources]
    found = []
    for one in (baseline, baseline.model_copy(update={"prediction_sources": unknown})):
        sketch = Sketch(Layout.of(one))
        for width in (2, 6, 6, 3):
            sketch.add({"input": DATA[:4]}, {"probabilities": softmax(DATA[:4, :width])})
        found.append(sketch.snapshot().counts.rows.tolist())
    assert found == [[16, 8, 8], [16, 16, 16]]


def softmax(scores: Any) -> Any:
    """Probabilities."""
    found = np.exp(scores)
    return found / found.sum(axis=1, keepdims=True)


def test_further_dimensions_are_features() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": DATA[:5].reshape(5, 2, 3)})
    sketch.add({"input": DATA[5:9].reshape(4, 3, 2)})
    assert same(sketch.snapshot().counts, counted(LAYOUT, DATA[:9]))


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((2, 5)), np.ones((2, 7)), np.ones((2, 6), dtype=complex),
        np.ones((2, 6), dtype="datetime64[s]"), np.ones((2, 0)), [[1, 2], [1]],
    ],
)  # fmt: skip
def test_what_has_another_form_is_refused(rows: Any) -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": rows})
    sketch.add({"input": DATA[:3]})
    found = sketch.snapshot().counts
    assert (found.refused, found.rows.tolist()) == (2, [3])


def test_a_single_number_is_refused() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": 5})
    sketch.refuse(4)
    assert sketch.snapshot().counts.refused == 5


def test_no_rows_are_no_news() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": np.ones((0, 6))})
    sketch.add({})
    assert sketch.snapshot().counts.refused == 0


def test_inputs_and_outputs_by_name() -> None:
    tensors = {"age": np.arange(10.0)[:, None], "size": np.arange(10.0)[:, None] * 2}
    outputs = {"label": np.arange(10) % 2}
    layout = Layout.of(profile(tensors, outputs=outputs))
    assert [one.name for one in layout.features] == ["age", "size", "label"]
    assert [one.output for one in layout.features] == [False, False, True]
    sketch = Sketch(layout)
    sketch.add({**tensors, "other": np.ones(10)}, outputs)
    sketch.add(tensors)  # Whoever asks for some outputs only.
    sketch.add({"size": np.ones((1, 1))}, {"probabilities": np.ones((1, 2))})
    found = sketch.snapshot().counts
    assert found.rows.tolist() == [20, 21, 10]
    assert found.most_rows == 21
    found.check()


def test_threads_lose_nothing() -> None:
    sketch, snapshots = Sketch(LAYOUT), []

    def work(rows: Any) -> None:
        for at in range(len(rows)):
            sketch.add({"input": rows[at : at + 1]})
            if at % 100 == 0:
                snapshots.append(sketch.snapshot())

    threads = [threading.Thread(target=work, args=(DATA[at::4],)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert same(sketch.snapshot().counts, counted(LAYOUT, DATA))
    for one in snapshots:
        one.counts.check()


def test_a_fork_counts_from_zero_as_another_process() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": DATA[:10]})
    before = sketch.snapshot()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            sketch.add({"input": DATA[:3]})
            os.write(write, sketch.snapshot().to_bytes())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        found = type(before).parse(pipe.read(), LAYOUT)
    os.waitpid(child, 0)
    assert found.counts.rows.tolist() == [3]
    assert found.process != before.process
    assert sketch.snapshot().counts.rows.tolist() == [10]


def test_time_is_told() -> None:
    steady = iter([100.0, 107.5, 90.0])
    sketch = Sketch(LAYOUT, clock=lambda: 1e9, steady=lambda: next(steady))
    found = sketch.snapshot()
    assert (found.started, found.age) == (1e9, 7.5)
    assert sketch.snapshot().age == 0


def test_memory_does_not_grow_with_rows() -> None:
    sketch = Sketch(LAYOUT)
    row = DATA[:1].astype(np.float32)

    def peak(rows: int) -> int:
        tracemalloc.start()
        for _ in range(rows):
            sketch.add({"input": row})
        sketch.snapshot()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert LAYOUT.total_bins < 300
    few = peak(12_000)
    assert peak(30_000) < few + 100_000 < 2_000_000


def test_tensors_that_nobody_counts_are_not_kept() -> None:
    texts = profile({"text": np.array([["a b c d"]] * 50, dtype=object), "n": np.ones(50)},
                    kinds={"text": "text"})  # fmt: skip
    sketch = Sketch(Layout.of(texts))
    long = np.array([["x" * 1000]], dtype=object)
    kept = sys.getrefcount(long)
    sketch.add({"text": long, "n": np.ones(1), "other": long})
    assert sys.getrefcount(long) == kept
    assert sketch.snapshot().counts.rows.tolist() == [1, 1]


def test_huge_numbers_make_no_noise() -> None:
    layout = Layout.of(profile(np.ones((50, 8)), kinds={"": "embedding"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = counted(layout, np.full((3, 8), 1e300))
    assert found.missing[0] == 3


def test_missing_values_of_each_feature() -> None:
    rows = DATA[:8].copy()
    rows[:3, 1], rows[5, 4] = math.nan, math.inf
    found = counted(LAYOUT, rows)
    assert found.missing.tolist() == [0, 3, 0, 0, 1, 0]
    assert found.values.tolist() == [8, 5, 8, 8, 7, 8]


def test_flushing_counts_what_waits() -> None:
    sketch = Sketch(LAYOUT)
    sketch.add({"input": DATA})
    sketch.flush()
    start = time.process_time()
    sketch.snapshot()
    assert time.process_time() - start < 0.05
