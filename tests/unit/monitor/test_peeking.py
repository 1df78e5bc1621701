"""Looking after every request makes no false winners: simulations with fixed seeds.

`python -m tests.perf experiment` does the same on a larger scale and prints the figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import peeking
from loopwright.api.shared import Direction
from loopwright.monitor.experiment import ratio
from loopwright.monitor.experiment.asymptotic import AsymptoticComparison
from loopwright.monitor.experiment.betting import BettingComparison
from loopwright.monitor.experiment.judging import judge
from loopwright.monitor.experiment.samples import Pair, Stratum, Totals, paired, record
from loopwright.monitor.experiment.sequential import Border, Side, tuning
from loopwright.monitor.experiment.settings import Experiment, Guardrail, Kind, Metric
from loopwright.monitor.experiment.verdict import State, Verdict
from peeking import Floats, Looks, Random

ALPHA, TUNED = 0.05, tuning(0.05, 4000)
EXPERIMENTS = 500


def exponential(random: Random, requests: int) -> Floats:
    """Skewed, as latency is."""
    return random.exponential(size=requests)


@pytest.mark.parametrize("share, rates", [(0.5, (0.08, 0.05)), (0.3, (0.01, 0.03))])
def test_simulations_compute_what_monitors_do(share: float, rates: tuple[float, float]) -> None:
    """Request by request, through the same records: proportions, means and ratios."""
    random, requests = np.random.default_rng(5), 4000
    treated = peeking.by_chance(random, requests, share)
    success = random.random(requests) < np.where(treated, rates[1], rates[0])
    seconds = exponential(random, requests)
    counts = peeking.sorts(treated, success)
    bets = {side: peeking.betting_evidence(counts, share, TUNED, side) for side in Side}
    seen = peeking.running(treated, seconds)
    ratios = peeking.ratio_evidence(treated, share)
    strata: tuple[Stratum, ...] = ()
    weights = {"a": 1 - share, "b": share}
    for number in range(requests):
        name, other = ("b", "a") if treated[number] else ("a", "b")
        value = float(seconds[number])
        outcomes = {
            "errors": {name: Totals(1, float(success[number])), other: Totals()},
            "seconds": {name: Totals(1, value, value**2), other: Totals()},
        }
        strata = record(strata, weights, {name: 1}, outcomes)
        if number % 499 or number < 1000:
            continue
        for side in Side:
            exact = BettingComparison(paired(strata, "errors", "a", "b"), TUNED)
            assert exact.log_evidence(Border(), side) == pytest.approx(bets[side][number], abs=1e-6)
        comparison = AsymptoticComparison(paired(strata, "seconds", "a", "b"), TUNED, 100)
        limit = peeking.boundaries(requests, ALPHA, TUNED)[number]
        low, high = comparison.interval(ALPHA)
        assert (low + high) / 2 == pytest.approx(seen.effect[number])
        assert (high - low) / 2 == pytest.approx(limit * seen.error[number], rel=1e-3)
        arrivals = {name: sum(one.arrivals[name] for one in strata) for name in weights}
        assert ratio.log_evidence(weights, arrivals) == pytest.approx(ratios[number], abs=1e-6)


@pytest.mark.parametrize("rate, share", [(0.5, 0.5), (0.05, 0.5), (0.002, 0.5), (0.05, 0.1)])
def test_equal_proportions_have_no_winner(rate: float, share: float) -> None:
    looks = peeking.proportions((rate, rate), 3000, EXPERIMENTS, share=share, tuned_for=1000)
    assert looks.rate <= ALPHA


def test_requests_that_are_dealt_out_are_no_trouble() -> None:
    looks = peeking.proportions(
        (0.1, 0.1), 3000, EXPERIMENTS, tuned_for=1000, assign=peeking.in_turns
    )
    assert looks.rate <= ALPHA


@pytest.mark.parametrize("late", [100, 1000])
def test_outcomes_that_come_late_are_no_trouble(late: int) -> None:
    looks = peeking.proportions((0.1, 0.1), 3000, EXPERIMENTS, tuned_for=1000, late=late)
    assert looks.rate <= ALPHA


def test_intervals_contain_the_difference_all_the_time() -> None:
    looks = peeking.proportions(
        (0.05, 0.08), 3000, EXPERIMENTS, tuned_for=1000, border=Border(0.03)
    )
    assert looks.rate <= ALPHA


@pytest.mark.parametrize("share, burn_in", [(0.5, 100), (0.1, 300)])
def test_equal_means_have_no_winner(share: float, burn_in: int) -> None:
    looks = peeking.means(
        (exponential, exponential), 5000, EXPERIMENTS, share=share, burn_in=burn_in, tuned_for=1000
    )
    assert looks.rate <= ALPHA


def test_an_ordinary_test_would_find_winners() -> None:
    """The simulation would show it if looking did harm."""
    looks = peeking.peeked((exponential, exponential), 5000, EXPERIMENTS)
    assert looks.rate > 0.25


def test_weights_that_are_kept_to_raise_no_alarm() -> None:
    assert peeking.ratios(0.3, 0.3, 3000, 1000, alpha=0.05).rate <= 0.05
    assert peeking.ratios(0.36, 0.3, 3000, 200, alpha=0.001).rate > 0.95


def found(looks: Looks, side: Side) -> float:
    """The part of experiments that were decided, rightly."""
    return float((looks.side == side).mean())


def test_effects_are_found() -> None:
    """With twice the requests of a test at a fixed size, as often as that or more often."""
    requests = peeking.planned(0.03, (0.05 * 0.95, 0.08 * 0.92))
    looks = peeking.proportions((0.05, 0.08), 2 * requests, 300, tuned_for=requests)
    assert found(looks, Side.ABOVE) > 0.8
    assert np.median(looks.when) < 1.2 * requests
    requests = peeking.planned(0.1, (1.0, 0.81))

    def faster(random: Random, requests: int) -> Floats:
        return 0.9 * exponential(random, requests)

    looks = peeking.means((exponential, faster), 2 * requests, 300, tuned_for=requests, burn_in=100)
    assert found(looks, Side.BELOW) > 0.8


# ---- Whole experiments ----

ERRORS = Metric("errors", Kind.PROPORTION, Direction.MINIMIZE)
SECONDS = Metric("seconds", Kind.MEAN, Direction.MINIMIZE)
NAMES = ("v1", "v2", "v3")
THREE = Experiment(
    "v1", ("v2", "v3"), ERRORS, (Guardrail(SECONDS, 0.2, relative=True),), min_samples=300
)
# The second half of the traffic comes in worse times, and mostly to treatments.
TIMES = (({"v1": 6, "v2": 1, "v3": 1}, 0.05, 1.0), ({"v1": 1, "v2": 2, "v3": 2}, 0.15, 2.0))


def lived(seed: int, errors: dict[str, float], seconds: dict[str, float]) -> Iterator[Verdict]:
    """The verdicts of an experiment of 16,000 requests, after each scrape.

    Args:
        errors: By variant, by how much its error ratio is multiplied.
        seconds: By how much its latency is.
    """
    random = np.random.default_rng(seed)
    strata: tuple[Stratum, ...] = ()
    verdict = None
    for weights, rate, latency in TIMES:
        parts = np.array(list(weights.values())) / sum(weights.values())
        for _ in range(10):
            arrived = random.multinomial(800, parts)
            outcomes: dict[str, dict[str, Totals]] = {"errors": {}, "seconds": {}}
            for name, count in zip(NAMES, arrived, strict=True):
                failed = random.binomial(count, rate * errors.get(name, 1))
                took = random.exponential(latency * seconds.get(name, 1), count)
                outcomes["errors"][name] = Totals(count, failed)
                outcomes["seconds"][name] = Totals(count, took.sum(), (took**2).sum())
            arrivals = dict(zip(NAMES, map(float, arrived), strict=True))
            strata = record(strata, weights, arrivals, outcomes)
            verdict = judge(THREE, strata, 60, verdict)
            yield verdict


def ends(count: int, errors: dict[str, float], seconds: dict[str, float]) -> list[Verdict]:
    """The last verdicts of as many experiments."""
    return [list(lived(seed, errors, seconds))[-1] for seed in range(count)]


@pytest.mark.timeout(120)
def test_whole_experiments_on_equals_have_no_winner() -> None:
    """Two treatments, a guardrail, weights and times that change, twenty looks."""
    last = ends(24, {}, {})
    # 5 % may err; of 24, more than 4 would in 6 of 1000 cases.
    assert sum(one.state is State.WINNER for one in last) <= 4
    assert not any(one.state is State.INVALID for one in last)
    bad = [
        it for one in last for v in one.variants for it in v.guardrails if it.violated_p <= ALPHA
    ]
    assert len(bad) <= 4


@pytest.mark.timeout(120)
def test_whole_experiments_find_the_better_and_refuse_the_slow() -> None:
    last = ends(10, {"v2": 0.6, "v3": 0.6}, {"v2": 0.95, "v3": 1.6})
    assert [one.winner for one in last].count("v2") >= 9
    slow = ends(5, {"v3": 0.6}, {"v2": 1.6, "v3": 1.6})
    assert [one.winner for one in slow] == ["v1"] * 5


def test_a_naive_comparison_would_be_fooled_by_the_change() -> None:
    """Simpson's paradox is really in these experiments."""
    *_, verdict = lived(1, {}, {})
    control, treatment, _ = verdict.variants
    assert control.mean is not None and treatment.mean is not None
    assert treatment.mean > 1.3 * control.mean
    sums = [Totals(one.samples, round(one.samples * (one.mean or 0)))
            for one in (control, treatment)]  # fmt: skip
    share = treatment.samples / (control.samples + treatment.samples)
    first = Pair(share, Totals(100, 8), Totals(round(100 * share / (1 - share)), 4))
    naive = BettingComparison([first, Pair(share, *sums)], TUNED)
    assert naive.interval(ALPHA).low > 0
