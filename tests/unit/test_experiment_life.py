"""What becomes of an endpoint's experiment: it begins, begins anew, ends, and promotes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from endpoint_worlds import EndpointWorld, variant
from pydantic import ValidationError

from loopwright.api.experiment_status import ArmFinding
from loopwright.decide.endpoint_types import GatewayView
from loopwright.decide.experiment import PATIENCE
from loopwright.decide.types import Blocked

PAIR = (variant("main", weight=50), variant("next", weight=50))
EVEN = {"ep-main-r1": 5000, "ep-next-r1": 5000}


def asking(**more: Any) -> dict[str, Any]:
    """An experiment on what clients report."""
    return {"control": "main", "metric": {"feedback": {"name": "clicked"}}, **more}


def begun(*variants: dict[str, Any], **more: Any) -> EndpointWorld:
    """An endpoint that serves, with an experiment."""
    return EndpointWorld(*(variants or PAIR), experiment=asking(**more)).up()


def change(world: EndpointWorld, *variants: dict[str, Any], **more: Any) -> EndpointWorld:
    """A person applies another spec."""
    spec = {"variants": list(variants or PAIR), "experiment": asking(**more)}
    world.spec = world.parsed(spec)
    return world.step()


def times(world: EndpointWorld, reason: str) -> int:
    """How often something was told."""
    return world.told.count(reason)


def test_it_waits_for_the_variants_and_then_begins() -> None:
    world = EndpointWorld(*PAIR, experiment=asking()).step()
    assert (world.trial.state, world.trial.reason, world.trial.run) == ("Waiting", "Creating", "")
    assert world.condition("ExperimentConcluded") == ("False", "Creating")
    world.kserve().step()
    assert (world.trial.state, world.trial.reason) == ("Running", "Begun")
    assert [(one.variant, one.revision, one.weight) for one in world.trial.arms] == [
        ("main", "r1", 50), ("next", "r1", 50),
    ]  # fmt: skip
    assert world.trial.started_at == world.now
    assert world.condition("Ready") == ("True", "Serving")


def test_without_one_nothing_is_said_of_it() -> None:
    world = EndpointWorld(*PAIR).up()
    assert world.status.experiment is None
    assert "ExperimentConcluded" not in {one.type for one in world.status.conditions}


def test_the_control_comes_first_and_a_variant_without_weight_takes_no_part() -> None:
    world = begun(variant("next", weight=9), variant("idle", weight=0), variant("main", weight=1))
    assert [one.variant for one in world.trial.arms] == ["main", "next"]


def test_what_the_monitor_says_is_in_the_status() -> None:
    world = begun().judge("Undecided", over=False)
    assert (world.trial.state, world.trial.reason) == ("Running", "Undecided")
    assert world.trial.variants == [
        ArmFinding(name="main", samples=5000), ArmFinding(name="next", samples=5000),
    ]  # fmt: skip
    assert world.condition("ExperimentConcluded") == ("False", "Undecided")
    assert times(world, "ExperimentConcluded") == 0


def test_what_is_said_of_another_attempt_does_not_count() -> None:
    world = begun().judge("Won", "next", run="another")
    assert world.trial.state == "Running"


@pytest.mark.parametrize(
    ("reason", "winner"), [("Won", "stranger"), ("Won", ""), ("GuardrailFailed", "")]
)
def test_a_winner_that_takes_no_part_is_none(reason: str, winner: str) -> None:
    world = begun(onWin="Promote").judge(reason, winner)
    assert (world.trial.state, world.trial.promoted) == ("Running", "")


@pytest.mark.parametrize(
    "reason", ["Won", "NoDifference", "GuardrailFailed", "SampleRatioMismatch"]
)
def test_an_end_is_told_once_and_stays(reason: str) -> None:
    winner = {"Won": "next", "GuardrailFailed": "main"}.get(reason, "")
    world = begun().judge(reason, winner)
    assert world.trial.state == "Concluded"
    assert world.trial.decided_at == world.now
    assert world.condition("ExperimentConcluded") == ("True", reason)
    world.judge("Undecided", over=False).step(10**6)
    assert world.condition("ExperimentConcluded") == ("True", reason)
    assert times(world, "ExperimentConcluded") == 1
    assert world.traffic() == EVEN


def test_a_win_gets_all_traffic_if_that_is_asked_for() -> None:
    world = begun(onWin="Promote").judge("Won", "next")
    assert world.trial.promoted == "next"
    assert world.traffic() == {"ep-next-r1": 5000}
    assert world.status.weights == "next:100"
    assert [world.told.count(one) for one in ("ExperimentConcluded", "ExperimentPromoted")] == [
        1,
        1,
    ]
    # The spec is as it was: what a person wants there is what a person wrote.
    assert [one.weight for one in world.spec.variants] == [50, 50]


def test_the_control_keeps_all_traffic_when_the_others_break_guardrails() -> None:
    world = begun(onWin="Promote").judge("GuardrailFailed", "main")
    assert world.traffic() == {"ep-main-r1": 5000}


@pytest.mark.parametrize("reason", ["NoDifference", "SampleRatioMismatch"])
def test_nobody_is_promoted_without_a_win(reason: str) -> None:
    world = begun(onWin="Promote").judge(reason)
    assert (world.trial.promoted, world.traffic()) == ("", EVEN)


def test_a_promotion_may_be_wanted_when_the_win_is_known_and_not_any_more() -> None:
    world = begun().judge("Won", "next")
    change(world, onWin="Promote")
    assert world.traffic() == {"ep-next-r1": 5000}
    change(world)
    assert world.traffic() == EVEN
    assert world.trial.state == "Concluded"
    assert world.told[-2:] == ["ExperimentPromoted", "PromotionEnded"]


def test_a_promotion_ends_when_the_spec_has_other_weights() -> None:
    world = begun(onWin="Promote").judge("Won", "next")
    change(world, variant("main", weight=20), variant("next", weight=80), onWin="Promote")
    assert world.traffic() == {"ep-main-r1": 2000, "ep-next-r1": 8000}
    assert (world.trial.state, world.trial.promoted) == ("Running", "")
    assert world.told[-1] == "PromotionEnded"
    assert times(world, "ExperimentRestarted") == 0


def test_a_promotion_ends_with_the_experiment() -> None:
    world = begun(onWin="Promote").judge("Won", "next")
    world.spec = world.parsed({"variants": list(PAIR)})
    world.step()
    assert world.traffic() == EVEN
    assert world.status.experiment is None
    assert times(world, "PromotionEnded") == 1


def test_a_promotion_outlives_a_new_version_of_the_winner() -> None:
    """An alias that moves is no change of the spec."""
    world = begun(onWin="Promote").judge("Won", "next")
    world.wants("next", "r2").step().kserve().wait(700)
    assert world.traffic() == {"ep-next-r2": 5000}
    assert world.trial.state == "Concluded"


def test_others_help_out_while_the_winner_is_not_ready() -> None:
    world = begun(onWin="Promote").judge("Won", "next")
    world.ready("ep-next-r1", pods=0).step()
    assert world.traffic() == {"ep-main-r1": 5000}
    world.ready("ep-next-r1").step()
    assert world.traffic() == {"ep-next-r1": 5000}


def test_another_model_begins_it_anew_and_says_so() -> None:
    world = begun().judge("Undecided", over=False)
    run = world.trial.run
    world.wants("next", "r2").step()
    assert (world.trial.state, world.trial.reason) == ("Waiting", "RollingOut")
    assert world.trial.run == run
    world.kserve().wait(700)
    assert world.revision == "r1"
    assert world.trial.run != run
    assert (world.trial.state, world.trial.restarts) == ("Running", 1)
    assert world.trial.restarted == "variant next has revision r2"
    assert world.trial.variants == []
    assert times(world, "ExperimentRestarted") == 1


def test_a_rollout_that_comes_to_nothing_only_interrupts_it() -> None:
    world = begun().judge("Undecided", over=False)
    run = world.trial.run
    world.wants("next", "r2").step()
    assert world.trial.state == "Waiting"
    world.wants("next", "r1").step()
    assert (world.trial.state, world.trial.run, world.trial.restarts) == ("Running", run, 0)


@pytest.mark.parametrize(
    "more",
    [
        {"variants": (variant("main", weight=50), variant("next", weight=20))},
        {"alpha": "0.01"},
        {
            "variants": (
                PAIR[0],
                variant("next", weight=50, model={"modelVersionRef": {"name": "m-2"}}),
            )
        },
    ],
)
def test_another_spec_begins_it_anew_and_says_so(more: dict[str, Any]) -> None:
    world = begun().judge("Undecided", over=False)
    run = world.trial.run
    change(world, *more.pop("variants", ()), **more)
    assert world.trial.run != run
    assert world.trial.restarts == 1
    assert "in the spec changed" in world.trial.restarted
    assert times(world, "ExperimentRestarted") == 1


def test_a_weight_that_a_monitor_cuts_begins_it_anew_or_holds_it() -> None:
    watching = {"name": "drift", "kind": "DataDrift", "everySeconds": 60}
    for left, state in ((10, "Running"), (0, "Waiting")):
        monitors = [{**watching, "onViolation": {"scaleWeightTo": left}}]
        world = EndpointWorld(*PAIR, experiment=asking(), monitors=monitors).up()
        run = world.trial.run
        world.window("Violated", variant="next")
        assert world.trial.state == state
        assert (world.trial.run == run) == (left == 0)
    assert world.condition("ExperimentConcluded") == ("False", "WeightHeld")


def test_only_a_gateway_divides_traffic() -> None:
    world = begun()
    world.gateway = GatewayView(Blocked("NoGateway", "there is none"))
    world.step()
    assert world.condition("ExperimentConcluded") == ("False", "NoGateway")


def test_a_suspended_endpoint_has_no_running_experiment() -> None:
    world = begun().judge("Undecided", over=False)
    run = world.trial.run
    base = {"variants": list(PAIR), "experiment": asking()}
    world.spec = world.parsed({**base, "suspend": True})
    world.step()
    assert (world.trial.state, world.trial.reason) == ("Waiting", "Suspended")
    world.spec = world.parsed(base)
    world.step()
    assert (world.trial.state, world.trial.run) == ("Running", run)


def test_a_silent_monitor_is_no_news() -> None:
    world = begun().judge("Undecided", over=False)
    assert world.decision.requeue == PATIENCE.total_seconds()
    world.step(PATIENCE / timedelta(seconds=1) + 1)
    assert world.condition("ExperimentConcluded") == ("Unknown", "Silent")
    world.judge("Undecided", over=False)
    assert world.condition("ExperimentConcluded") == ("False", "Undecided")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"experiment": asking(control="other")}, "must name a variant with role: Serving"),
        (
            {"variants": [variant("main", weight=0), variant("next")], "experiment": asking()},
            "must name a variant",
        ),
        (
            {"variants": [variant("main"), variant("next", weight=0)], "experiment": asking()},
            "takes another variant",
        ),
        (
            {"variants": [variant("main"), variant("next", role="Shadow")], "experiment": asking()},
            "takes another variant",
        ),
        (
            {"experiment": asking(), "routing": {"sticky": {"cookie": "v"}}},
            "do without routing.sticky",
        ),
        ({"experiment": asking(metric={})}, "exactly one of feedback, errorRatio and latency"),
        (
            {"experiment": asking(metric={"errorRatio": {}}, guardrails={"errorRatio": {}})},
            "must be another outcome",
        ),
        (
            {"experiment": asking(metric={"latency": {"slowerThanMilliseconds": 42}})},
            "Input should",
        ),
        ({"experiment": asking(alpha="0.5")}, "pattern"),
        ({"experiment": asking(smallestEffect="0.0")}, "pattern"),
        ({"experiment": asking(guardrails={"errorRatio": {"maxIncrease": "0"}})}, "pattern"),
        ({"experiment": asking(minSamples=10)}, "greater than or equal"),
    ],
)
def test_specs_that_make_no_sense(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EndpointWorld.parsed({"variants": list(PAIR), **spec})
