"""Distances on bins are those of raw values, within the bounds that the documentation states."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drift_worlds import compared, table
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from loopwright.drift import Method, distances
from loopwright.drift.figures import compare

values = st.floats(-1e4, 1e4) | st.integers(-5, 5).map(float) | st.floats(0, 1)
samples = st.lists(values, min_size=2, max_size=300)
# Of counts in bins.
cells = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=40)


def pair(both: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Counts of two samples that both have something."""
    found = np.array(both, dtype=np.float64).T
    assume(found.sum(axis=1).min() > 0)
    return found[:1], found[1:]


def shares(before: list[float], now: list[float]) -> tuple[Any, Any, Any]:
    """Both samples' shares of the bins, and the bins' cuts, all by numpy."""
    reference, _ = compared(table(before), table(now))
    cuts = reference.layout.features[0].cuts
    edges = np.concatenate([[-math.inf], cuts, [math.inf]])
    p, q = (np.histogram(one, edges)[0] / len(one) for one in (before, now))
    return p, q, cuts


@settings(derandomize=True, deadline=None, max_examples=80)
@given(samples, samples)
def test_kolmogorov_smirnov_is_below_the_raw_one_by_at_most_a_bin(
    before: list[float], now: list[float]
) -> None:
    p, q, _ = shares(before, now)
    exact = stats.ks_2samp(before, now, method="asymp").statistic
    reference, window = compared(table(before), table(now))
    found = compare(reference, window).distances[Method.KOLMOGOROV_SMIRNOV].value[0]
    assert found <= exact + 1e-9
    assert exact <= found + np.minimum(p, q).max() + 1e-9


@settings(derandomize=True, deadline=None, max_examples=80)
@given(samples, samples)
def test_wasserstein_is_wrong_by_at_most_half_the_width_of_the_bins(
    before: list[float], now: list[float]
) -> None:
    p, q, cuts = shares(before, now)
    reference, window = compared(table(before), table(now))
    [feature] = reference.layout.features
    # What is a million standard deviations away is not measured any farther.
    assume(max(abs(one - feature.centre) for one in now) < 1e6 * feature.scale)
    exact = stats.wasserstein_distance(before, now)
    found = compare(reference, window).distances[Method.WASSERSTEIN].value[0] * feature.scale
    bound = (np.diff(cuts) * (p + q)[1:-1]).sum() / 2
    assert abs(found - exact) <= bound + 1e-6 * (abs(exact) + feature.scale)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(cells)
def test_jensen_shannon_is_scipys(both: list[tuple[int, int]]) -> None:
    before, now = pair(both)
    exact = jensenshannon(before[0], now[0], base=2)
    assert np.sqrt(distances.jensen_shannon(before, now)) == pytest.approx(exact, abs=1e-6)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(cells)
def test_psi_is_numpys(both: list[tuple[int, int]]) -> None:
    before, now = pair([(a + 1, b + 1) for a, b in both])
    p, q = before / before.sum(), now / now.sum()
    exact = ((q - p) * np.log(q / p)).sum()
    assert distances.psi(before, now) == pytest.approx(exact, abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(cells)
def test_psi_is_finite_where_a_bin_is_empty(both: list[tuple[int, int]]) -> None:
    before, now = pair(both)
    assert math.isfinite(distances.psi(before, now)[0])
    assert distances.psi(before, before)[0] == 0
    assert distances.psi(before, now)[0] >= 0


@settings(derandomize=True, deadline=None, max_examples=80)
@given(cells)
def test_chi_square_is_scipys_where_all_bins_are_full_enough(both: list[tuple[int, int]]) -> None:
    before, now = pair([(a + 20, b + 20) for a, b in both])
    contingency = np.concatenate([before, now])
    assume(stats.contingency.expected_freq(contingency).min() >= 5)
    exact = stats.chi2_contingency(contingency, correction=False)
    statistic, freedom = distances.chi_square(before, now)
    assert statistic[0] == pytest.approx(exact.statistic, rel=1e-9, abs=1e-9)
    assert freedom[0] == exact.dof


@settings(derandomize=True, deadline=None, max_examples=80)
@given(cells)
def test_chi_square_pools_what_is_rare(both: list[tuple[int, int]]) -> None:
    before, now = pair(both)
    statistic, freedom = distances.chi_square(*distances.pooled(before, now))
    contingency = np.concatenate([before, now])
    smaller = contingency.sum(axis=1).min() / contingency.sum()
    rare = contingency.sum(axis=0) * smaller < 5
    kept, pooled = contingency[:, ~rare], contingency[:, rare].sum(axis=1)
    assume(kept.shape[1] > 1)
    if pooled.sum() * smaller >= 1:
        kept = np.concatenate([kept, pooled[:, None]], axis=1)
    else:
        kept[:, kept.sum(axis=0).argmax()] += pooled
    exact = stats.chi2_contingency(kept, correction=False)
    assert statistic[0] == pytest.approx(exact.statistic, rel=1e-9, abs=1e-9)
    assert freedom[0] == exact.dof


def test_the_rest_is_pooled_however_full_it_is() -> None:
    before, now = np.array([[50.0, 40, 0, 30, 2]]), np.array([[45.0, 50, 20, 25, 3]])
    rest = np.array([[False, False, True, True, False]])
    first, second = distances.pooled(before, now, rest)
    assert first.tolist() == [[50, 40, 0, 0, 0, 32]]
    assert second.tolist() == [[45, 50, 0, 0, 0, 48]]


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=4, max_size=60),
    st.integers(2, 8),
)
def test_wider_bins_hide_no_more_than_the_bound(both: list[tuple[int, int]], size: int) -> None:
    before, now = pair(both)
    starts = np.arange(0, len(both), size)
    coarse = [np.add.reduceat(one, starts, axis=1) for one in (before, now)]
    p, q = (distances.shares(one)[0] for one in (before, now))
    logs = np.log(p / q)
    # How much the logarithm of the ratio varies within a bin.
    varies = np.array([np.ptp(logs[at : at + size]) for at in starts])
    weight = np.add.reduceat(p + q, starts)
    bound = (weight * varies**2).sum()
    squares = [2 * ((b - a) ** 2 / (a + b)).sum() for a, b in (
        (p, q), (np.add.reduceat(p, starts), np.add.reduceat(q, starts))
    )]  # fmt: skip
    for fine, wide, most in (
        (distances.psi(before, now)[0], distances.psi(*coarse)[0], bound / 8),
        (distances.jensen_shannon(before, now)[0], distances.jensen_shannon(*coarse)[0],
         bound / 16 / math.log(2)),
        (squares[0], squares[1], bound / 8),
    ):  # fmt: skip
        assert -1e-9 <= fine - wide <= most + 1e-9


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(cells, min_size=1, max_size=5))
def test_features_do_not_touch_each_other(many: list[list[tuple[int, int]]]) -> None:
    pairs = [pair(both) for both in many]
    width = max(one.shape[1] for one, _ in pairs)
    before, now = (
        np.concatenate([np.pad(one[side], ((0, 0), (0, width - one[side].shape[1])))
                        for one in pairs]) for side in (0, 1)
    )  # fmt: skip
    for measure in (
        distances.psi, distances.jensen_shannon, distances.kolmogorov_smirnov,
        lambda a, b: distances.chi_square(*distances.pooled(a, b))[0],
    ):  # fmt: skip
        alone = [measure(*one)[0] for one in pairs]
        assert measure(before, now) == pytest.approx(alone, abs=1e-9)


def test_the_same_sample_has_no_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3))
    figures = compare(*compared(rows, rows))
    for one in figures.distances.values():
        assert one.value == pytest.approx(np.zeros(3), abs=1e-7)
        assert one.pvalue == pytest.approx(np.ones(3))
    assert figures.mean_shift == pytest.approx(np.zeros(3), abs=1e-9)
    assert figures.std_ratio == pytest.approx(np.ones(3))


def test_nothing_has_no_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 3))
    figures = compare(*compared(rows, np.full((7, 3), np.nan)))
    for one in figures.distances.values():
        assert np.isfinite(one.value).all()
        assert one.pvalue == pytest.approx(np.ones(3))
    assert np.isnan(figures.mean_shift).all()


@pytest.mark.parametrize("rows", [500, 2000, 20_000])
def test_effects_are_about_zero_without_drift(rows: int) -> None:
    rng = np.random.default_rng(1)
    before, now = rng.normal(size=(5000, 200)), rng.normal(size=(rows, 200))
    for method, one in compare(*compared(before, now)).distances.items():
        ordered = method in (Method.KOLMOGOROV_SMIRNOV, Method.WASSERSTEIN)
        squared = one.effect if method is Method.PSI else one.effect**2
        value = one.value if method is Method.PSI else one.value**2
        assert squared.mean() < (0.8 if ordered else 0.35) * value.mean()


def test_effects_are_near_the_truth_with_drift() -> None:
    rng = np.random.default_rng(1)
    before, now = rng.normal(size=(20_000, 100)), rng.normal(size=(500, 100)) + 0.5
    found = compare(*compared(before, now)).distances
    assert found[Method.PSI].effect.mean() == pytest.approx(0.25, rel=0.06)
    assert found[Method.WASSERSTEIN].effect.mean() == pytest.approx(0.5, rel=0.1)
    exact = 2 * stats.norm.cdf(0.25) - 1
    assert found[Method.KOLMOGOROV_SMIRNOV].effect.mean() == pytest.approx(exact, rel=0.06)
