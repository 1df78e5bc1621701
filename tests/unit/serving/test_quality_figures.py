"""Metrics beside scikit-learn's, tests beside scipy's, and how often chance raises an alarm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from loopwright.drift import chances
from loopwright.serving.quality.figures import Tally, estimate

CLASSES = st.sampled_from(["0", "1", "2"])
NUMBERS = st.floats(-1e6, 1e6)
PAIRS = st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=60)
exact = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def of_classes(pairs: list[tuple[str, str]]) -> Tally:
    tally = Tally()
    for said, right in pairs:
        tally.label(said, right, "1")
    return tally


def of_numbers(said: np.ndarray, right: np.ndarray) -> Tally:
    tally = Tally()
    for one, other in zip(said.tolist(), right.tolist(), strict=True):
        tally.number(one, other)
    return tally


@exact
@given(PAIRS)
def test_metrics_of_classes_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    said, right = zip(*pairs, strict=True)
    tally = of_classes(pairs)
    one_class = {"labels": ["1"], "average": "macro", "zero_division": np.nan}
    wanted = {
        "Accuracy": metrics.accuracy_score(right, said),
        "Precision": metrics.precision_score(right, said, **one_class),
        "Recall": metrics.recall_score(right, said, **one_class),
        "F1": metrics.f1_score(right, said, **one_class),
    }
    for metric, value in wanted.items():
        found = estimate(tally, metric, 0.5, 0.01)
        if found is None:
            assert math.isnan(value), metric
        else:
            assert found.value == pytest.approx(value), metric
            assert found.low - 1e-9 <= found.value <= found.high + 1e-9


@exact
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=60))
def test_errors_of_numbers_are_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    said, right = np.array(pairs).T
    tally = of_numbers(said, right)
    mae, rmse = (estimate(tally, metric, 1.0, 0.01) for metric in ("MAE", "RMSE"))
    assert mae is not None
    assert rmse is not None
    assert mae.value == pytest.approx(metrics.mean_absolute_error(right, said), abs=1e-9)
    assert rmse.value == pytest.approx(metrics.root_mean_squared_error(right, said), abs=1e-9)


@exact
@given(st.data())
def test_chances_are_scipys(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 50_000))
    k = data.draw(st.integers(0, n))
    p = data.draw(st.floats(0.001, 0.999))
    assert chances.binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-8)
    low, high = chances.proportion(k, n, 0.01)
    wanted = stats.binomtest(k, n).proportion_ci(0.98, method="exact")
    assert (low, high) == (
        pytest.approx(wanted.low, abs=1e-7), pytest.approx(wanted.high, abs=1e-7),
    )  # fmt: skip
    t, freedom = data.draw(st.floats(-30, 30)), data.draw(st.integers(1, 50_000))
    assert chances.student_sf(t, freedom) == pytest.approx(stats.t.sf(t, freedom), abs=1e-8)
    assert chances.student_quantile(0.01, freedom) == pytest.approx(stats.t.isf(0.01, freedom))


@exact
@given(PAIRS, st.floats(0.05, 0.95), st.sampled_from([0.001, 0.01, 0.1]))
def test_a_test_rejects_just_when_the_bound_is_beyond_the_interval(
    pairs: list[tuple[str, str]], bound: float, alpha: float
) -> None:
    for metric in ("Accuracy", "Precision", "Recall", "F1"):
        found = estimate(of_classes(pairs), metric, bound, alpha)
        if found is not None:
            assume(abs(found.high - bound) > 1e-9)
            assert (found.pvalue <= alpha) == (found.high < bound)


def most(alpha: float, rounds: int) -> float:
    """Alarms that are plausible at a rate, but for one run in a thousand."""
    return rounds * alpha + 3.1 * math.sqrt(rounds * alpha)


ROUNDS = 2000


@pytest.mark.parametrize("bound", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("n", [20, 100, 1000])
def test_a_model_just_at_the_bound_is_hardly_ever_in_violation(n: int, bound: float) -> None:
    seen = np.random.default_rng(n).binomial(n, bound, ROUNDS)
    alarms = sum(chances.binomial_cdf(int(k), n, bound) <= 0.01 for k in seen)
    assert alarms <= most(0.01, ROUNDS)


def test_the_normal_approximation_would_alarm_too_often() -> None:
    """Why Wilson's interval is not what decides: near 1 it is too short at that end."""
    n, bound = 20, 0.99
    k = np.arange(n + 1)
    alarms = stats.norm.cdf((k / n - bound) / math.sqrt(bound * (1 - bound) / n)) <= 0.01
    assert stats.binom.pmf(k, n, bound)[alarms].sum() > 0.016


@pytest.mark.parametrize("n", [20, 500])
@pytest.mark.parametrize("metric", ["MAE", "RMSE"])
def test_errors_just_at_the_bound_are_hardly_ever_in_violation(metric: str, n: int) -> None:
    random = np.random.default_rng(n)
    bound = math.sqrt(2 / math.pi) if metric == "MAE" else 1.0
    alarms = 0
    for _ in range(ROUNDS // 4):
        found = estimate(of_numbers(random.normal(size=n), np.zeros(n)), metric, bound, 0.01)
        assert found is not None
        alarms += found.pvalue <= 0.01
    assert alarms <= most(0.01, ROUNDS // 4)


@pytest.mark.parametrize("weight", [1.0, 0.8])
@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_groups_just_at_the_bound_are_hardly_ever_in_violation(
    share: float, n: int, weight: float
) -> None:
    """With weight 1 a difference of 0.05, with 0.8 a ratio of that."""
    bound = 0.05 if weight == 1.0 else 0.0
    random = np.random.default_rng(n)
    less, more = random.binomial(n, [[share * weight - bound], [share]], (2, ROUNDS))
    alarms = sum(
        chances.contrast((int(k), n), (int(m), n), weight, bound) <= 0.01
        for k, m in zip(less, more, strict=True)
    )
    # The test is an approximation; it may be off by a little.
    assert alarms <= most(0.015, ROUNDS)


def test_a_bad_model_is_seen() -> None:
    random = np.random.default_rng(1)
    seen = random.binomial(500, 0.82, ROUNDS)
    assert np.mean([chances.binomial_cdf(int(k), 500, 0.9) <= 0.01 for k in seen]) > 0.99
    less, more = random.binomial(500, [[0.3], [0.5]], (2, ROUNDS))
    found = [
        chances.contrast((int(k), 500), (int(m), 500), 0.8, 0.0) <= 0.01
        for k, m in zip(less, more, strict=True)
    ]
    assert np.mean(found) > 0.6


def test_bounds_that_nothing_can_keep_or_miss() -> None:
    tally = of_classes([("1", "1")] * 30)
    perfect = estimate(tally, "Accuracy", 1.0, 0.01)
    assert perfect is not None
    assert (perfect.pvalue, perfect.severity) == (1.0, 1.0)
    wrong = estimate(of_classes([("1", "1")] * 29 + [("0", "1")]), "Accuracy", 1.0, 0.01)
    assert wrong is not None
    assert wrong.pvalue == 0.0
    assert wrong.severity > 1
    same = estimate(of_numbers(np.ones(5), np.zeros(5)), "MAE", 0.5, 0.01)
    assert same is not None
    assert (same.value, same.low, same.high, same.pvalue) == (1.0, 1.0, 1.0, 0.0)
