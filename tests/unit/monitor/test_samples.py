"""Strata: nothing is lost, and times of different weights are never added up."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.monitor.experiment.samples import (
    FIRST,
    GROWTH,
    Pair,
    Stratum,
    Totals,
    epochs,
    followed,
    joined,
    paired,
    record,
    standardised,
)

WEIGHTS = st.sampled_from([{"a": 1, "b": 1}, {"a": 90, "b": 10}, {"a": 5, "b": 5}, {"a": 1}])
SCRAPE = st.tuples(WEIGHTS, st.integers(0, 2000), st.integers(0, 2000))


def scraped(strata: tuple[Stratum, ...], weights: dict, a: float, b: float) -> tuple[Stratum, ...]:
    """One more scrape; each request was a success."""
    outcomes = {"m": {"a": Totals(a, a), "b": Totals(b, b)}}
    return record(strata, weights, {"a": a, "b": b}, outcomes)


@given(st.lists(SCRAPE, max_size=30))
def test_every_request_is_in_one_stratum(scrapes: list) -> None:
    strata: tuple[Stratum, ...] = ()
    for weights, a, b in scrapes:
        strata = scraped(strata, weights, a, b)
    arrived = sum(a + (b if "b" in weights else 0) for weights, a, b in scrapes)
    assert sum(one.size for one in strata) == arrived
    assert sum(t.total for one in strata for t in one.outcomes["m"].values()) == arrived
    assert all(math.isclose(sum(one.weights.values()), 1) for one in strata)
    changes = [one.weights for one in epochs(strata)]
    assert all(one != other for one, other in pairwise(changes))
    assert sum(one.size for one in epochs(strata)) == arrived


def test_strata_grow_and_there_are_few_of_them() -> None:
    strata: tuple[Stratum, ...] = ()
    for _ in range(10_000):
        strata = scraped(strata, {"a": 1, "b": 1}, 10, 10)
    sizes = [one.size for one in strata]
    assert sizes[0] == FIRST
    assert sizes[1:-1] == [FIRST * (GROWTH - 1) * GROWTH**n for n in range(len(sizes) - 2)]
    assert len(sizes) == 6
    assert len(epochs(strata)) == 1


def test_other_weights_begin_a_stratum_and_their_unit_does_not_matter() -> None:
    strata = scraped((), {"a": 1, "b": 1}, 5, 5)
    strata = scraped(strata, {"a": 50, "b": 50}, 5, 5)
    assert len(strata) == 1
    strata = scraped(strata, {"a": 60, "b": 40}, 6, 4)
    strata = scraped(strata, {"a": 1, "b": 1}, 5, 5)
    assert [dict(one.weights) for one in strata] == [
        {"a": 0.5, "b": 0.5}, {"a": 0.6, "b": 0.4}, {"a": 0.5, "b": 0.5}
    ]  # fmt: skip


def test_a_variant_without_traffic_is_not_compared() -> None:
    """What it still answers was given to it by other weights."""
    strata = scraped((), {"a": 1, "b": 1}, 5, 5)
    strata = scraped(strata, {"a": 1, "b": 0}, 100, 3)
    assert strata[1].arrivals == {"a": 100}
    assert paired(strata, "m", "a", "b") == (Pair(0.5, Totals(5, 5), Totals(5, 5)),)
    assert paired(strata, "other", "a", "b") == (Pair(0.5, Totals(), Totals()),)


def test_shares_are_those_of_the_two_that_are_compared() -> None:
    outcomes = {"m": {name: Totals(1, 1) for name in "abc"}}
    strata = record((), {"a": 60, "b": 20, "c": 20}, {"a": 1, "b": 1, "c": 1}, outcomes)
    [one] = paired(strata, "m", "a", "b")
    assert one.share == pytest.approx(0.25)


@pytest.mark.parametrize("weights", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": math.inf}])
def test_weights_that_are_none_are_refused(weights: dict) -> None:
    with pytest.raises(ValueError, match=r"traffic|cannot have"):
        record((), weights, {}, {})


def test_arrivals_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="a cannot have -1"):
        record((), {"a": 1}, {"a": -1}, {})


@pytest.mark.parametrize("totals", [(-1, 0, 0), (1, math.nan, 0), (1, 1, -1), (math.inf, 0, 0)])
def test_sums_that_are_none_are_refused(totals: tuple) -> None:
    with pytest.raises(ValueError, match="no sums"):
        Totals(*totals)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_moments_are_those_of_the_outcomes(outcomes: list[float]) -> None:
    totals = Totals(len(outcomes), sum(outcomes), sum(one * one for one in outcomes))
    mean = sum(outcomes) / len(outcomes)
    variance = sum((one - mean) ** 2 for one in outcomes) / (len(outcomes) - 1)
    assert totals.mean == pytest.approx(mean)
    assert totals.variance == pytest.approx(variance, rel=1e-6, abs=1e-9)
    assert Totals(1, 3.0, 9.0).variance == 0


def test_a_change_of_weights_is_no_effect() -> None:
    """Simpson's paradox: both fail alike, but the treatment's traffic came in bad times."""
    good = Pair(0.1, Totals(9000, 90), Totals(1000, 10))
    bad = Pair(0.5, Totals(5000, 500), Totals(5000, 500))
    pooled = [sum((getattr(one, side) for one in (good, bad)), Totals()).mean
              for side in ("control", "treatment")]  # fmt: skip
    assert pooled[1] > 2 * pooled[0] * 0.9
    means = standardised((good, bad))
    assert means is not None
    assert means.treatment == pytest.approx(means.control)
    assert standardised((Pair(0.5, Totals(5, 1), Totals()),)) is None


@pytest.mark.parametrize(
    "control, treatment, fine",
    [
        (500, 500, True), (590, 410, True), (620, 380, False), (380, 620, False), (10, 0, True),
        (50, 0, False), (0, 0, True), (20, 8, True),
    ],
)  # fmt: skip
def test_outcomes_follow_shares_but_for_chance(control: int, treatment: int, fine: bool) -> None:
    assert followed([Pair(0.5, Totals(control), Totals(treatment))]) is fine
    # Each stratum by its own share: together they have four times as many of one.
    many = Pair(0.2, Totals(8000), Totals(2000))
    assert followed([many, Pair(0.5, Totals(control), Totals(treatment))])


def test_pairs_of_the_same_share_are_joined() -> None:
    one = Pair(0.5, Totals(1, 1), Totals(2, 1))
    other = Pair(0.2, Totals(4, 1), Totals(1, 1))
    assert joined((one, one, other, one)) == (
        Pair(0.5, Totals(2, 2), Totals(4, 2)), other, one
    )  # fmt: skip
