"""What becomes of an endpoint: first revision, rollouts of every strategy, and ways back."""

from __future__ import annotations

from typing import Any

import pytest
from endpoint_worlds import EndpointWorld, variant

from loopwright.decide.endpoint_types import GatewayView, RouteView
from loopwright.decide.types import Blocked

CANARY: dict[str, Any] = {"strategy": "Canary", "bakeSeconds": 60, "checkSeconds": 10}


def canary(**more: Any) -> EndpointWorld:
    """An endpoint in the middle of a canary, whose new revision is ready."""
    world = EndpointWorld(rollout=CANARY | more).up()
    world.wants("main", "r2").step().kserve().step()
    return world


def test_the_first_revision_serves_as_soon_as_it_can() -> None:
    world = EndpointWorld().step()
    assert world.condition("Ready") == ("False", "Creating")
    assert world.status.phase == "Creating"
    world.kserve(ready=False).step()
    assert world.traffic() == {}
    world.kserve().step()
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.condition("Ready") == ("True", "Serving")
    assert world.status.phase == "Ready"
    assert world.status.url == "http://10.0.0.1/n/ep"
    assert world.status.internal_url == "http://ep.n.svc"
    assert world.status.weights == "main:100"
    assert world.decision.requeue is None


def test_all_at_once_moves_everything_and_watches_it() -> None:
    world = EndpointWorld(rollout={"bakeSeconds": 60, "checkSeconds": 10}).up()
    world.wants("main", "r2").step().kserve(ready=False).step()
    assert world.traffic() == {"ep-main-r1": 10000}
    world.kserve().step()
    assert world.traffic() == {"ep-main-r2": 10000}
    assert world.revision == "r1"
    world.wait(60).step(1)
    assert (world.revision, world.percent) == ("r2", None)
    assert [one.served.revision for one in world.status.retired] == ["r1"]
    assert world.condition("RolloutComplete") == ("True", "Completed")
    world.step(700)
    assert world.status.retired == []


def test_a_canary_gets_its_share_then_all() -> None:
    world = canary()
    assert world.traffic() == {"ep-main-r1": 9000, "ep-main-r2": 1000}
    assert world.status.rollout == "main:10%"
    assert world.status.phase == "RollingOut"
    world.wait(50)
    assert world.percent == 10
    world.wait(20)
    assert world.percent == 100
    assert world.revision == "r1"
    world.wait(70)
    assert world.revision == "r2"
    assert world.told[-3:] == ["RolloutStep", "RolloutStep", "RolloutComplete"]


def test_linear_goes_step_by_step() -> None:
    world = canary(strategy="Linear", stepPercent=30)
    seen = [world.percent]
    while world.percent is not None:
        world.wait(10)
        if world.percent != seen[-1]:
            seen.append(world.percent)
    assert seen == [30, 60, 90, 100, None]
    assert world.revision == "r2"


def test_manual_waits_for_a_person() -> None:
    world = canary(strategy="Manual", canaryPercent=0)
    assert world.traffic() == {"ep-main-r1": 10000}
    world.wait(10_000)
    assert world.percent == 0
    assert "loopwright.io/promote=r2" in world.message("Ready")
    world.promote = "r2"
    world.step()
    assert world.traffic() == {"ep-main-r2": 10000}
    world.wait(70)
    assert world.revision == "r2"


def test_a_promotion_of_another_revision_means_nothing() -> None:
    world = canary(strategy="Manual")
    world.promote = "r1"
    world.wait(500)
    assert world.percent == 10


@pytest.mark.parametrize(
    ("bad", "name"),
    [({"errorRatio": 0.2}, "errors"), ({"p99Seconds": 0.5}, "latency")],
    ids=["errors", "slow"],
)
def test_two_bad_intervals_end_a_canary(bad: dict[str, Any], name: str) -> None:
    world = canary()
    world.interval(r1={}, r2=bad)
    assert world.percent == 10
    assert world.condition("RolloutComplete") == ("False", "ChecksFailing")
    world.interval(r1={}, r2=bad)
    assert world.percent is None
    assert world.revision == "r1"
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.first.rejected is not None
    assert world.first.rejected.message.startswith(f"{name}: ")
    assert world.condition("RolledBack") == ("True", "ChecksFailed")
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert world.condition("VariantsReady") == ("True", "AsExpected")
    # Its pods still get what is under way, and go.
    assert [one.served.revision for one in world.status.retired] == ["r2"]
    world.step(40)
    assert world.status.retired == []
    # It is not tried again, until the spec changes.
    world.wait(500)
    assert world.percent is None
    world.wants("main", "r3").step()
    assert world.condition("RolledBack")[0] == "False"
    assert world.first.next is not None


def test_a_latency_that_few_requests_do_not_prove_is_no_reason() -> None:
    world = canary()
    unlucky = {"p99Seconds": 0.5, "p99AtLeastSeconds": 0.03, "requests": 40}
    world.wait(70, r1={}, r2=unlucky)
    assert world.percent == 100
    proven = {**unlucky, "p99AtLeastSeconds": 0.3}
    world = canary()
    world.interval(r1={}, r2=proven).interval(r1={}, r2=proven)
    assert world.first.rejected is not None
    assert "p99 is 500 ms; at most 2 times" in world.first.rejected.message


def test_one_bad_interval_is_forgiven() -> None:
    world = canary()
    for _ in range(3):
        world.interval(r1={}, r2={"errorRatio": 0.2}).interval(r1={}, r2={})
    world.wait(10)
    assert world.percent == 100


def test_a_slow_first_revision_is_no_reason_when_the_new_one_is_as_slow() -> None:
    world = canary()
    world.wait(70, r1={"p99Seconds": 1.0}, r2={"p99Seconds": 1.9})
    assert world.percent == 100


def test_latency_is_compared_with_what_the_old_one_had_before() -> None:
    world = EndpointWorld(rollout={"bakeSeconds": 60, "checkSeconds": 10}).up()
    world.measured(r1={}).wants("main", "r2").step().kserve().step()
    assert world.percent == 100
    idle = {"state": "NoData", "p50Seconds": None, "p99Seconds": None, "errorRatio": None}
    world.interval(r1=idle, r2={"p99Seconds": 0.05}).interval(r1=idle, r2={"p99Seconds": 0.05})
    assert world.first.rejected is not None
    assert "20 ms" in world.first.rejected.message


def test_no_traffic_is_no_verdict_unless_it_shall_be() -> None:
    idle = {"state": "NoData", "reason": "TooFewRequests", "errorRatio": None}
    world = canary()
    world.wait(70, r1={}, r2=idle)
    assert world.percent == 100
    checks = [{"name": "errors", "errorRate": {}, "onNoData": "Fail"}]
    world = canary(checks=checks)
    world.interval(r1={}, r2=idle).interval(r1={}, r2=idle)
    assert world.first.rejected is not None


def test_a_monitor_that_is_silent_holds_a_rollout_up() -> None:
    world = canary()
    for _ in range(10):
        world.step(30)
    assert world.percent == 10
    assert "ep-monitor has not reported" in world.message("Ready")
    world.measured(r1={}, r2={"state": "Unknown", "message": "pod x hides"}).step(0)
    assert world.message("Ready").endswith("pod x hides")
    world.step(3600)
    assert world.first.rejected is not None
    assert world.first.rejected.reason == "NotReady"


def test_a_report_from_before_a_revision_is_no_reason_to_go_on() -> None:
    """The monitor's pod may be slow to see it, or still be starting."""
    world = canary()
    for _ in range(10):
        world.measured(r1={}).step(30)
    assert world.percent == 10
    assert world.message("Ready").endswith("has not seen the new revision yet")


def test_nothing_is_found_out_about_a_foreign_server() -> None:
    world = canary()
    foreign = {"state": "Unknown", "reason": "NoMetrics"}
    world.wait(70, r1={}, r2=foreign)
    assert world.percent == 100


def test_a_canary_that_hangs_is_given_up() -> None:
    world = canary()
    hangs = {"state": "Unknown", "reason": "RequestsPending", "message": "9 wait"}
    world.interval(r1={}, r2=hangs).interval(r1={}, r2=hangs)
    assert world.first.rejected is not None
    assert world.first.rejected.message == "ready: 9 wait"


def test_queries_decide_too() -> None:
    check = {"name": "revenue", "prometheus": {"query": "x", "min": "3"}}
    world = canary(checks=[check])
    for value in (5.0, 2.0, 2.0):
        world.queries = {("main", "revenue"): value}
        world.interval(r1={}, r2={})
    assert world.first.rejected is not None
    assert world.first.rejected.message == "revenue: the query gives 2, below 3"


def test_without_auto_rollback_a_person_decides() -> None:
    world = canary(autoRollback=False)
    for _ in range(20):
        world.interval(r1={}, r2={"errorRatio": 1.0})
    assert (world.percent, world.revision) == (10, "r1")
    world.rollback = "r2"
    world.step()
    assert world.first.rejected is not None
    assert world.first.rejected.reason == "Aborted"


def test_a_canary_without_pods_gets_no_traffic_and_is_given_up() -> None:
    world = canary()
    world.ready("ep-main-r2", 0).step()
    assert world.traffic() == {"ep-main-r1": 10000}
    world.interval(r1={}, r2={}).interval(r1={}, r2={})
    assert world.first.rejected is not None
    assert world.first.rejected.message.startswith("ready: ")


def test_a_revision_that_never_gets_ready_is_given_up_in_time() -> None:
    world = EndpointWorld(rollout={"maxDurationSeconds": 60}).up()
    why = Blocked("ImagePullFailed", "no such image")
    world.wants("main", "r2").step().kserve(ready=False)
    world.ready("ep-main-r1").ready("ep-main-r2", 0, why).step()
    assert world.condition("Ready") == ("False", "ImagePullFailed")
    assert world.traffic() == {"ep-main-r1": 10000}
    world.step(60)
    assert world.first.rejected is not None
    assert "no such image" in world.first.rejected.message


def test_a_model_that_was_changed_is_given_up_at_once() -> None:
    world = EndpointWorld().up()
    why = Blocked("DigestMismatch", "it was changed", permanent=True)
    world.wants("main", "r2").step().kserve(ready=False)
    world.ready("ep-main-r1").ready("ep-main-r2", 0, why).step()
    assert world.condition("RolledBack") == ("True", "DigestMismatch")
    assert world.traffic() == {"ep-main-r1": 10000}


def test_a_first_model_that_cannot_be_served_is_a_persons_to_mend() -> None:
    world = EndpointWorld().step().kserve(ready=False)
    world.ready("ep-main-r1", 0, Blocked("DigestMismatch", "it was changed", permanent=True)).step()
    assert world.condition("Stalled") == ("True", "DigestMismatch")
    assert world.status.phase == "Failed"
    world.kserve().step()
    assert world.condition("Ready")[0] == "True"


def test_a_model_that_may_not_be_used_leaves_the_old_one_in_place() -> None:
    world = EndpointWorld().up()
    world.targets["main"] = Blocked("ModelNotApproved", "not approved; approve it")
    world.step()
    assert world.condition("Ready") == ("False", "ModelNotApproved")
    assert world.condition("VariantsReady")[0] == "True"
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.decision.requeue == 10


def test_a_spec_that_returns_ends_the_rollout() -> None:
    world = canary()
    world.wants("main", "r1").step()
    assert world.traffic() == {"ep-main-r1": 10000}
    assert world.condition("Ready")[0] == "True"
    assert [one.served.revision for one in world.status.retired] == ["r2"]


def test_a_revision_that_still_runs_is_returned_to_at_once() -> None:
    world = EndpointWorld(rollout={"bakeSeconds": 0, "keepPreviousSeconds": 300}).up()
    world.wants("main", "r2").step().kserve().step()
    assert world.revision == "r2"
    world.wants("main", "r1").step(100)
    assert (world.revision, world.percent) == ("r1", None)
    assert [one.served.revision for one in world.status.retired] == ["r2"]


def test_a_person_can_undo_a_finished_rollout() -> None:
    world = EndpointWorld(rollout={"bakeSeconds": 0, "keepPreviousSeconds": 300}).up()
    world.wants("main", "r2").step().kserve().step()
    world.rollback = "r2"
    world.step()
    assert world.revision == "r1"
    assert world.condition("RolledBack") == ("True", "Aborted")
    world.kserve().step(60)
    assert world.traffic() == {"ep-main-r1": 10000}


def test_a_third_revision_replaces_the_second() -> None:
    world = canary()
    world.wants("main", "r3").step()
    assert world.traffic() == {"ep-main-r1": 10000}
    world.kserve().step()
    assert world.traffic() == {"ep-main-r1": 9000, "ep-main-r3": 1000}


def test_a_split_needs_a_gateway() -> None:
    world = EndpointWorld(rollout=CANARY)
    world.gateway = GatewayView(Blocked("NoGateway", "there is no Gateway"))
    world.route = None
    world.up()
    assert world.condition("RouteReady") == ("True", "ServiceOnly")
    assert world.condition("Ready")[0] == "True"
    world.wants("main", "r2").step().kserve().step()
    assert world.percent == 0
    assert "takes a Gateway" in world.message("Ready")


def test_one_variant_is_replaced_without_a_gateway() -> None:
    world = EndpointWorld(rollout={"bakeSeconds": 0})
    world.gateway = GatewayView(Blocked("NoGateway", "there is no Gateway"))
    world.up().wants("main", "r2").step().kserve().step()
    assert world.revision == "r2"


def test_variants_without_a_gateway_are_told_what_to_do() -> None:
    world = EndpointWorld(variant("a"), variant("b"))
    world.gateway = GatewayView(Blocked("NoGateway", "there is none; set routing.gatewayRef"))
    world.up()
    assert world.condition("RouteReady") == ("False", "NoGateway")
    assert world.condition("RoutingDegraded")[0] == "True"
    assert "set routing.gatewayRef" in world.message("RoutingDegraded")


def test_what_a_gateway_cannot_do_is_told() -> None:
    world = EndpointWorld(variant("a"), variant("b", role="Shadow", mirrorPercent=50))
    world.gateway = GatewayView(features=frozenset({"HTTPRoutePathRewrite"}), host="h")
    world.up()
    assert world.condition("RoutingDegraded") == ("True", "FeatureMissing")
    assert "HTTPRouteRequestPercentageMirror" in world.message("RoutingDegraded")
    assert world.condition("Ready")[0] == "True"
    assert world.status.phase == "Degraded"


def test_a_route_that_is_refused_is_no_success() -> None:
    world = EndpointWorld().up()
    world.route = RouteView(False, "no matching listener")
    world.step()
    assert world.condition("Ready") == ("False", "NotAccepted")
    assert "no matching listener" in world.message("Ready")


def test_a_variant_that_is_taken_out_drains() -> None:
    world = EndpointWorld(variant("a"), variant("b")).up()
    world.spec = world.parsed({"variants": [variant("a")]})
    del world.targets["b"]
    world.step()
    assert world.traffic() == {"ep-a-r1": 10000}
    assert [one.served.inference_service for one in world.status.retired] == ["ep-b-r1"]
    world.step(31)
    assert world.services() == {"ep-a-r1"}


def test_a_variant_that_comes_back_is_kept() -> None:
    world = EndpointWorld(variant("a"), variant("b")).up()
    both, world.spec = world.spec, world.parsed({"variants": [variant("a")]})
    world.step()
    world.spec = both
    world.step().step(40)
    assert world.services() == {"ep-a-r1", "ep-b-r1"}
    assert world.traffic() == {"ep-a-r1": 10000, "ep-b-r1": 10000}


def test_an_idle_endpoint_keeps_its_revision_and_no_rollout() -> None:
    world = canary()
    world.spec = world.parsed({**world.spec.wire(), "suspend": True})
    world.step()
    assert world.status.phase == "Suspended"
    assert (world.revision, world.percent) == ("r1", None)
    world.spec = world.parsed({**world.spec.wire(), "suspend": False})
    world.step(10_000).kserve().step()
    assert world.traffic() == {"ep-main-r1": 9000, "ep-main-r2": 1000}


def test_a_new_revision_must_be_as_large_as_the_old_one() -> None:
    world = EndpointWorld(autoscaling={"max": 8}, rollout={"bakeSeconds": 0}).up()
    world.views["ep-main-r1"] = world.views["ep-main-r1"].__class__("ep-main-r1", "u", 6, 6)
    world.wants("main", "r2").step().kserve(ready=False)
    world.ready("ep-main-r2", 1).step()
    assert world.traffic() == {"ep-main-r1": 10000}
    world.ready("ep-main-r2", 6).step()
    assert world.revision == "r2"


def test_weights_divide_among_those_that_are_ready() -> None:
    weights = {"a": 80, "b": 20, "c": 0}
    world = EndpointWorld(*[variant(name, weight=number) for name, number in weights.items()]).up()
    assert world.traffic() == {"ep-a-r1": 8000, "ep-b-r1": 2000}
    assert world.status.weights == "a:80,b:20"
    world.ready("ep-a-r1", 0).step()
    assert world.traffic() == {"ep-b-r1": 2000}
    assert world.status.weights == "b:100"
    assert world.condition("VariantsReady") == ("False", "NotReady")
    world.ready("ep-b-r1", 0).step()
    assert world.traffic() == {}


def test_what_is_refused_is_told_and_nothing_else_stops() -> None:
    world = EndpointWorld().up()
    world.blocked = Blocked("Forbidden", "exceeded quota")
    world.scaling = {"ep-main-r1": Blocked("FailedGetResourceMetric", "no metrics")}
    world.step()
    assert world.condition("Ready") == ("False", "Forbidden")
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("AutoscalingReady") == ("False", "FailedGetResourceMetric")
    assert world.traffic() == {"ep-main-r1": 10000}
    world.blocked = Blocked("Invalid", "spec: wrong", permanent=True)
    world.step()
    assert world.condition("Stalled") == ("True", "Invalid")
    world.blocked, world.scaling = None, {}
    world.step()
    assert world.condition("Ready")[0] == "True"
