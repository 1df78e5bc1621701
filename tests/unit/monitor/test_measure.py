"""What windows say: figures when there is enough, and otherwise honestly none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loopwright.api.endpoint_report import MonitorConfig, VariantReport
from loopwright.monitor.exposition import Counters
from loopwright.monitor.measure import Pods, at_least, measure, most_beyond, quantile
from loopwright.monitor.windows import Revision, Window

CONFIG = MonitorConfig(endpoint="e", namespace="n", uid="u", report="e-observed", min_requests=20)
ONE = Revision("main", "r1")


def judged(pods: Pods, requests: float, errors: float = 0, seconds: float = 60.0) -> VariantReport:
    """The report on so many requests, all of which took at most 0.1 s."""
    counters = Counters(requests, errors, {0.1: requests, math.inf: requests})
    return measure(CONFIG, ONE, pods, Window(counters, seconds))


def test_enough_requests_are_measured() -> None:
    found = judged(Pods(all=2, scraped=2, in_flight=1), 600, 30)
    assert (found.state, found.reason, found.message) == ("OK", "", "")
    assert (found.rate, found.error_ratio, found.in_flight) == (10.0, 0.05, 1)
    assert (found.p50_seconds, found.p99_seconds) == (0.05, 0.099)


@pytest.mark.parametrize(
    ("pods", "requests", "state", "reason"),
    [
        (Pods(), 0, "NoData", "NoPods"),
        (Pods(all=1, scraped=1), 19, "NoData", "TooFewRequests"),
        (Pods(all=1, scraped=1), 20, "OK", ""),
        (Pods(), 20, "OK", ""),
        # A server that hangs answers nothing: that is no reason to trust it.
        (Pods(all=1, scraped=1, in_flight=20), 0, "Unknown", "RequestsPending"),
        (Pods(all=3, scraped=2, hidden=1), 900, "Unknown", "PodsUnreachable"),
        (Pods(all=1, foreign=1), 0, "Unknown", "NoMetrics"),
    ],
)
def test_anything_else_says_why(pods: Pods, requests: int, state: str, reason: str) -> None:
    found = judged(pods, requests)
    assert (found.state, found.reason) == (state, reason)
    if state != "OK":
        assert found.message
        assert found.error_ratio is found.p99_seconds is found.rate is None


def test_busy_pods_of_a_monitor_that_just_started_are_no_alarm() -> None:
    assert judged(Pods(all=1, scraped=1, in_flight=50), 0, seconds=5).state == "NoData"


def test_latency_needs_requests_of_its_own() -> None:
    """Refused requests are not in the histogram."""
    counters = Counters(100, 0, {0.1: 5, math.inf: 5})
    found = measure(CONFIG, ONE, Pods(all=1, scraped=1), Window(counters, 60))
    assert (found.state, found.error_ratio, found.p99_seconds) == ("OK", 0, None)


def test_quantiles_as_in_prometheus() -> None:
    """The values that histogram_quantile gives for the example of its documentation's kind."""
    buckets = {0.1: 10.0, 0.5: 30.0, 1.0: 40.0, math.inf: 40.0}
    assert quantile(0.0, buckets) == 0.0
    assert quantile(0.25, buckets) == pytest.approx(0.1)
    assert quantile(0.5, buckets) == pytest.approx(0.3)
    assert quantile(0.9, buckets) == pytest.approx(0.8)
    assert quantile(1.0, buckets) == pytest.approx(1.0)


def test_what_lies_above_all_bounds_is_told_as_the_highest() -> None:
    assert quantile(0.99, {0.1: 0.0, 1.0: 1.0, math.inf: 100.0}) == 1.0
    assert quantile(0.5, {math.inf: 4.0}) == 0.0


def test_nothing_has_no_quantile() -> None:
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {0.1: 0.0, math.inf: 0.0}) is None


LATENCIES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60)
QUANTILES = st.floats(0.01, 1)


@given(LATENCIES, QUANTILES)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(latencies: list[float], q: float) -> None:
    bounds = (0.05, 0.1, 0.25, 0.5, 1.0)
    buckets = {bound: float(sum(one <= bound for one in latencies)) for bound in bounds}
    buckets[math.inf] = float(len(latencies))
    true = sorted(latencies)[max(0, math.ceil(q * len(latencies) - 1e-9) - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in bounds if bound < upper), default=0.0)
    found = quantile(q, buckets)
    assert found is not None
    assert lower - 1e-9 <= found <= upper + 1e-9


@given(LATENCIES, QUANTILES, QUANTILES)
def test_quantiles_are_ordered(latencies: list[float], one: float, other: float) -> None:
    buckets = {bound: float(sum(x <= bound for x in latencies)) for bound in (0.1, 0.5, 1.0)}
    buckets[math.inf] = float(len(latencies))
    low, high = (quantile(q, buckets) for q in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert low <= high + 1e-12


@pytest.mark.parametrize("trials", [1, 7, 50, 400, 4999, 5001, 20_000])
@pytest.mark.parametrize("p", [0.01, 0.5])
def test_most_beyond_is_a_quantile_of_the_binomial_distribution(trials: int, p: float) -> None:
    assert most_beyond(trials, p) == int(stats.binom.ppf(0.99, trials, p))


def test_few_requests_prove_little() -> None:
    # 48 fast ones and two that took a second.
    few = {0.01: 48.0, 1.0: 50.0, math.inf: 50.0}
    assert quantile(0.99, few) == pytest.approx(0.7525)
    low = at_least(0.99, few)
    assert low is not None
    assert low <= 0.01
    # The same share of many is the revision's fault.
    many = {bound: 100 * count for bound, count in few.items()}
    high = at_least(0.99, many)
    assert high is not None
    assert high > 0.5
    assert at_least(0.99, {math.inf: 0.0}) is None


def test_the_limit_is_beyond_the_true_value_once_in_a_hundred_windows_at_most() -> None:
    chance = np.random.default_rng(5)
    beyond = 0
    for _ in range(2000):
        seconds = chance.exponential(0.01, 200)
        bounds = np.linspace(0.0002, 0.2, 1000)
        counts = np.searchsorted(np.sort(seconds), bounds, side="right")
        buckets = dict(zip(bounds.tolist(), counts.astype(float).tolist(), strict=True))
        low = at_least(0.99, {**buckets, math.inf: 200.0})
        assert low is not None
        beyond += low > -0.01 * math.log(0.01)
    assert beyond <= 2000 * 0.01 + 2.6 * math.sqrt(2000 * 0.01)
