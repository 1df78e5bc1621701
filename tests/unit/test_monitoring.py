"""What becomes of an endpoint whose monitors are violated."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from endpoint_worlds import EndpointWorld, variant
from pydantic import ValidationError

from loopwright.api.monitoring_status import RetrainOutcome
from loopwright.decide.endpoint_types import JobView

RUNNING = JobView(RetrainOutcome.RUNNING)
DONE = JobView(RetrainOutcome.SUCCEEDED)


def monitor(**more: Any) -> dict[str, Any]:
    """A monitor of data drift with windows of a minute."""
    return {"name": "drift", "kind": "DataDrift", "everySeconds": 60, **more}


def watched(*variants: dict[str, Any], **more: Any) -> EndpointWorld:
    """An endpoint that serves, with one monitor."""
    return EndpointWorld(*variants, monitors=[monitor(**more)]).up()


def reacting(*variants: dict[str, Any], **on_violation: Any) -> EndpointWorld:
    """The same, with something to do when it is violated."""
    return watched(*variants, onViolation=on_violation)


def test_nothing_is_known_before_the_first_window() -> None:
    world = watched()
    assert world.condition("DriftDetected") == ("Unknown", "FirstWindow")
    assert world.condition("Ready") == ("True", "Serving")
    assert [one.state for one in world.status.monitors] == ["NoData"]


def test_a_violation_is_told_once_and_so_is_its_end() -> None:
    world = watched().window("OK")
    assert world.condition("DriftDetected") == ("False", "AsExpected")
    world.window("Violated", message="12 of 64 features").window("Violated")
    assert world.condition("DriftDetected")[0] == "True"
    assert world.condition("Ready") == ("True", "Serving")
    world.window("OK").window("OK")
    assert [one for one in world.told if one in ("DriftDetected", "MonitorRecovered")] == [
        "DriftDetected", "MonitorRecovered",
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["NoData", "Unknown"])
def test_what_is_not_known_is_never_called_well(state: str) -> None:
    world = watched().window("OK").window(state, reason="TooFew")
    assert world.condition("DriftDetected") == ("Unknown", "TooFew")


def test_quality_has_a_condition_of_its_own() -> None:
    world = watched(kind="DataQuality").window("OK")
    assert world.condition("DataQualityOK") == ("True", "AsExpected")
    world.window("Violated")
    assert world.condition("DataQualityOK")[0] == "False"
    assert world.told[-1] == "DataQualityViolated"
    assert "DriftDetected" not in {one.type for one in world.status.conditions}


def test_a_silent_monitor_is_no_good_news() -> None:
    world = watched().window("OK")
    assert world.decision.requeue is not None
    world.step(world.decision.requeue + 1)
    assert world.condition("DriftDetected") == ("Unknown", "Silent")


def test_a_verdict_is_about_one_revision() -> None:
    world = watched().window("Violated")
    world.wants("main", "r2").step().kserve().step()
    world.wait(700)
    assert world.revision == "r2"
    assert world.condition("DriftDetected") == ("Unknown", "FirstWindow")


def test_without_monitors_nothing_is_said_of_them() -> None:
    world = EndpointWorld().up()
    assert not {"DriftDetected", "DataQualityOK"} & {one.type for one in world.status.conditions}


def test_a_new_revision_that_drifts_is_given_up() -> None:
    world = EndpointWorld(
        monitors=[monitor(onViolation={"rollback": True})],
        rollout={"strategy": "Canary", "bakeSeconds": 600, "checks": []},
    ).up()
    world.wants("main", "r2").step().kserve().step()
    assert world.percent == 10
    world.window("Violated", "r2", message="far away")
    assert (world.revision, world.percent) == ("r1", None)
    assert world.first.rejected is not None
    assert world.first.rejected.reason == "MonitorViolated"
    assert world.condition("RolledBack") == ("True", "MonitorViolated")


def test_one_that_has_just_taken_over_goes_back() -> None:
    world = EndpointWorld(
        monitors=[monitor(onViolation={"rollback": True})],
        rollout={"bakeSeconds": 0, "checks": [], "keepPreviousSeconds": 3600},
    ).up()
    world.wants("main", "r2").step().kserve().step(1).step(1)
    assert world.revision == "r2"
    world.window("Violated", "r2")
    assert world.revision == "r1"
    assert world.told.count("RolledBack") == 1


def test_the_only_revision_stays_whatever_a_monitor_says() -> None:
    world = reacting(rollback=True).window("Violated")
    assert world.revision == "r1"
    assert world.traffic() == {"ep-main-r1": 10000}


def test_a_weight_is_cut_until_another_model_serves() -> None:
    pair = (variant("main"), variant("next"))
    world = reacting(*pair, scaleWeightTo=0)
    world.window("Violated", variant="next")
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.status.weights == "main:100"
    # Without traffic there are no data, which is no reason to let it back.
    world.window("NoData", variant="next")
    assert world.traffic() == {"ep-main-r1": 10000}
    world.wants("next", "r2").step().kserve().wait(700)
    assert world.traffic() == {"ep-main-r1": 10000, "ep-next-r2": 10000}


def test_the_last_variant_keeps_its_weight() -> None:
    world = reacting(scaleWeightTo=0).window("Violated")
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.status.weights == "main:100"


def test_a_weight_comes_back_when_people_say_so() -> None:
    pair = (variant("main"), variant("next"))
    world = reacting(*pair, scaleWeightTo=10).window("Violated", variant="next")
    assert world.traffic() == {"ep-main-r1": 10000, "ep-next-r1": 1000}
    world.spec = world.parsed({"variants": list(pair), "monitors": [monitor()]})
    world.step()
    assert world.traffic() == {"ep-main-r1": 10000, "ep-next-r1": 10000}


def test_training_begins_anew_once_for_a_window() -> None:
    world = reacting(retrain={"trainingJobRef": {"name": "digits"}})
    world.jobs["digits"] = DONE
    world.window("Violated").step().step()
    [made] = world.status.retrains
    assert made.template == "digits"
    assert made.training_job.startswith("digits-r")
    assert made.outcome is RetrainOutcome.PENDING
    assert world.told.count("Retraining") == 1
    world.jobs[made.training_job] = RUNNING
    world.step()
    assert world.status.retrains[0].outcome is RetrainOutcome.RUNNING
    world.window("Violated")
    assert len(world.status.retrains) == 1
    world.jobs[made.training_job] = DONE
    world.step()
    assert world.status.retrains[0].outcome is RetrainOutcome.SUCCEEDED
    assert world.told[-1] == "Retrained"


def test_a_cooldown_and_a_daily_limit_hold() -> None:
    policy = {"trainingJobRef": {"name": "digits"}, "cooldownSeconds": 600, "maxPerDay": 3}
    world = reacting(retrain=policy)
    world.jobs["digits"] = DONE
    begun = []
    for _ in range(60 * 30):
        world.window("Violated")
        for one in world.status.retrains:
            world.jobs.setdefault(one.training_job, DONE)
        begun += [one.time for one in world.status.retrains if one.time not in begun]
    gaps = [late - early for early, late in itertools.pairwise(begun)]
    assert min(gaps) >= timedelta(seconds=600)
    day = timedelta(days=1)
    assert all(late - early >= day for early, late in zip(begun, begun[3:], strict=False))
    assert len(begun) == 6


def test_by_default_the_job_that_trained_it_runs_again() -> None:
    world = reacting(retrain={})
    world.trained_by["main"], world.jobs["first"] = "first", DONE
    world.window("Violated")
    assert world.status.retrains[0].template == "first"


@pytest.mark.parametrize("retrain", [{}, {"trainingJobRef": {"name": "gone"}}])
def test_a_missing_template_is_said_and_costs_nothing(retrain: dict[str, Any]) -> None:
    world = reacting(retrain=retrain).window("Violated").window("Violated")
    [one] = world.status.retrains
    assert one.outcome is RetrainOutcome.REFUSED
    assert "onViolation.retrain.trainingJobRef" in one.message
    world.jobs["gone"] = DONE
    world.trained_by["main"] = "gone"
    world.window("Violated")
    assert [one.outcome for one in world.status.retrains] == ["Pending"]


def test_a_job_that_was_deleted_is_not_made_again() -> None:
    world = reacting(retrain={"trainingJobRef": {"name": "digits"}})
    world.jobs["digits"] = DONE
    name = world.window("Violated").status.retrains[0].training_job
    world.jobs[name] = RUNNING
    world.step()
    del world.jobs[name]
    world.step()
    assert world.status.retrains[0].outcome is RetrainOutcome.GONE
    assert world.told[-1] == "RetrainingFailed"


def test_a_suspended_endpoint_is_not_watched() -> None:
    world = watched().window("Violated")
    world.spec = world.parsed({"variants": [variant()], "monitors": [monitor()], "suspend": True})
    world.step()
    assert world.status.monitors == []
    assert "DriftDetected" not in {one.type for one in world.status.conditions}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"violatedWindows": 4}, "must not exceed"),
        ({"kind": "DataQuality", "method": "PSI"}, "kind DataQuality has none"),
        ({"kind": "PredictionDrift", "driftShare": "0.5"}, "goes with kind DataDrift"),
        ({"variants": ["other"]}, "must name variants"),
        ({"alpha": "0"}, "pattern"),
        ({"driftShare": "1.5"}, "pattern"),
    ],
)
def test_specs_that_make_no_sense(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EndpointWorld.parsed({"variants": [variant()], "monitors": [monitor(**wrong)]})
