"""Counting is right: each value once, in its bin, whatever comes and however it is cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drift_worlds import normal, table
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.sketch import Layout
from loopwright.sketch.tally import FARTHEST, Tally
from loopwright.train.profile import profile

anything = st.floats(-100, 100) | st.floats() | st.sampled_from([0.0, math.nan, math.inf, -1e308])


def tallied(layout: Layout, *tables: Any) -> Tally:
    """What is counted of tables, one after the other."""
    found = Tally(layout.features)
    for one in tables:
        found.add(one)
    return found


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.floats(-10, 10), min_size=1), st.lists(anything), st.booleans())
def test_bins_are_those_that_a_search_finds(
    before: list[float], now: list[float], narrow: bool
) -> None:
    layout = Layout.of(profile(table(before)))
    dtype = np.float32 if narrow else np.float64
    with np.errstate(over="ignore"):
        rows = table(now).astype(dtype)
        cuts = layout.features[0].cuts.astype(dtype)
    found = tallied(layout, rows)
    known = rows[np.isfinite(rows)]
    wanted = np.bincount(cuts.searchsorted(known, "right"), minlength=layout.total_bins)
    assert found.bins.tolist() == wanted.tolist()
    assert found.missing.tolist() == [len(now) - len(known)]
    assert found.rows == len(now)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(-10, 10), min_size=2), st.lists(st.floats(-1e4, 1e4) | st.just(math.nan)))
def test_sums_are_those_of_the_values(before: list[float], now: list[float]) -> None:
    layout = Layout.of(profile(table(before)))
    [feature] = layout.features
    known = np.array([one for one in now if math.isfinite(one)])
    scaled = (known - feature.centre) / feature.scale
    scaled = np.clip(scaled, -FARTHEST, FARTHEST)
    low, high = ((one - feature.centre) / feature.scale for one in feature.cuts[[0, -1]])
    wanted = [
        scaled.sum(), (scaled**2).sum(),
        np.maximum(low - scaled, 0).sum(), np.maximum(scaled - high, 0).sum(),
    ]  # fmt: skip
    found = tallied(layout, table(now)).sums[0]
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6 * max(1, len(known)))


def test_tables_may_be_cut_anywhere() -> None:
    data, baseline = normal(3000, 5)
    layout = Layout.of(baseline)
    data[::7, 2] = math.nan
    whole = tallied(layout, data)
    parts = tallied(layout, data[:1], data[1:700], data[700:2900], data[2900:])
    one = tallied(layout, *(data[at : at + 1] for at in range(3000)))
    for other in (parts, one):
        assert whole.bins.tolist() == other.bins.tolist()
        assert whole.missing.tolist() == other.missing.tolist() == [0, 0, 429, 0, 0]
        assert whole.sums == pytest.approx(other.sums, abs=1e-6)


def test_sums_stay_finite() -> None:
    layout = Layout.of(normal(100, 2)[1])
    values = np.array([[1e308, -1e308], [math.inf, math.nan], [-math.inf, 1e300]])
    for rows in (values, np.clip(values, -3e38, 3e38).astype(np.float32)):
        found = tallied(layout, rows)
        assert np.isfinite(found.sums).all()
        assert (np.abs(found.sums[:, 0]) <= 3 * FARTHEST).all()


def test_tiny_and_huge_scales() -> None:
    for scale in (1e-310, 1e-160, 1e-40, 1e40, 1e300):
        data = np.random.default_rng(0).uniform(-1, 1, size=(500, 1)) * scale
        layout = Layout.of(profile(data))
        found = tallied(layout, data)
        assert found.bins.sum() == 500
        assert np.isfinite(found.sums).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.int64, np.uint64, np.float16])
def test_all_kinds_of_numbers(dtype: Any) -> None:
    data = np.array([[0], [1], [1], [0]], dtype=dtype)
    found = tallied(Layout.of(profile(data)), data)
    assert found.bins.tolist() == [0, 2, 2, 0]


def test_data_are_not_changed() -> None:
    data, baseline = normal(2000, 3)
    before = data.copy()
    tallied(Layout.of(baseline), data, data[:10])
    np.testing.assert_array_equal(data, before)
