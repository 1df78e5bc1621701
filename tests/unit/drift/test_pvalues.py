"""Probabilities are scipy's, or simulation's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from loopwright.drift import pvalues
from loopwright.drift.corrections import benjamini_hochberg


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 150)), min_size=1, max_size=10))
def test_chi_square(many: list[tuple[float, int]]) -> None:
    statistic, freedom = np.array(many, dtype=np.float64).T
    exact = np.where(freedom > 0, stats.chi2.sf(statistic, np.maximum(freedom, 1)), 1.0)
    found = pvalues.chi_square_sf(statistic, freedom)
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-300)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.floats(0, 1), st.integers(20, 10**7), st.integers(20, 10**7))
def test_kolmogorov(difference: float, reference: int, window: int) -> None:
    root = np.sqrt(reference * window / (reference + window))
    exact = special.kolmogorov((root + 0.12 + 0.11 / root) * difference)
    one, m, n = (np.array([value], dtype=np.float64) for value in (difference, reference, window))
    assert pvalues.kolmogorov_sf(one, m, n)[0] == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_kolmogorov_without_values() -> None:
    nothing = np.zeros(1)
    assert pvalues.kolmogorov_sf(nothing, nothing, nothing + 5)[0] == pytest.approx(1)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_increases_are_fishers(hits: int, size: int, before: int, size_before: int) -> None:
    hits, before = min(hits, size), min(before, size_before)
    table = [[hits, size - hits], [before, size_before - before]]
    found = pvalues.increase_p(hits, size, before, size_before)
    if hits * size_before <= before * size:
        assert found == 1
    else:
        exact = stats.fisher_exact(table, alternative="greater").pvalue
        assert found == pytest.approx(exact, rel=1e-7)


def test_increases_among_millions() -> None:
    found = pvalues.increase_p(50_500, 10**7, 50_000, 10**7)
    exact = stats.hypergeom.sf(50_499, 2 * 10**7, 100_500, 10**7)
    assert found == pytest.approx(exact, rel=1e-4)
    assert pvalues.increase_p(10**6, 10**7, 0, 10**3) < 1e-40


def test_nothing_to_compare_with_is_no_evidence() -> None:
    assert pvalues.increase_p(5, 10, 0, 0) == 1
    assert pvalues.novelty_p(5, 10, 0, 0, 0) == 1


@pytest.mark.parametrize(("size", "before"), [(50, 100), (100, 100), (300, 40)])
def test_values_outside_the_range_are_as_likely_as_told(size: int, before: int) -> None:
    rng = np.random.default_rng(0)
    repeats = 4000
    data = rng.normal(size=(repeats, before + size))
    old, new = data[:, :before], data[:, before:]
    outside = (new < old.min(1, keepdims=True)) | (new > old.max(1, keepdims=True))
    hits = outside.sum(axis=1)
    assert pvalues.outside_p(0, size, before) == 1
    for alpha in (0.05, 0.2):
        told = np.array([pvalues.outside_p(int(one), size, before) for one in hits])
        rate = (told <= alpha).mean()
        assert rate <= alpha + 3 * np.sqrt(alpha / repeats)
    for one in (1, 2, 5, 12):
        exact = (hits >= one).mean()
        assert pvalues.outside_p(one, size, before) == pytest.approx(exact, abs=0.025)
    assert pvalues.outside_p(size, size, before) < 1e-3


def zipf(categories: int) -> Any:
    """Shares of categories, as words have them."""
    weights = 1 / np.arange(1, categories + 1)
    return weights / weights.sum()


@pytest.mark.parametrize(
    "weights", [zipf(50), zipf(1000), np.full(300, 1 / 300), np.array([0.6, 0.39, *[0.0005] * 20])]
)
@pytest.mark.parametrize(("before", "size"), [(1000, 1000), (1000, 5000), (5000, 500)])
def test_new_categories_are_not_more_likely_than_told(weights: Any, before: int, size: int) -> None:
    rng = np.random.default_rng(0)
    told = []
    for _ in range(1000):
        old, new = rng.multinomial(before, weights), rng.multinomial(size, weights)
        alone, twice = int((old == 1).sum()), int((old == 2).sum())
        told.append(pvalues.novelty_p(int(new[old == 0].sum()), size, alone, twice, before))
    for alpha in (0.01, 0.05):
        rate = (np.array(told) <= alpha).mean()
        assert rate <= alpha + 3 * np.sqrt(alpha / 1000)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.integers(0, 300), st.integers(1, 300), st.integers(0, 40), st.integers(0, 40),
    st.integers(41, 2000),
)  # fmt: skip
def test_new_categories_are_negative_binomial(
    hits: int, size: int, alone: int, twice: int, before: int
) -> None:
    hits = min(hits, size)
    mean, shape = size * (alone + 1) / before, (alone + 1) ** 2 / (alone + 1 + 2 * twice)
    found = pvalues.novelty_p(hits, size, alone, twice, before)
    if hits <= mean:
        assert found == 1
    else:
        exact = stats.nbinom.sf(hits - 1, shape, shape / (mean + shape))
        assert found == pytest.approx(exact, rel=1e-7, abs=1e-300)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_benjamini_and_hochberg(raw: list[float]) -> None:
    exact = stats.false_discovery_control(raw, method="bh")
    assert benjamini_hochberg(np.array(raw)) == pytest.approx(exact, abs=1e-12)
