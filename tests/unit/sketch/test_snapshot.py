"""Snapshots travel whole, and nobody's bytes are believed."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from drift_worlds import counted, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.sketch import Counts, Layout, Sketch, Snapshot, WrongLayout, max_bytes
from loopwright.train.profile import profile

DATA, BASELINE = normal(500, 3)
LAYOUT = Layout.of(BASELINE)
HEAD = 84


def snapshot(rows: int = 100) -> Snapshot:
    """Of a process that has counted some rows."""
    sketch = Sketch(LAYOUT)
    sketch.add({"": DATA[:rows]})
    sketch.refuse(2)
    return sketch.snapshot()


def equal(one: Counts, other: Counts) -> bool:
    """Whether all counts and sums are the same."""
    return (
        one.follows(other)
        and other.follows(one)
        and bool(np.allclose(one.sums, other.sums, atol=1e-9))
    )


@pytest.mark.parametrize("times", [0, 1, 1000, 10**8])
def test_what_is_written_is_read(times: int) -> None:
    one = snapshot()
    counts = one.counts
    many = Counts(
        LAYOUT, counts.rows * times, counts.bins * times, counts.missing, counts.invalid * times,
        counts.sums * times, counts.refused,
    )  # fmt: skip
    data = replace(one, counts=many).to_bytes()
    found = Snapshot.parse(data, LAYOUT)
    assert equal(found.counts, many)
    assert (found.process, found.started, found.age) == (one.process, one.started, one.age)
    assert len(data) <= max_bytes(LAYOUT)


def test_sixty_four_features_are_a_few_kilobytes() -> None:
    data, baseline = normal(1000, 64)
    sketch = Sketch(Layout.of(baseline))
    sketch.add({"": data})
    assert len(sketch.snapshot().to_bytes()) < 8000
    assert len(data.tobytes()) == 512_000


def test_another_layout_is_told() -> None:
    with pytest.raises(WrongLayout):
        Snapshot.parse(snapshot().to_bytes(), Layout.of(profile(DATA[:100])))


@pytest.mark.parametrize("size", [0, 3, HEAD - 1, HEAD, HEAD + 50])
def test_parts_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Snapshot.parse(snapshot().to_bytes()[:size], LAYOUT)


def test_more_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        Snapshot.parse(snapshot().to_bytes() + b"\0", LAYOUT)


@pytest.mark.parametrize(
    ("at", "what"),
    [(0, b"X"), (4, b"\2"), (5, b"\3"), (6, b"\1"), (56, struct.pack("<d", float("nan"))),
     (64, struct.pack("<d", -1.0)), (64, struct.pack("<d", float("inf"))),
     (72, struct.pack("<Q", 2**60))],
)  # fmt: skip
def test_impossible_heads_are_refused(at: int, what: bytes) -> None:
    data = bytearray(snapshot().to_bytes())
    data[at : at + len(what)] = what
    with pytest.raises(ValueError, match="snapshot"):
        Snapshot.parse(bytes(data), LAYOUT)


def test_counts_must_make_the_rows() -> None:
    counts = snapshot().counts
    for bad in (
        replace(counts, rows=counts.rows + 1),
        replace(counts, missing=counts.missing + 1),
        replace(counts, sums=counts.sums * np.nan),
        replace(counts, sums=counts.sums - 1e9),
        replace(counts, invalid=counts.invalid - 1, missing=counts.missing + 1),
    ):
        with pytest.raises(ValueError, match=r"count|sum"):
            bad.check()
    data = replace(snapshot(), counts=replace(counts, rows=counts.rows + 1)).to_bytes()
    with pytest.raises(ValueError, match="rows of its group"):
        Snapshot.parse(data, LAYOUT)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=16))
def test_whatever_is_changed_is_read_as_counts_or_refused(at: int, what: bytes) -> None:
    data = bytearray(snapshot().to_bytes())
    at %= len(data)
    data[at : at + len(what)] = what
    try:
        found = Snapshot.parse(bytes(data), LAYOUT)
    except ValueError:
        return
    found.counts.check()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        Snapshot.parse(data, LAYOUT)


def test_large_counts_are_refused() -> None:
    counts = snapshot().counts
    huge = replace(counts, rows=counts.rows + 2**60)
    with pytest.raises(ValueError, match="larger than any"):
        Snapshot.parse(replace(snapshot(), counts=huge).to_bytes(), LAYOUT)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=5))
def test_replicas_add_up_to_one_that_saw_everything(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(DATA)]
    parts = [counted(LAYOUT, DATA[a:b]) for a, b in pairwise(places)]
    whole = counted(LAYOUT, DATA)
    assert equal(Counts.total(LAYOUT, parts), whole)
    assert equal(Counts.total(LAYOUT, parts[::-1]), whole)
    assert equal(whole - parts[0], Counts.total(LAYOUT, parts[1:]))
    assert whole.follows(parts[0])
    assert not parts[0].follows(whole) or equal(parts[0], whole)


def test_other_layouts_do_not_add() -> None:
    other = Layout.of(profile(DATA[:100]))
    with pytest.raises(ValueError, match="different layouts"):
        Counts.zero(LAYOUT) + Counts.zero(other)
    assert not Counts.zero(LAYOUT).follows(Counts.zero(other))
