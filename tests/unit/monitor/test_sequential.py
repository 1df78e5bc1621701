"""The tests' mathematics: fair bets, the mixture's integral, intervals that agree with evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from loopwright.monitor.experiment import asymptotic
from loopwright.monitor.experiment.asymptotic import AsymptoticComparison, boundary
from loopwright.monitor.experiment.betting import BETTORS, BURN_IN, BettingComparison, returns
from loopwright.monitor.experiment.samples import Pair, Totals, joined
from loopwright.monitor.experiment.sequential import EVERYTHING, Border, Side, p_value, tuning

SHARE = st.floats(0.01, 0.99)
UNIT = st.floats(0, 1)
COUNT = st.integers(0, 10_000)
SIDE = st.sampled_from(list(Side))
TUNED = tuning(0.05, 4000)


@st.composite
def trials(draw: st.DrawFn) -> Totals:
    count = draw(COUNT)
    return Totals(count, draw(st.integers(0, count)))


@st.composite
def borders(draw: st.DrawFn) -> Border:
    slope = draw(st.floats(0.2, 3))
    # The border must cross the square of both proportions.
    return Border(draw(st.floats(-0.95 * slope, 0.95)), slope)


@given(trials(), trials(), SHARE, borders(), SIDE, UNIT, st.floats(100, 1e6))
def test_bets_are_fair_on_the_border_and_lose_beyond(
    control: Totals, treatment: Totals, share: float, border: Border, side: Side, where: float,
    samples: float,
) -> None:  # fmt: skip
    """The whole proof: the expected factor by which a request changes anybody's money is 1.

    Whatever the proportions are, whatever was seen before. So evidence is a martingale.
    """
    low = max(0.0, -border.intercept / border.slope)
    high = min(1.0, (1 - border.intercept) / border.slope)
    of_control = low + where * (high - low)
    of_treatment = min(max(border.intercept + border.slope * of_control, 0.0), 1.0)
    beyond = min(max(of_treatment - side * 0.05, 0.0), 1.0)
    for each in returns(control, treatment, share, border, side, tuning(0.05, samples)):
        factors = np.exp(each)
        assert all(factors > 0)
        for truth, limit in ((of_treatment, 1), (beyond, 1)):
            chances = [
                (1 - share) * of_control, (1 - share) * (1 - of_control),
                share * truth, share * (1 - truth),
            ]  # fmt: skip
            expected = float(np.dot(chances, factors))
            assert expected <= limit + 1e-9
            if truth == of_treatment:
                assert expected == pytest.approx(1, abs=1e-9)


def test_the_money_is_split_like_a_half_normal_distribution() -> None:
    assert math.fsum(one.part for one in BETTORS) == pytest.approx(1)
    for signal in np.geomspace(0.1, 5000, 12):
        for z in (2.0, 3.0, 4.0, 5.0):
            logs = [
                math.log(one.part) + one.boldness * math.sqrt(signal) * z
                - one.boldness**2 * signal / 2
                for one in BETTORS
            ]  # fmt: skip
            exact = asymptotic.log_evidence(z, float(signal))
            if exact > 1.5:
                assert np.logaddexp.reduce(logs) > exact - 0.07


@given(UNIT, st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))
def test_outcomes_between_0_and_1_are_treated_no_better_than_they_deserve(
    mean: float, share: float, seed: int
) -> None:
    """Money computed from sums is at most what bets on each outcome would have made."""
    random = np.random.default_rng(seed)
    outcome = random.beta(1 + 3 * mean, 4 - 3 * mean, 40)
    treated = random.random(40) < share
    for each in returns(Totals(50, 20), Totals(50, 25), share, Border(), Side.ABOVE, TUNED):
        gains = np.expm1(each)
        gain = np.where(treated, outcome * gains[2] + (1 - outcome) * gains[3],
                        outcome * gains[0] + (1 - outcome) * gains[1])  # fmt: skip
        sums = [
            (outcome * ~treated).sum(), ((1 - outcome) * ~treated).sum(),
            (outcome * treated).sum(), ((1 - outcome) * treated).sum(),
        ]  # fmt: skip
        assert np.dot(sums, each) <= np.log1p(gain).sum() + 1e-9


@st.composite
def trials_by_share(draw: st.DrawFn) -> Pair:
    """Traffic that follows the share."""
    share, count = draw(SHARE), draw(st.integers(50, 20_000))
    treated = round(share * count)
    rates = draw(UNIT), draw(UNIT)
    control = Totals(count - treated, round(rates[0] * (count - treated)))
    return Pair(share, control, Totals(treated, round(rates[1] * treated)))


@settings(deadline=None)
@given(st.lists(trials_by_share(), min_size=1, max_size=5), st.sampled_from([0.2, 0.05, 0.001]))
def test_an_interval_of_proportions_agrees_with_the_evidence(
    found: list[Pair], alpha: float
) -> None:
    comparison = BettingComparison(found, TUNED)
    low, high = comparison.interval(alpha)
    assert -1 <= low <= high <= 1
    enough = math.log(2 / alpha)
    estimate = sum(
        (one.control.count + one.treatment.count) * (one.treatment.mean - one.control.mean)
        for one in joined(found)
    ) / sum(one.control.count + one.treatment.count for one in found)  # fmt: skip
    assert low <= estimate + 1e-9 and high >= estimate - 1e-9
    enough = math.log(2 / alpha)
    for end, side in ((low, Side.ABOVE), (high, Side.BELOW)):
        if abs(end) < 1 and abs(end - estimate) > 1e-6:
            inside = end + 1e-3 * (estimate - end)
            assert comparison.log_evidence(Border(end), side) >= enough - 1e-6
            assert comparison.log_evidence(Border(inside), side) < enough


@given(st.lists(st.tuples(SHARE, trials(), trials()), max_size=4))
def test_success_and_failure_are_the_same_question(found: list) -> None:
    """Counting errors or answers without one gives the same evidence."""
    turned = [
        Pair(share, *(Totals(one.count, one.count - one.total) for one in both))
        for share, *both in found
    ]
    this = BettingComparison([Pair(*one) for one in found], TUNED)
    that = BettingComparison(turned, TUNED)
    for side in Side:
        evidence = this.log_evidence(Border(0.01), side)
        assert evidence == pytest.approx(that.log_evidence(Border(-0.01), Side(-side)), abs=1e-6)


def test_nothing_is_bet_before_something_is_known() -> None:
    few = Pair(0.5, Totals(BURN_IN - 1, 1), Totals(0, 0))
    many = Pair(0.5, Totals(10_000, 100), Totals(10_000, 400))
    assert BettingComparison([many], TUNED).log_evidence(Border(), Side.ABOVE) == 0
    assert BettingComparison([few, many], TUNED).log_evidence(Border(), Side.ABOVE) == 0
    assert BettingComparison([few, few, many], TUNED).log_evidence(Border(), Side.ABOVE) > 20
    assert BettingComparison([], TUNED).interval(0.05) == (-1, 1)


def test_rare_events_are_no_trouble() -> None:
    """A hundred thousand requests without any event say only that both are rare."""
    none = [Pair(0.5, Totals(50_000, 0), Totals(50_000, 0))] * 3
    comparison = BettingComparison(none, TUNED)
    assert all(comparison.log_evidence(Border(), side) <= 0.01 for side in Side)
    low, high = comparison.interval(0.05)
    assert -0.001 < low < 0 < high < 0.001
    some = [*none, Pair(0.5, Totals(50_000, 0), Totals(50_000, 20))]
    assert BettingComparison(some, TUNED).log_evidence(Border(), Side.ABOVE) > math.log(40)


@pytest.mark.parametrize("totals", [Totals(5, 6), Totals(5, -1)])
def test_proportions_that_are_none_are_refused(totals: Totals) -> None:
    with pytest.raises(ValueError, match="successes"):
        BettingComparison([Pair(0.5, Totals(), totals)], TUNED)


@pytest.mark.parametrize("z", [-8.0, -1.0, 0.0, 2.0, 4.0, 9.0])
@pytest.mark.parametrize("signal", [0.01, 1.0, 8.0, 5000.0])
def test_evidence_on_means_is_the_mixture_it_claims_to_be(z: float, signal: float) -> None:
    prior = stats.halfnorm(scale=math.sqrt(signal))
    peak = max(z * signal / (1 + signal), 0.0)

    def ratio(effect: float) -> float:
        return math.exp(effect * z - effect**2 / 2 - peak * z / 2) * prior.pdf(effect)

    value, _ = integrate.quad(ratio, 0, peak + 40, points=[peak], limit=500)
    expected = math.log(value) + peak * z / 2
    assert asymptotic.log_evidence(z, signal) == pytest.approx(expected, abs=1e-5)
    assert asymptotic.log_evidence(-60.0, 1e6) == -math.inf


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.001])
@pytest.mark.parametrize("signal", [0.1, 1.0, 8.0, 1000.0])
def test_the_boundary_is_that_of_the_paper(alpha: float, signal: float) -> None:
    """Waudby-Smith et al., for two sides together; ours has alpha/2 for each."""
    paper = math.sqrt((1 + 1 / signal) * 2 * math.log(math.sqrt(signal + 1) / alpha))
    assert paper <= boundary(alpha / 2, signal) + 1e-6
    assert boundary(alpha / 2, signal) == pytest.approx(paper, rel=0.01)


def test_tuning_makes_the_interval_narrowest_where_it_is_wanted() -> None:
    def width(wanted: float) -> float:
        return boundary(0.025, 4000 * tuning(0.05, wanted))

    best = min(width(wanted) for wanted in np.geomspace(400, 40_000, 60))
    assert width(4000) == pytest.approx(best, rel=0.002)
    assert width(40) / best < 1.2
    assert width(40_000) / best < 1.3


@st.composite
def sums(draw: st.DrawFn) -> Totals:
    count, mean = draw(st.integers(100, 10_000)), draw(st.floats(-5, 5))
    deviation = draw(st.floats(0.1, 10))
    return Totals(count, count * mean, count * mean**2 + (count - 1) * deviation**2)


@given(st.lists(st.tuples(SHARE, sums(), sums()), min_size=1, max_size=4), st.floats(-3, 3))
def test_an_interval_of_means_agrees_with_the_evidence(found: list, shift: float) -> None:
    comparison = AsymptoticComparison([Pair(*one) for one in found], TUNED, 100)
    low, high = comparison.interval(0.05)
    assert low < high
    inside = low + 1e-6 < shift < high - 1e-6
    outside = shift < low - 1e-6 or shift > high + 1e-6
    most = max(comparison.log_evidence(Border(shift), side) for side in Side)
    assert not inside or most < math.log(40)
    assert not outside or most >= math.log(40)


@given(sums(), sums(), st.floats(0.1, 10), st.floats(-100, 100))
def test_units_of_outcomes_do_not_matter(
    control: Totals, treatment: Totals, scale: float, shift: float
) -> None:
    def other(one: Totals) -> Totals:
        squares = scale**2 * one.squares + 2 * scale * shift * one.total + shift**2 * one.count
        return Totals(one.count, scale * one.total + shift * one.count, squares)

    assume(abs(shift) < 10)
    this = AsymptoticComparison([Pair(0.5, control, treatment)], TUNED, 100)
    that = AsymptoticComparison([Pair(0.5, other(control), other(treatment))], TUNED, 100)
    for side in Side:
        evidence = this.log_evidence(Border(), side)
        assert that.log_evidence(Border(), side) == pytest.approx(evidence, rel=1e-3, abs=1e-3)


def test_means_are_silent_before_the_burn_in() -> None:
    enough, few = Totals(1000, 0.0, 1000.0), Totals(999, 999.0, 2000.0)
    comparison = AsymptoticComparison([Pair(0.5, enough, few)], TUNED, 1000)
    assert comparison.log_evidence(Border(), Side.ABOVE) == 0
    assert comparison.interval(0.05) == EVERYTHING
    more = few + Totals(1, 1.0, 2.0)
    comparison = AsymptoticComparison([Pair(0.5, enough, more)], TUNED, 1000)
    assert comparison.log_evidence(Border(), Side.ABOVE) > 50


def test_a_short_time_of_other_weights_is_left_out() -> None:
    """Its variance is not known; how long it was says nothing of the outcomes."""
    long = Pair(0.5, Totals(5000, 0.0, 5000.0), Totals(5000, 100.0, 5000.0))
    short = Pair(0.1, Totals(500, 0.0, 500.0), Totals(50, 1000.0, 50_000.0))
    both = AsymptoticComparison([long, short], TUNED, 1000)
    assert both.interval(0.05) == AsymptoticComparison([long], TUNED, 1000).interval(0.05)


def test_outcomes_that_are_all_equal_say_nothing() -> None:
    constant = AsymptoticComparison(
        [Pair(0.5, Totals(5000, 5000.0, 5000.0), Totals(5000, 5000.0, 5000.0))], TUNED, 1000
    )
    assert constant.log_evidence(Border(), Side.ABOVE) == 0
    assert constant.interval(0.05) == EVERYTHING


def test_p_values_are_the_inverse_of_evidence() -> None:
    assert p_value(math.log(40), 2) == pytest.approx(0.05)
    assert p_value(-3.0) == p_value(0.0) == 1
    assert p_value(2000.0) == 0
