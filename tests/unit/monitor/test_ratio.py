"""The sample ratio check: exact, and it begins anew when weights change."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln, xlogy

from loopwright.monitor.experiment.ratio import CONCENTRATIONS, check, log_evidence
from loopwright.monitor.experiment.samples import Stratum, record

WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=5).map(
    lambda parts: {f"v{number}": part / sum(parts) for number, part in enumerate(parts)}
)


@given(WEIGHTS, st.lists(st.integers(0, 10**6), min_size=5, max_size=5))
def test_evidence_is_a_martingale(weights: dict, counts: list[int]) -> None:
    """Whatever has arrived: weighted by the weights, the next request leaves it as it is."""
    arrivals = dict(zip(weights, map(float, counts), strict=False))
    now = log_evidence(weights, arrivals)
    after = math.fsum(
        weight * math.exp(log_evidence(weights, arrivals | {name: arrivals[name] + 1}) - now)
        for name, weight in weights.items()
    )
    assert after == pytest.approx(1, rel=1e-5)


def test_evidence_is_that_of_the_paper() -> None:
    """Lindon and Malek's Bayes factor, for each concentration; ours is their mean."""
    weights, counts = [0.5, 0.3, 0.2], [480.0, 330.0, 250.0]
    factors = []
    for concentration in CONCENTRATIONS:
        prior = [concentration * weight for weight in weights]
        after = [a + n for a, n in zip(prior, counts, strict=True)]
        factors.append(math.exp(
            gammaln(sum(prior)) - gammaln(sum(after))
            + sum(gammaln(b) - gammaln(a) for a, b in zip(prior, after, strict=True))
            - sum(xlogy(n, weight) for n, weight in zip(counts, weights, strict=True))
        ))  # fmt: skip
    names = "abc"
    found = log_evidence(
        dict(zip(names, weights, strict=True)), dict(zip(names, counts, strict=True))
    )
    assert found == pytest.approx(math.log(sum(factors) / len(factors)))


def arrived(*times: tuple[dict, dict]) -> tuple[Stratum, ...]:
    """Strata of weights and arrivals."""
    strata: tuple[Stratum, ...] = ()
    for weights, arrivals in times:
        strata = record(strata, weights, arrivals, {})
    return strata


@pytest.mark.parametrize(
    "weights, arrivals, p",
    [
        ({"a": 1, "b": 1}, {"a": 5000, "b": 5000}, 1.0),
        ({"a": 1, "b": 1}, {"a": 5080, "b": 4920}, 1.0),
        ({"a": 9, "b": 1}, {"a": 9020, "b": 980}, 1.0),
        ({"a": 1, "b": 1}, {"a": 20, "b": 0}, 1e-2),
        ({"a": 1, "b": 1}, {"a": 5300, "b": 4700}, 1e-5),
        ({"a": 9, "b": 1}, {"a": 9200, "b": 800}, 1e-6),
        ({"a": 1, "b": 1, "c": 2}, {"a": 30, "b": 0, "c": 60}, 1e-2),
        ({"a": 1, "b": 1}, {"a": 5_010_000, "b": 4_990_000}, 1e-3),
    ],
)
def test_what_looks_wrong_is_wrong(weights: dict, arrivals: dict, p: float) -> None:
    found = check(arrived((weights, arrivals)))
    assert (found.p_value == 1) if p == 1 else (found.p_value < p)


def test_it_begins_anew_when_weights_change() -> None:
    half, tenth = {"a": 1, "b": 1}, {"a": 9, "b": 1}
    good = (half, {"a": 500_000, "b": 500_000})
    assert check(arrived(good, (tenth, {"a": 900, "b": 100}))).p_value == 1
    # A long good time does not drown a bad one.
    bad = check(arrived(good, (tenth, {"a": 950, "b": 50})))
    assert bad.p_value < 1e-4
    assert bad.expected == pytest.approx({"a": 0.9, "b": 0.1})
    assert bad.observed == pytest.approx({"a": 0.95, "b": 0.05})
    # Nor does it mend it.
    assert check(arrived((tenth, {"a": 950, "b": 50}), good)).p_value < 1e-4


def test_each_change_makes_it_slower_to_accuse() -> None:
    half, third, bad = {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 560.0, "b": 440.0}
    alone = check(arrived((half, bad))).p_value
    later = check(arrived((third, {"a": 2, "b": 1}), (half, {"a": 1, "b": 1}),
                          (third, {"a": 2, "b": 1}), (half, bad))).p_value  # fmt: skip
    assert later == pytest.approx(10 * alone)


def test_without_requests_there_is_nothing_to_say() -> None:
    assert check(()).p_value == 1
    found = check(arrived(({"a": 1, "b": 1}, {})))
    assert (found.p_value, found.observed) == (1, {"a": 0, "b": 0})
