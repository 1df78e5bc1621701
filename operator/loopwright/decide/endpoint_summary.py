"""The parts of an endpoint's status that follow from the rest: conditions, phase, weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from loopwright.api import names
from loopwright.api.conditions import MAX_MESSAGE
from loopwright.api.modelendpoint import KIND, ModelEndpointSpec, Variant
from loopwright.api.modelendpoint_status import (
    EndpointPhase,
    ModelEndpointStatus,
    Served,
    VariantStatus,
)
from loopwright.decide import capture, experiment, monitoring, routing
from loopwright.decide.conditions import Claim, merged
from loopwright.decide.endpoint_types import Seen
from loopwright.decide.routing import RoutePlan
from loopwright.decide.traffic import Backend, Claimant, backends, percentages
from loopwright.decide.types import Blocked

GOOD = "AsExpected"


@dataclass(frozen=True)
class Summary:
    """A status with everything derived brought up to date."""

    status: ModelEndpointStatus
    conditions_hold: bool
    """Whether there is nothing to wait for."""


def claimants(
    spec: ModelEndpointSpec,
    status: ModelEndpointStatus,
    *,
    held: bool = True,
    promoted: bool = True,
) -> list[Claimant]:
    """Who wants traffic, in the spec's order.

    Args:
        held: Whether monitors may cut weights.
        promoted: Whether the winner of an experiment may get all.
    """
    by_name = {variant.name: variant for variant in status.variants}
    winner = status.experiment.promoted if promoted and status.experiment is not None else ""
    return [
        Claimant.of(
            by_name[one.name],
            _weight(one, by_name[one.name], held) if winner in ("", one.name) else 0,
            spares(status, one.name),
        )
        for one in spec.variants
        if one.name in by_name
    ]


def _weight(wanted: Variant, variant: VariantStatus, held: bool) -> int:
    cut = variant.held.weight if held and variant.held is not None else wanted.share
    return min(wanted.share, cut)


def shared(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, ready: Collection[str]
) -> list[Backend]:
    """Who gets traffic. A weight that was cut counts again when nobody else is ready."""
    for held, promoted in ((True, True), (True, False), (False, False)):
        found = backends(claimants(spec, status, held=held, promoted=promoted), ready)
        if found:
            return found
    return []


def spares(status: ModelEndpointStatus, variant: str) -> list[str]:
    """Revisions of a variant that were in use before and still run, the newest first."""
    found = [one for one in status.retired if one.variant == variant and one.proven]
    return [one.served.inference_service for one in reversed(found)]


def summarize(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> Summary:
    """The status with conditions, phase and what people read."""
    plan = routing.plan(spec, seen)
    ready = {name for name, view in seen.views.items() if view.serves}
    shares = percentages(shared(spec, status, ready))
    variants = [
        _variant(spec, one, status, seen, shares.get(one.name, 0), now) for one in status.variants
    ]
    status = status.model_copy(update={"variants": variants})
    claims = _claims(spec, status, seen, plan) | capture.claims(spec, status, seen, now)
    phase = _phase(spec, status, claims)
    first = claims["Ready"]
    update = {
        "observed_generation": seen.generation,
        "phase": phase,
        "conditions": merged(status.conditions, claims, seen.generation, now),
        "url": routing.url(spec, seen) if plan.routed else None,
        "internal_url": f"http://{seen.endpoint}.{seen.namespace}.svc",
        "weights": ",".join(f"{name}:{share}" for name, share in shares.items()),
        "rollout": ",".join(f"{v.name}:{v.rollout.percent}%" for v in variants if v.rollout),
        "replicas": sum(variant.replicas for variant in variants),
        "selector": f"{names.LABEL_KIND}={KIND},{names.LABEL_NAME}={seen.endpoint}",
    }
    held = first.holds and claims["AutoscalingReady"].holds
    return Summary(status.model_copy(update=update), held or spec.suspend)


def _variant(
    spec: ModelEndpointSpec,
    variant: VariantStatus,
    status: ModelEndpointStatus,
    seen: Seen,
    share: int,
    now: datetime,
) -> VariantStatus:
    wanted = next(one for one in spec.variants if one.name == variant.name)
    runs = [*_revisions(variant), *spares(status, variant.name)]
    ready = sum(seen.views[one].ready for one in runs if one in seen.views)
    why = _wrong(variant, seen) if not spec.suspend else Blocked("Suspended", "")
    reason, message = (why.reason, why.message[:MAX_MESSAGE]) if why else ("", "")
    update = {
        "ready": any(one in seen.views and seen.views[one].serves for one in runs),
        "replicas": ready,
        "desired_weight": wanted.share,
        "current_weight": share if wanted.serving else (wanted.mirror_percent or 100),
        "reason": reason,
        "message": message,
        "since": variant.since if reason == variant.reason and variant.since else now,
    }
    return variant.model_copy(update=update)


def _revisions(variant: VariantStatus) -> list[str]:
    return [one.inference_service for one in (variant.serving, variant.next) if one]


def _wrong(variant: VariantStatus, seen: Seen) -> Blocked | None:
    """What is the matter with a variant, the most important first."""
    target = seen.targets[variant.name]
    if isinstance(target, Blocked):
        return target
    if variant.rejected is not None:
        kept = variant.serving.revision if variant.serving else "none"
        text = (
            f"revision {variant.rejected.revision} was rolled back ({variant.rejected.reason}):"
            f" {variant.rejected.message}; revision {kept} serves; change the spec to try again"
        )
        return Blocked("RolledBack", text, permanent=True)
    if variant.rollout is not None:
        reason = "RollingOut" if variant.serving else "Creating"
        problem = _problem(variant.next, seen)
        if problem is not None and variant.rollout.step == 0:
            return problem
        return Blocked(reason, variant.rollout.message)
    if not seen.serves(variant.serving):
        return _problem(variant.serving, seen) or Blocked("NotReady", "its pods are not ready")
    return None


def _problem(served: Served | None, seen: Seen) -> Blocked | None:
    view = seen.views.get(served.inference_service) if served else None
    return view.problem if view is not None else None


def _claims(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, plan: RoutePlan
) -> dict[str, Claim]:
    claims = {
        "VariantsReady": _variants_ready(status),
        "RouteReady": _route_ready(spec, seen, plan),
        "RolloutComplete": _rollout_complete(status, seen),
        "RolledBack": _rolled_back(status),
        "RoutingDegraded": _degraded(plan),
        "AutoscalingReady": _autoscaling(status, seen),
        **monitoring.claims(spec.monitors, status.monitors),
        **experiment.claims(status.experiment),
    }
    stalled = _stalled(status, seen)
    order = ("VariantsReady", "RolloutComplete", "RouteReady")
    wrong = [claims[name] for name in order if not claims[name].holds]
    if spec.suspend:
        ready = Claim(False, "Suspended", "spec.suspend is set")
        busy = stalled = None
    elif seen.blocked is not None:
        ready = Claim(False, seen.blocked.reason, seen.blocked.message)
        busy = ready
    elif wrong:
        ready = busy = wrong[0]
    else:
        ready, busy = Claim(True, "Serving", "every variant serves what the spec says"), None
    if stalled is not None:
        ready, busy = Claim(False, stalled.reason, stalled.message), None
    claims["Ready"] = ready
    claims["Reconciling"] = Claim(
        busy is not None, busy.reason if busy else GOOD, busy.message if busy else ""
    )
    claims["Stalled"] = Claim(
        stalled is not None,
        stalled.reason if stalled else GOOD,
        stalled.message if stalled else "",
    )
    return claims


def _stalled(status: ModelEndpointStatus, seen: Seen) -> Blocked | None:
    """What only a person can change."""
    if seen.blocked is not None:
        return seen.blocked if seen.blocked.permanent else None
    for variant in status.variants:
        why = _wrong(variant, seen)
        if why is not None and why.permanent:
            return Blocked(why.reason, f"variant {variant.name}: {why.message}")
    return None


def _variants_ready(status: ModelEndpointStatus) -> Claim:
    for variant in status.variants:
        if not variant.ready:
            reason = variant.reason or "NotReady"
            return Claim(False, reason, f"variant {variant.name}: {variant.message}")
    return Claim(True, GOOD)


def _route_ready(spec: ModelEndpointSpec, seen: Seen, plan: RoutePlan) -> Claim:
    if plan.problem is not None:
        alone = not plan.lacking and not seen.gateway.asked
        text = plan.problem.message
        if alone:
            return Claim(True, "ServiceOnly", f"reachable within the cluster; {text}")
        need = f"{plan.lacking[0]}; " if plan.lacking else ""
        return Claim(False, plan.problem.reason, f"{need}{text}")
    if seen.route is None:
        return Claim(False, "Pending", "the route is made once a variant is ready")
    if seen.route.accepted is None:
        return Claim(False, "Pending", "the Gateway has not accepted the route yet")
    if not seen.route.accepted:
        return Claim(False, "NotAccepted", f"the Gateway refuses the route: {seen.route.message}")
    return Claim(True, "Accepted")


def _rollout_complete(status: ModelEndpointStatus, seen: Seen) -> Claim:
    for variant in status.variants:
        target = seen.targets[variant.name]
        if isinstance(target, Blocked):
            return Claim(False, target.reason, f"variant {variant.name}: {target.message}")
        if variant.rejected is not None:
            return Claim(False, "RolledBack", f"variant {variant.name}: {variant.message}")
        if variant.rollout is not None:
            reason = "ChecksFailing" if variant.rollout.failing else variant.reason
            return Claim(False, reason, f"variant {variant.name}: {variant.message}")
    return Claim(True, "Completed")


def _rolled_back(status: ModelEndpointStatus) -> Claim:
    for variant in status.variants:
        if variant.rejected is not None:
            text = f"variant {variant.name}: revision {variant.rejected.revision}:"
            return Claim(True, variant.rejected.reason, f"{text} {variant.rejected.message}")
    return Claim(False, GOOD)


def _degraded(plan: RoutePlan) -> Claim:
    if plan.problem is not None and plan.lacking:
        return Claim(True, plan.problem.reason, f"{plan.lacking[0]}: {plan.problem.message}")
    if plan.lacking:
        return Claim(True, "FeatureMissing", "; ".join(plan.lacking))
    return Claim(False, GOOD)


def _autoscaling(status: ModelEndpointStatus, seen: Seen) -> Claim:
    for variant in status.variants:
        for service in _revisions(variant):
            if service in seen.scaling:
                found = seen.scaling[service]
                return Claim(False, found.reason, f"variant {variant.name}: {found.message}")
    return Claim(True, GOOD)


def _phase(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, claims: dict[str, Claim]
) -> EndpointPhase:
    served: Sequence[bool] = [variant.ready for variant in status.variants]
    if spec.suspend:
        return EndpointPhase.SUSPENDED
    if claims["Ready"].holds:
        return EndpointPhase.DEGRADED if claims["RoutingDegraded"].holds else EndpointPhase.READY
    if claims["Stalled"].holds:
        return EndpointPhase.DEGRADED if any(served) else EndpointPhase.FAILED
    if any(variant.rollout and variant.serving for variant in status.variants):
        return EndpointPhase.ROLLING_OUT
    if any(variant.serving for variant in status.variants):
        begins = all(served) and claims["Ready"].reason == "Pending"
        return EndpointPhase.CREATING if begins else EndpointPhase.DEGRADED
    started = any(variant.next for variant in status.variants)
    return EndpointPhase.CREATING if started else EndpointPhase.PENDING
