"""Snapshots of processes become windows: nothing twice, nothing invented, nothing without bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.drift import Replicas, Windows
from loopwright.sketch import Counts, Layout, Sketch, Snapshot
from loopwright.train.profile import profile

DATA, BASELINE = normal(200, 2)
LAYOUT = Layout.of(BASELINE)


class Process:
    """A model server by a clock of the test's."""

    def __init__(self, clock: list[float]) -> None:
        self.sketch = Sketch(LAYOUT, clock=lambda: clock[0], steady=lambda: clock[0])

    def serve(self, rows: int) -> Snapshot:
        """Counts some rows, and tells all so far."""
        if rows:
            self.sketch.add({"": np.zeros((rows, 2))})
        return self.sketch.snapshot()


def rows(counts: Counts) -> int:
    """How many were counted."""
    counts.check()
    return counts.most_rows


def test_differences_of_a_process() -> None:
    clock = [50.0]
    replicas, process = Replicas(LAYOUT, since=0), Process(clock)
    clock[0] = 60
    assert rows(replicas.take(process.serve(5), 60)) == 5
    assert rows(replicas.take(process.serve(3), 70)) == 3
    assert rows(replicas.take(process.serve(0), 80)) == 0


def test_an_older_process_counts_from_its_first_snapshot() -> None:
    clock = [0.0]
    process = Process(clock)
    clock[0] = 100
    replicas = Replicas(LAYOUT, since=90)
    assert rows(replicas.take(process.serve(5), 100)) == 0
    assert rows(replicas.take(process.serve(2), 110)) == 2


def test_a_restart_counts_anew() -> None:
    clock = [50.0]
    replicas = Replicas(LAYOUT, since=0)
    replicas.take(Process(clock).serve(5), 60)
    assert rows(replicas.take(Process(clock).serve(4), 70)) == 4


def test_several_processes_behind_one_address() -> None:
    clock = [50.0]
    replicas, both = Replicas(LAYOUT, since=0), [Process(clock), Process(clock)]
    seen = [rows(replicas.take(both[n % 2].serve(n), 60 + n)) for n in range(6)]
    assert seen == [0, 1, 2, 3, 4, 5]


def test_a_process_that_comes_back_late_is_not_counted_twice() -> None:
    clock = [10.0]
    replicas, process = Replicas(LAYOUT, since=0, forget=100), Process(clock)
    assert rows(replicas.take(process.serve(5), 20)) == 5
    clock[0] = 500
    assert rows(replicas.take(process.serve(2), 500)) == 0
    assert rows(replicas.take(process.serve(2), 510)) == 2


def test_processes_that_are_gone_are_forgotten() -> None:
    clock = [0.0]
    replicas = Replicas(LAYOUT, since=0, forget=100)
    for n in range(50):
        clock[0] = n * 60.0
        replicas.take(Process(clock).serve(1), clock[0])
    assert len(replicas._last) <= 3


def test_counts_cannot_go_back() -> None:
    clock = [50.0]
    replicas, process = Replicas(LAYOUT, since=0), Process(clock)
    before = process.serve(1)
    replicas.take(process.serve(5), 60)
    with pytest.raises(ValueError, match="less than before"):
        replicas.take(before, 70)


def test_another_layout_is_refused() -> None:
    other = Sketch(Layout.of(profile(DATA[:50]))).snapshot()
    with pytest.raises(ValueError, match="another layout"):
        Replicas(LAYOUT, since=0).take(other, 1)


def some(count: int) -> Counts:
    """Counts of so many rows."""
    return counted(LAYOUT, np.zeros((count, 2))) if count else Counts.zero(LAYOUT)


def told(found: Any) -> list[tuple[float, float, int]]:
    """Start, end and rows of windows."""
    return [(one.start, one.end, rows(one.counts)) for one in found]


def test_tumbling_windows() -> None:
    windows = Windows(LAYOUT, 60)
    assert windows.add(70, some(1)) == []
    assert windows.add(119, some(2)) == []
    # The first is shorter: nobody watched before.
    assert told(windows.add(121, some(4))) == [(70, 120, 3)]
    assert told(windows.add(180, some(8))) == [(120, 180, 4)]
    assert told(windows.ended(240)) == [(180, 240, 8)]


def test_sliding_windows_overlap() -> None:
    windows = Windows(LAYOUT, 60, 20)
    found = [told(windows.add(at, some(1))) for at in range(0, 130, 10)]
    ends = [one for part in found for one in part]
    assert ends == [
        (0, 20, 2), (0, 40, 4), (0, 60, 6), (20, 80, 6), (40, 100, 6), (60, 120, 6),
    ]  # fmt: skip


def test_windows_without_traffic_are_windows() -> None:
    windows = Windows(LAYOUT, 10)
    windows.add(0, some(1))
    assert [one for _, _, one in told(windows.ended(20))] == [1, 0]


def test_a_long_silence_makes_no_heap_of_windows() -> None:
    windows = Windows(LAYOUT, 60, 20)
    windows.add(0, some(1))
    found = told(windows.add(1e6, some(7)))
    assert [one for _, _, one in found] == [1, 1, 1, 0]
    assert told(windows.ended(1e6 + 60))[-1][2] == 7


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), max_size=40))
def test_every_row_is_in_one_tumbling_window(steps: list[tuple[float, int]]) -> None:
    windows, now, found = Windows(LAYOUT, 25), 0.0, 0
    for pause, count in steps:
        now += pause
        found += sum(rows(one.counts) for one in windows.add(now, some(count)))
    found += sum(rows(one.counts) for one in windows.ended(now + 50))
    assert found == sum(count for _, count in steps)


@pytest.mark.parametrize(("seconds", "slide"), [(0, None), (60, 50), (60, 120), (-1, None)])
def test_impossible_windows_are_refused(seconds: float, slide: float | None) -> None:
    with pytest.raises(ValueError, match="cannot slide"):
        Windows(LAYOUT, seconds, slide)
