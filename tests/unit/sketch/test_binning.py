"""Where bins begin and end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, table
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.sketch import Layout
from loopwright.sketch.binning import BINS, limits, quantile_edges
from loopwright.train.profile import profile

numbers = st.floats(-1e9, 1e9) | st.integers(-3, 3).map(float) | st.floats(allow_nan=False)
finite = numbers.filter(math.isfinite)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(finite, min_size=1))
def test_edges_lie_between_values(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    edges = quantile_edges(ordered)
    assert len(edges) < BINS
    assert edges == sorted(set(edges))
    for edge in edges:
        place = ordered.searchsorted(edge)
        assert 0 < place < len(ordered)
        assert ordered[place - 1] < edge <= ordered[place]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(finite, min_size=1, max_size=400))
def test_no_bin_has_much_more_than_its_share_but_one_value_alone(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    bins = np.split(ordered, ordered.searchsorted(quantile_edges(ordered)))
    for one in bins:
        assert len(one) > 0
        # A bin that begins before a quantile may end with a value that is there often.
        fullest = max(np.unique(one, return_counts=True)[1])
        assert len(one) <= 2 * (len(ordered) / BINS + 1) + fullest - 1


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    values = np.sort(np.concatenate([np.zeros(600), np.linspace(0.5, 1, 400)]))
    edges = quantile_edges(values)
    assert 0 < edges[0] < 0.5
    assert values.searchsorted(edges[0]) == 600


def test_edges_are_short_numbers() -> None:
    edges = quantile_edges(np.sort(np.random.default_rng(0).normal(size=1000)))
    assert max(len(repr(edge)) for edge in edges) <= 8


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_value_has_the_same_bin_in_float32(dtype: Any) -> None:
    values = table(np.repeat(np.arange(10) / 10, 100).tolist())
    baseline = profile(values)
    found = counted(Layout.of(baseline), values.astype(dtype))
    assert found.bins.tolist() == [0, *baseline.features[0].counts, 0]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(finite, finite)
def test_what_the_training_data_had_is_within_the_limits(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    lower, upper = limits(low, high)
    assert math.isfinite(lower)
    assert math.isfinite(upper)
    assert lower <= low <= high <= upper
    with np.errstate(over="ignore"):
        narrow = np.float32(low), np.float32(high), np.float32(lower), np.float32(upper)
    if np.isfinite(narrow).all():
        assert narrow[2] <= narrow[0]
        assert narrow[1] < narrow[3] or high > 1e38


@pytest.mark.parametrize("value", [0.0, 7.0, -1e-20, 3e8])
def test_a_constant_is_in_its_range_and_nothing_else_is(value: float) -> None:
    layout = Layout.of(profile(table([value] * 10)))
    assert counted(layout, table([value])).bins.tolist() == [0, 1, 0]
    assert counted(layout, table([value - 1000, value + 1000])).bins.tolist() == [1, 0, 1]
