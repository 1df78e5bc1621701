"""The baseline profile of training data."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.api.model import Baseline, FeatureProfile
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
    assert found.edges == []
    assert found.counts == [10]
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


def test_too_many_features_are_told() -> None:
    with pytest.raises(ValueError, match="2049 features"):
        profile(np.ones((2, 2049)), [f"x{n}" for n in range(2049)])


def test_data_frames_have_an_input_for_each_column() -> None:
    frame = pandas.DataFrame(
        {"age": [1, 2, 3], "city": ["a", "b", None], "ok": [True, False, True]}
    )
    found = profile(frame)
    assert [(one.name, one.kind) for one in found.features] == [
        ("age", "Numeric"), ("city", "Categorical"), ("ok", "Numeric"),
    ]  # fmt: skip
    assert [(one.tensor, one.size) for one in found.sources] == [("age", 1), ("city", 1), ("ok", 1)]
    assert found.features[1].missing == 1
    assert found.rows == 3


def test_several_inputs() -> None:
    found = profile({"a": np.ones((4, 2)), "b": np.ones(4)})
    assert [one.name for one in found.features] == ["a.f0", "a.f1", "b"]


def test_numbers_may_be_categories() -> None:
    [found] = profile([[3], [1], [3], [2.5], [math.nan]], ["code"], categories=["code"]).features
    assert (found.kind, found.categories, found.counts) == (
        "Categorical",
        [3, 1, 2.5],
        [2, 1, 1, 0],
    )
    assert (found.count, found.missing, found.singletons, found.edges) == (4, 1, 2, [])


def test_categories_are_bounded() -> None:
    names = [f"c{n:04d}" for n in range(6000)] + ["c0000"] * 1000
    [found] = profile(np.array(names, dtype=object)[:, None]).features
    assert (len(found.categories), len(found.rare), found.complete) == (64, 4096, False)
    assert found.categories[0] == "c0000"
    # One half of the rows chose, and the other is counted.
    assert found.counts[0] == pytest.approx(500, abs=80)
    assert found.counts[1:-1] == [0] * 63
    assert found.count == sum(found.counts) == pytest.approx(3500, abs=150)
    assert found.singletons == found.counts[-1]
    assert found.doubletons == 0


def test_many_categorical_features_are_bounded_together() -> None:
    words = np.array([[f"c{n}"] * 20 for n in range(3000)], dtype=object)
    words[1500:, 0] = "same"
    found = profile(words)
    assert [one.complete for one in found.features].count(True) == 6
    assert found.features[0].complete
    assert len(found.model_dump_json()) < 300_000


def test_long_texts_are_cut() -> None:
    [found] = profile(np.array([["x" * 500], ["y"]], dtype=object)).features
    assert found.categories[0] == "x" * 128


@pytest.mark.parametrize(
    ("shape", "methods", "features"),
    [
        ((50, 16, 16), ["Columns"], 256),
        ((50, 28, 28), ["Image", "Projection"], 19),
        ((50, 3, 64, 64), ["Image", "Projection"], 19),
        ((50, 768), ["Norm", "Projection"], 17),
    ],
)
def test_wide_rows_have_few_features(
    shape: tuple[int, ...], methods: list[str], features: int
) -> None:
    found = profile(np.random.default_rng(0).normal(size=shape))
    assert [one.method for one in found.sources] == methods
    assert len(found.features) == features
    assert len(found.model_dump_json()) < 100 * 1024 or shape == (50, 16, 16)


def test_names_and_kinds_have_the_last_word() -> None:
    wide = np.ones((3, 300))
    assert len(profile(wide, [f"x{n}" for n in range(300)]).features) == 300
    assert profile(np.ones((3, 8)), kinds={"": "embedding"}).sources[0].method == "Norm"
    assert len(profile(wide, kinds={"": "columns"}).features) == 300


def test_of_many_wide_rows_some_are_profiled() -> None:
    found = profile(np.random.default_rng(0).normal(size=(30_000, 257)).astype(np.float32))
    assert found.rows == 30_000
    assert found.features[0].count == 20_000


def test_a_profile_of_huge_numbers_is_json() -> None:
    text = profile([[1.7e308], [-1.7e308]]).model_dump_json()
    assert "Infinity" not in text
    assert Baseline.model_validate_json(text).features[0].std is None


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
