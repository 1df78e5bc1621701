"""The baseline profile of training data."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.api.model import FeatureProfile
from loopwright.train.profile import BINS, profile


def feature(values: Any) -> FeatureProfile:
    """The profile of one column."""
    [found] = profile(np.asarray(values, dtype=float).reshape(-1, 1)).features
    return found


def recounted(found: FeatureProfile, values: list[float]) -> list[int]:
    """Values in each bin: a value on an edge belongs above it."""
    counts = [0] * (len(found.edges) + 1)
    for value in values:
        counts[bisect.bisect_right(found.edges, value)] += 1
    return counts


def test_a_continuous_feature_fills_all_bins_alike() -> None:
    found = feature(range(3200))
    assert len(found.counts) == BINS
    assert set(found.counts) == {100}
    assert (found.count, found.missing) == (3200, 0)
    assert (found.min, found.max, found.mean) == (0, 3199, 1599.5)
    assert found.std == pytest.approx(np.arange(3200).std())


def test_each_value_of_a_discrete_feature_has_its_own_bin() -> None:
    found = feature([0] * 50 + [1] * 30 + [5] * 20)
    assert len(found.edges) == len(set(found.edges)) < 6
    assert [count for count in found.counts if count] == [50, 30, 20]


def test_a_constant_feature() -> None:
    found = feature([7.0] * 10)
    assert found.edges == [7]
    assert found.counts == [0, 10]
    assert (found.std, found.min, found.max) == (0, 7, 7)


def test_what_is_no_number_is_missing() -> None:
    found = feature([1, math.nan, 2, math.inf, 3, -math.inf])
    assert (found.count, found.missing) == (3, 3)
    assert sum(found.counts) == 3
    assert (found.min, found.max, found.mean) == (1, 3, 2)


def test_a_feature_without_numbers() -> None:
    found = feature([math.nan] * 4)
    assert (found.edges, found.counts, found.count, found.missing) == ([], [0], 0, 4)
    assert (found.mean, found.std, found.min, found.max) == (None, None, None, None)


def test_features_are_named_in_order() -> None:
    table = [[1, 10], [2, 20], [3, 30]]
    assert [one.name for one in profile(table).features] == ["f0", "f1"]
    named = profile(table, ["age", "height"])
    assert [(one.name, one.max) for one in named.features] == [("age", 3), ("height", 30)]
    assert named.rows == 3


def test_further_dimensions_are_features() -> None:
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    found = profile(images)
    assert len(found.features) == 6
    assert [one.min for one in found.features] == [0, 1, 2, 3, 4, 5]
    assert len(profile([1, 2, 3]).features) == 1


def test_a_wrong_number_of_names_is_told() -> None:
    with pytest.raises(ValueError, match="1 feature names for 2 features"):
        profile([[1, 2]], ["age"])


def test_integers_booleans_and_float32_are_numbers() -> None:
    for dtype in (np.int64, np.uint8, np.bool_, np.float32):
        assert feature(np.array([0, 1, 1], dtype=dtype)).count == 3


def test_data_is_not_changed() -> None:
    table = np.array([[3.0], [math.nan], [1.0]])
    before = table.copy()
    profile(table)
    np.testing.assert_array_equal(table, before)


numbers = st.floats(-1e9, 1e9) | st.integers(-3, 3).map(float)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(numbers | st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1))
def test_every_value_is_counted_once(values: list[float]) -> None:
    found = feature(values)
    finite = [value for value in values if math.isfinite(value)]
    assert found.count == len(finite) == sum(found.counts)
    assert found.count + found.missing == len(values)
    assert found.edges == sorted(set(found.edges))
    assert len(found.edges) < BINS
    assert found.counts == recounted(found, finite)
    if finite:
        assert (found.min, found.max) == (min(finite), max(finite))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(numbers, min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values: list[float], random: Any) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)
    first, second = feature(values), feature(shuffled)
    assert (first.edges, first.counts) == (second.edges, second.counts)
