"""What an experiment's sums decide, and when nothing can be decided."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter

from loopwright.api.shared import Direction
from loopwright.monitor.experiment.judging import course, judge
from loopwright.monitor.experiment.samples import MAX_EPOCHS, Stratum, Totals, record
from loopwright.monitor.experiment.settings import Experiment, Guardrail, Kind, Metric
from loopwright.monitor.experiment.verdict import GuardrailState, Reason, State, Verdict

ERRORS = Metric("errors", Kind.PROPORTION, Direction.MINIMIZE)
CLICKS = Metric("clicks", Kind.PROPORTION, Direction.MAXIMIZE)
SECONDS = Metric("seconds", Kind.MEAN, Direction.MINIMIZE)
HALF = {"v1": 1, "v2": 1}


def experiment(**fields: Any) -> Experiment:
    """Of v2 against v1, by errors."""
    return Experiment(**{"control": "v1", "treatments": ("v2",), "metric": ERRORS, **fields})


def counted(
    requests: float, weights: dict[str, float], strata: tuple[Stratum, ...] = (),
    **metrics: dict[str, float],
) -> tuple[Stratum, ...]:  # fmt: skip
    """Scrapes of exactly as many requests and outcomes as expected.

    Args:
        requests: Of all variants.
        metrics: Mean by variant; those of `seconds` have a deviation of 1.
    """
    for _ in range(50):
        arrivals = {name: requests / 50 * w / sum(weights.values()) for name, w in weights.items()}
        outcomes = {
            metric: {
                name: Totals(arrivals[name], arrivals[name] * mean, arrivals[name] * (mean**2 + 1))
                for name, mean in means.items()
                if name in arrivals
            }
            for metric, means in metrics.items()
        }
        strata = record(strata, weights, arrivals, outcomes)
    return strata


def decided(asked: Experiment, strata: tuple[Stratum, ...], seconds: float = 60.0) -> tuple:
    """State, reason and winner."""
    verdict = judge(asked, strata, seconds)
    assert verdict.state is verdict.reason.state
    assert verdict.message and verdict.message == verdict.message.strip()
    return verdict.state, verdict.reason, verdict.winner


def test_fewer_errors_win() -> None:
    strata = counted(20_000, HALF, errors={"v1": 0.05, "v2": 0.03})
    verdict = judge(experiment(), strata, 60)
    assert (verdict.state, verdict.reason, verdict.winner) == (
        State.WINNER, Reason.TREATMENT_BETTER, "v2"
    )  # fmt: skip
    control, treatment = verdict.variants
    assert (control.name, control.samples, control.effect, control.p_value) == (
        "v1", 10_000, None, None
    )  # fmt: skip
    assert (treatment.samples, treatment.mean) == (10_000, pytest.approx(0.03))
    effect = treatment.effect
    assert effect is not None and effect.low is not None and effect.high is not None
    assert effect.value == pytest.approx(-0.02)
    assert effect.relative == pytest.approx(-0.4)
    assert -0.03 < effect.low < -0.02 < effect.high < -0.01
    assert treatment.p_value is not None and treatment.p_value < 1e-6
    assert verdict.ratio.p_value == 1
    assert verdict.message.startswith(
        "v2 is better than v1 in errors: 0.03 for 0.05, effect -0.02 [-0.02"
    )


def test_more_errors_lose_and_more_clicks_win() -> None:
    assert decided(experiment(), counted(20_000, HALF, errors={"v1": 0.03, "v2": 0.05})) == (
        State.WINNER, Reason.CONTROL_STAYS, "v1"
    )  # fmt: skip
    strata = counted(20_000, HALF, clicks={"v1": 0.1, "v2": 0.13})
    assert decided(experiment(metric=CLICKS), strata)[2] == "v2"


def test_means_are_compared_too() -> None:
    strata = counted(20_000, HALF, seconds={"v1": 2.0, "v2": 1.8})
    assert decided(experiment(metric=SECONDS), strata)[2] == "v2"
    same = counted(20_000, HALF, seconds={"v1": 2.0, "v2": 2.0})
    verdict = judge(experiment(metric=SECONDS), same, 60)
    assert (verdict.state, verdict.reason) == (State.RUNNING, Reason.UNDECIDED)
    assert verdict.variants[1].p_value == 1
    assert verdict.message == "undecided: v2 effect +0 [-0.0446, +0.0446]"


def test_a_winner_needs_samples_but_harm_does_not() -> None:
    strata = counted(1800, HALF, errors={"v1": 0.5, "v2": 0.1})
    verdict = judge(experiment(), strata, 60)
    assert (verdict.state, verdict.reason) == (State.RUNNING, Reason.TOO_FEW_SAMPLES)
    assert verdict.variants[1].better
    assert verdict.message == (
        "too few outcomes of errors (v1 900, v2 900); 1000 are needed"
    )  # fmt: skip
    assert decided(experiment(min_samples=800), strata)[2] == "v2"
    harm = counted(1800, HALF, errors={"v1": 0.1, "v2": 0.5})
    assert decided(experiment(), harm) == (State.WINNER, Reason.CONTROL_STAYS, "v1")


def test_before_anything_is_counted() -> None:
    verdict = judge(experiment(), (), 0)
    assert (verdict.state, verdict.reason) == (State.NO_DATA, Reason.NO_SAMPLES)
    assert verdict.message == "no outcomes of errors yet from v1, v2"
    assert [one.mean for one in verdict.variants] == [None, None]
    silent = counted(500, HALF, errors={"v1": 0.1})
    assert judge(experiment(), silent, 9).message == "no outcomes of errors yet from v2"


def test_outcomes_that_are_known_of_some_only_decide_nothing() -> None:
    """Say, of feedback that only one variant's users give."""
    arrived = counted(20_000, HALF, errors={"v1": 0.1, "v2": 0.02})
    some = tuple(
        dataclasses.replace(one, outcomes={"errors": {
            "v1": one.outcomes["errors"]["v1"],
            "v2": Totals(one.arrivals["v2"] * 0.6, one.arrivals["v2"] * 0.6 * 0.02),
        }})
        for one in arrived
    )  # fmt: skip
    verdict = judge(experiment(), some, 60)
    assert (verdict.state, verdict.reason) == (State.RUNNING, Reason.OUTCOMES_MISSING)
    treatment = verdict.variants[1]
    assert (treatment.held, treatment.p_value, treatment.better) == (True, 1, False)
    assert treatment.effect is not None
    assert (treatment.effect.low, treatment.effect.high) == (-1, 1)
    assert decided(experiment(), arrived)[2] == "v2"
    guarded = experiment(metric=CLICKS, guardrails=(Guardrail(ERRORS, 0.01),))
    assert judge(guarded, some, 60).variants[1].guardrails[0].state is GuardrailState.UNDECIDED


def test_time_runs_out() -> None:
    asked = experiment(max_seconds=3600)
    strata = counted(20_000, HALF, errors={"v1": 0.05, "v2": 0.05})
    assert decided(asked, strata, 3599) == (State.RUNNING, Reason.UNDECIDED, None)
    assert decided(asked, strata, 3600) == (State.INCONCLUSIVE, Reason.TIME_IS_UP, None)
    assert decided(asked, (), 3600) == (State.INCONCLUSIVE, Reason.TIME_IS_UP, None)
    better = counted(20_000, HALF, errors={"v1": 0.05, "v2": 0.03})
    assert decided(asked, better, 9999)[0] is State.WINNER


def test_a_difference_too_small_to_matter_ends_it() -> None:
    strata = counted(40_000, HALF, errors={"v1": 0.05, "v2": 0.05})
    found = decided(experiment(smallest_effect=0.02), strata)
    assert found == (State.NO_DIFFERENCE, Reason.EFFECT_TOO_SMALL, None)
    assert decided(experiment(smallest_effect=0.002), strata)[0] is State.RUNNING
    clicks = counted(40_000, HALF, clicks={"v1": 0.05, "v2": 0.05})
    assert decided(experiment(metric=CLICKS, smallest_effect=0.02), clicks) == found


def test_lost_requests_make_it_invalid_whoever_is_better() -> None:
    strata = counted(20_000, {"v1": 55, "v2": 45}, errors={"v1": 0.05, "v2": 0.01})
    skewed = tuple(dataclasses.replace(one, weights={"v1": 0.5, "v2": 0.5}) for one in strata)
    verdict = judge(experiment(), skewed, 60)
    assert (verdict.state, verdict.reason, verdict.winner) == (
        State.INVALID, Reason.SAMPLE_RATIO_MISMATCH, None
    )  # fmt: skip
    assert "v1 55.0% for 50.0%, v2 45.0% for 50.0%" in verdict.message
    assert decided(experiment(ratio_alpha=None), skewed)[2] == "v2"


def test_weights_that_never_rest_make_it_invalid() -> None:
    strata: tuple[Stratum, ...] = ()
    for number in range(MAX_EPOCHS + 1):
        assert judge(experiment(), strata, 60).reason is not Reason.WEIGHTS_CHANGED_TOO_OFTEN
        weights = {"v1": 1.0 + number % 2, "v2": 1.0}
        strata = counted(300, weights, strata, errors={"v1": 0.05, "v2": 0.05})
    assert decided(experiment(), strata)[:2] == (State.INVALID, Reason.WEIGHTS_CHANGED_TOO_OFTEN)


def test_a_change_of_weights_is_no_effect() -> None:
    """Errors rise while the treatment's weight does; of all requests it has twice the errors."""
    for metric, rates in ((ERRORS, (0.02, 0.1)), (SECONDS, (2.0, 4.0))):
        strata: tuple[Stratum, ...] = ()
        for weights, rate in zip(({"v1": 9, "v2": 1}, HALF), rates, strict=True):
            means = {metric.name: {"v1": rate, "v2": rate}}
            strata = counted(20_000, weights, strata, **means)
        verdict = judge(experiment(metric=metric), strata, 60)
        control, treatment = verdict.variants
        assert control.mean is not None and treatment.mean is not None
        assert treatment.mean > 1.2 * control.mean
        assert treatment.effect is not None
        assert treatment.effect.value == pytest.approx(0, abs=1e-9)
        assert verdict.state is State.RUNNING
        assert treatment.p_value == 1


def test_the_better_of_several_treatments_wins() -> None:
    weights = {"v1": 2, "v2": 1, "v3": 1, "v4": 1}
    asked = experiment(treatments=("v2", "v3", "v4"))
    strata = counted(60_000, weights, errors={"v1": 0.05, "v2": 0.035, "v3": 0.03, "v4": 0.06})
    assert decided(asked, strata) == (State.WINNER, Reason.TREATMENT_BETTER, "v3")


def test_treatments_share_alpha() -> None:
    strata = counted(
        9000, {"v1": 1, "v2": 1, "v3": 1}, errors={"v1": 0.05, "v2": 0.035, "v3": 0.05}
    )
    alone = judge(experiment(tuned_for=4000), strata, 60).variants[1]
    among = judge(experiment(treatments=("v2", "v3"), tuned_for=4000), strata, 60).variants[1]
    assert alone.p_value is not None and among.p_value is not None
    assert among.p_value > 1.5 * alone.p_value
    assert alone.effect is not None and among.effect is not None
    assert among.effect.low < alone.effect.low  # type: ignore[operator]


def test_a_treatment_that_lost_its_traffic_holds_up_nobody() -> None:
    asked = experiment(treatments=("v2", "v3"))
    strata = counted(600, {"v1": 1, "v2": 1, "v3": 1}, errors={n: 0.05 for n in ("v1", "v2", "v3")})
    strata = counted(20_000, HALF, strata, errors={"v1": 0.05, "v2": 0.03, "v3": 0.05})
    verdict = judge(asked, strata, 60)
    assert (verdict.winner, verdict.variants[2].samples) == ("v2", 200)


SLOW = Guardrail(SECONDS, 0.1, relative=True)


def guarded(strata: tuple[Stratum, ...], *guardrails: Guardrail, **fields: Any) -> Verdict:
    """By errors, with guardrails."""
    return judge(experiment(guardrails=guardrails, **fields), strata, 60)


def states(verdict: Verdict) -> list[GuardrailState]:
    """Of the last variant's guardrails."""
    return [one.state for one in verdict.variants[-1].guardrails]


def test_a_winner_must_pass_its_guardrails() -> None:
    errors = {"v1": 0.05, "v2": 0.03}
    verdict = guarded(counted(20_000, HALF, errors=errors, seconds={"v1": 2.0, "v2": 2.05}), SLOW)
    assert (verdict.winner, states(verdict)) == ("v2", [GuardrailState.PASSED])
    near = counted(20_000, HALF, errors=errors, seconds={"v1": 2.0, "v2": 2.19})
    verdict = guarded(near, SLOW)
    assert (verdict.reason, states(verdict)) == (
        Reason.AWAITS_GUARDRAILS, [GuardrailState.UNDECIDED]
    )  # fmt: skip
    assert verdict.message == "v2 is better in errors, but guardrails are open: seconds"
    assert guarded(near, dataclasses.replace(SLOW, proof=False)).winner == "v2"
    verdict = guarded(counted(20_000, HALF, errors=errors, seconds={"v1": 2.0, "v2": 2.5}), SLOW)
    assert (verdict.winner, states(verdict)) == ("v1", [GuardrailState.VIOLATED])
    assert verdict.message == "v1 stays: v2 violates seconds"


@pytest.mark.parametrize(
    "guardrail, control, passes, violates",
    [
        (Guardrail(SECONDS, 0.2), 2.0, 2.1, 2.5),
        (Guardrail(SECONDS, 0.1, relative=True), 2.0, 2.1, 2.5),
        (Guardrail(CLICKS, 0.04), 0.2, 0.19, 0.1),
        (Guardrail(CLICKS, 0.2, relative=True), 0.2, 0.19, 0.1),
        (Guardrail(Metric("seconds", Kind.MEAN, Direction.MAXIMIZE), 0.2), 2.0, 1.9, 1.5),
        (Guardrail(SECONDS, 0.0, proof=False), 2.0, None, 2.2),
        (Guardrail(CLICKS, 1.0), 0.2, 0.0, None),
    ],
)
def test_margins_are_absolute_or_relative(
    guardrail: Guardrail, control: float, passes: float | None, violates: float | None
) -> None:
    errors = {"v1": 0.05, "v2": 0.05}
    name = guardrail.metric.name
    for value, state in ((passes, GuardrailState.PASSED), (violates, GuardrailState.VIOLATED)):
        if value is not None:
            means = {name: {"v1": control, "v2": value}}
            verdict = guarded(counted(20_000, HALF, errors=errors, **means), guardrail)
            assert states(verdict) == [state]


def test_a_violation_stays_and_harms_only_its_treatment() -> None:
    weights = {"v1": 1, "v2": 1, "v3": 1}
    asked = experiment(treatments=("v2", "v3"), guardrails=(SLOW,))
    errors = {"v1": 0.05, "v2": 0.03, "v3": 0.04}
    bad = counted(12_000, weights, errors=errors, seconds={"v1": 2.0, "v2": 2.4, "v3": 2.0})
    first = judge(asked, bad, 60)
    assert first.variants[1].guardrails[0].state is GuardrailState.VIOLATED
    # Later it is as fast as the control, and best in errors.
    later = counted(200_000, weights, bad, errors=errors, seconds={n: 2.0 for n in weights})
    assert judge(asked, later, 90).winner == "v2"
    open_still = dataclasses.replace(first, state=State.RUNNING)
    assert judge(asked, later, 90, open_still).winner == "v3"


def test_what_is_final_stays() -> None:
    better = counted(20_000, HALF, errors={"v1": 0.05, "v2": 0.03})
    first = judge(experiment(), better, 60)
    worse = counted(90_000, HALF, better, errors={"v1": 0.03, "v2": 0.05})
    assert judge(experiment(), worse, 90, first) is first
    assert judge(experiment(), worse, 90).winner == "v1"


def test_the_course_of_an_experiment_narrows() -> None:
    strata = counted(50_000, HALF, errors={"v1": 0.05, "v2": 0.048})
    verdicts = course(experiment(), strata, 60)
    assert len(verdicts) == len(strata) >= 4
    assert [one.variants[0].samples for one in verdicts] == sorted(
        one.variants[0].samples for one in verdicts
    )
    effects = [one.variants[1].effect for one in verdicts[1:]]
    widths = [one.high - one.low for one in effects]  # type: ignore[union-attr,operator]
    assert widths == sorted(widths, reverse=True)
    assert verdicts[-1] == judge(experiment(), strata, 60)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"treatments": ()}, "treatments"),
        ({"treatments": ("v1",)}, "different names"),
        ({"treatments": ("v2", "v2")}, "different names"),
        ({"guardrails": (Guardrail(ERRORS, 0.1),)}, "different metrics"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 0.9}, "alpha"),
        ({"ratio_alpha": 0.0}, "alpha"),
        ({"min_samples": 0}, "at least 1"),
        ({"tuned_for": 0}, "at least 1"),
        ({"smallest_effect": 0.0}, "above 0"),
    ],
)
def test_experiments_that_make_no_sense_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(**fields)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((SECONDS, -0.1), "negative"),
        ((SECONDS, 0.0), "cannot be proven"),
        ((CLICKS, 1.0, True), "allows anything"),
    ],
)
def test_guardrails_that_make_no_sense_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Guardrail(*arguments)


def test_all_of_it_can_be_stored_and_read_again() -> None:
    """A monitor that starts again goes on with what it had."""
    means = {"errors": {"v1": 0.05, "v2": 0.03}, "seconds": {"v1": 2.0, "v2": 2.05}}
    strata = counted(20_000, HALF, **means)
    asked = experiment(guardrails=(SLOW,))
    verdict = judge(asked, strata, 60)
    for value, type_ in ((asked, Experiment), (strata, tuple[Stratum, ...]), (verdict, Verdict)):
        adapter: TypeAdapter = TypeAdapter(type_)
        assert adapter.validate_json(adapter.dump_json(value)) == value


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_state(reason: Reason) -> None:
    assert reason.state.final == (reason.state not in (State.RUNNING, State.NO_DATA))
