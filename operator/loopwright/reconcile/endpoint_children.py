"""What an endpoint consists of, given its status; and bringing about that it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loopwright.api import names
from loopwright.api.delivery import Autoscaling
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.experiment_report import ExperimentConfig
from loopwright.api.experiment_status import ExperimentState
from loopwright.api.modelendpoint import Variant
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Served
from loopwright.api.resources import (
    BUDGET,
    CONFIGMAP,
    DEPLOYMENT,
    HPA,
    HTTPROUTE,
    INFERENCESERVICE,
    MODELENDPOINT,
    NETWORKPOLICY,
    PROMETHEUSRULE,
    REVISION,
    ROLEBINDING,
    SCALEDOBJECT,
    Key,
)
from loopwright.decide import experiment, routing, scaling
from loopwright.decide.endpoint_summary import claimants, shared
from loopwright.decide.endpoint_types import JobView, Seen
from loopwright.decide.traffic import Backend, Claimant, backends
from loopwright.decide.types import Blocked
from loopwright.desired import autoscaling, capture, httproute, monitor, network, quality
from loopwright.desired import inferenceservice as isvc
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.kube.errors import ApiError, Invalid, KindMissing
from loopwright.reconcile import alerts, gateway, monitoring
from loopwright.reconcile.agree import agree, remove
from loopwright.reconcile.children import owners
from loopwright.reconcile.context import Context
from loopwright.reconcile.endpoint_observe import desired, needs_monitor

Object = dict[str, Any]
Manifest = dict[str, Any]

# What is deleted when it is not wanted any more.
REMOVED = (INFERENCESERVICE, REVISION, HTTPROUTE, HPA, SCALEDOBJECT, BUDGET, NETWORKPOLICY)
# Why an endpoint is to have no route.
UNROUTED = frozenset({"NoGateway", "RouteConflict", "GatewayUnable"})
SCALERS = frozenset({HPA.kind, SCALEDOBJECT.kind})
# What an endpoint serves without.
OPTIONAL = SCALERS | {PROMETHEUSRULE.kind}
REMEDIES = {
    INFERENCESERVICE.kind: "InferenceService is unknown to this cluster; install KServe",
    SCALEDOBJECT.kind: "ScaledObject is unknown to this cluster; install KEDA, or set mode: HPA",
    HTTPROUTE.kind: "HTTPRoute is unknown to this cluster; install the Gateway API's CRDs",
}


@dataclass(frozen=True)
class Refusals:
    """What could not be brought about."""

    blocked: Blocked | None = None
    """The first thing that the endpoint cannot do without."""
    scaling: Mapping[str, Blocked] | None = None
    """By InferenceService."""
    jobs: Mapping[str, JobView] = field(default_factory=dict)
    """TrainingJobs that monitors wanted."""


@dataclass(frozen=True)
class Wanted:
    """One revision that there is to be."""

    served: Served
    variant: str
    spec: Variant | None
    """None when the variant is gone from the spec."""
    retired: bool
    least: int


async def bring_about(
    ctx: Context,
    key: Key,
    endpoint: EndpointContext,
    status: ModelEndpointStatus,
    seen: Seen,
    models: Mapping[str, ModelSource],
) -> Refusals:
    """Makes what the status says, restores what somebody changed, and deletes what is left over.

    Raises:
        ApiError: a request failed that is worth trying again soon.
    """
    wanted = list(_wanted(endpoint, status, seen))
    scalers, refused = _scalers(endpoint, wanted)
    groups = [
        [*_capture(ctx, key, endpoint), *_policy(ctx, endpoint, wanted)],
        *_revisions(ctx, key, endpoint, wanted, seen, models),
        [*_route(ctx, key, endpoint, status, seen), *_budgets(endpoint, wanted), *scalers],
        *_monitor(ctx, endpoint, status),
        alerts.rules(ctx, endpoint),
    ]
    groups = [list(group) for group in groups]
    errors = await agree(ctx, MODELENDPOINT, key, endpoint.uid, groups)
    await _scale(ctx, key, endpoint, wanted, seen)
    problem = routing.plan(endpoint.spec, seen).problem
    no_route = problem is not None and problem.reason in UNROUTED
    await remove(ctx, endpoint.uid, _unwanted(ctx, key, groups, wanted, no_route=no_route))
    refused |= {
        name.name: _blocked(name, error) for name, error in errors.items() if name.kind in SCALERS
    }
    alerts.tell(ctx, key, errors)
    others = [_blocked(name, error) for name, error in errors.items() if name.kind not in OPTIONAL]
    jobs = await monitoring.start(ctx, key, status)
    return Refusals(others[0] if others else None, refused, jobs)


def _blocked(name: Key, error: ApiError) -> Blocked:
    if isinstance(error, KindMissing):
        return Blocked("DependencyMissing", REMEDIES.get(name.kind, error.message))
    text = f"{name.kind} '{name.name}': {error.message}"
    return Blocked(error.reason, text, permanent=isinstance(error, Invalid))


def _wanted(endpoint: EndpointContext, status: ModelEndpointStatus, seen: Seen) -> Iterator[Wanted]:
    specs = {one.name: one for one in endpoint.spec.variants}
    for variant in status.variants:
        spec = specs.get(variant.name)
        for served in (variant.serving, variant.next):
            if served is None:
                continue
            least = scaling.least(endpoint.spec, spec) if spec else 0
            if spec is not None and served is variant.next:
                least = scaling.floor(endpoint.spec, spec, variant, seen)
            yield Wanted(served, variant.name, spec, False, least)
    for one in status.retired:
        yield Wanted(one.served, one.variant, specs.get(one.variant), True, 0)


def _revisions(
    ctx: Context,
    key: Key,
    endpoint: EndpointContext,
    wanted: list[Wanted],
    seen: Seen,
    models: Mapping[str, ModelSource],
) -> tuple[list[Manifest], list[Manifest]]:
    """Records of revisions, and then the InferenceServices that are made from them."""
    records, services = [], []
    for one in wanted:
        made = _predictor(ctx, key, endpoint, one, seen, models)
        if made is not None:
            records.append(isvc.record(endpoint, one.variant, one.served, made))
            services.append(isvc.inference_service(endpoint, one.variant, one.served, made))
    return records, services


def _predictor(
    ctx: Context,
    key: Key,
    endpoint: EndpointContext,
    one: Wanted,
    seen: Seen,
    models: Mapping[str, ModelSource],
) -> Manifest | None:
    """What a revision is made from: as it was recorded, or as the spec says if it is that."""
    known = ctx.cache.get(Key(REVISION.kind, key.namespace, one.served.inference_service))
    if known is not None and endpoint.uid in owners(known):
        found: Manifest = known["data"]["predictor"]
        return found
    model, target = models.get(one.variant), seen.targets.get(one.variant)
    if one.spec is None or model is None or not isinstance(target, Served):
        return None
    if target.revision != one.served.revision:
        return None  # Nobody knows what it was. While its InferenceService is there, it serves.
    return isvc.predictor(endpoint, one.spec, model)


def _capture(ctx: Context, key: Key, endpoint: EndpointContext) -> list[Manifest]:
    """What pods are told to capture; also that it is nothing any more."""
    known = ctx.cache.get(Key(CONFIGMAP.kind, key.namespace, names.capture_name(key.name)))
    told = known is not None and endpoint.uid in owners(known)
    wanted = endpoint.spec.data_capture is not None
    return [capture.configmap(endpoint)] if wanted or told else []


def _policy(ctx: Context, endpoint: EndpointContext, wanted: list[Wanted]) -> list[Manifest]:
    """Before there is a pod that anybody could reach."""
    if not wanted or ctx.network is None:
        return []
    own = all(one.served.verified for one in wanted)
    return [network.servers(endpoint, ctx.network, own=own)]


def _scalers(
    endpoint: EndpointContext, wanted: list[Wanted]
) -> tuple[list[Manifest], dict[str, Blocked]]:
    """Autoscalers of revisions in use, and what those that cannot be made lack."""
    found, refused = [], {}
    for one in wanted:
        if one.spec is None or one.retired or endpoint.spec.suspend:
            continue
        policy = endpoint.spec.scaling(one.spec)
        if policy.mode == "KEDA" and _asks_prometheus(policy) and not endpoint.prometheus_url:
            text = "metrics prometheus and rps need the operator's LOOPWRIGHT_PROMETHEUS_URL"
            refused[one.served.inference_service] = Blocked("PrometheusMissing", text)
            continue
        made = autoscaling.autoscaler(endpoint, one.variant, one.served, policy, one.least)
        if made is not None:
            found.append(made)
    return found, refused


def _asks_prometheus(policy: Autoscaling) -> bool:
    return any(one.prometheus is not None or one.rps is not None for one in policy.metrics)


def _budgets(endpoint: EndpointContext, wanted: list[Wanted]) -> Iterator[Manifest]:
    for one in wanted:
        if one.spec is not None and not one.retired and one.least > 1:
            yield autoscaling.disruption_budget(endpoint, one.variant, one.served)


def _route(
    ctx: Context, key: Key, endpoint: EndpointContext, status: ModelEndpointStatus, seen: Seen
) -> Iterator[Manifest]:
    """The Service within the cluster and, with a Gateway, the HTTPRoute."""
    ready = {name for name, view in seen.views.items() if view.serves}
    asking = claimants(endpoint.spec, status)
    # While nobody is ready, what was there stays: as soon as pods are back they are reached.
    targets = shared(endpoint.spec, status, ready) or shared(endpoint.spec, status, seen.views)
    if not targets:
        return
    yield httproute.service(endpoint, max(targets, key=lambda one: one.weight).inference_service)
    plan = routing.plan(endpoint.spec, seen)
    ref = gateway.reference(ctx, key, endpoint.spec)
    tried = endpoint.spec.experiment
    if plan.routed and ref is not None and (ready or seen.route is not None):
        route = httproute.RouteContext(
            gateway=ref,
            path=routing.path(endpoint.spec, seen),
            targets=_targets(targets),
            of_variant=_of_variant(endpoint, asking, ready),
            hostnames=endpoint.spec.routing.hostnames,
            rules=endpoint.spec.routing.rules,
            sticky=endpoint.spec.routing.sticky if plan.sticky else None,
            mirror=_mirror(endpoint, asking, ready) if plan.mirror else None,
            timeout_seconds=endpoint.spec.routing.timeout_seconds if plan.timeout else None,
            feedback=tried is not None and tried.metric.feedback is not None,
        )
        yield httproute.httproute(endpoint, route)


def _of_variant(
    endpoint: EndpointContext, asking: list[Claimant], ready: set[str]
) -> dict[str, list[httproute.Target]]:
    """Who gets requests for one variant, also for one without a weight."""
    serving = {variant.name for variant in endpoint.spec.variants if variant.serving}
    able = [replace(one, weight=max(1, one.weight)) for one in asking if one.name in serving]
    return {one.name: _targets(found) for one in able if (found := backends([one], ready))}


def _targets(found: list[Backend]) -> list[httproute.Target]:
    return [httproute.Target(one.variant, one.inference_service, one.weight) for one in found]


def _mirror(
    endpoint: EndpointContext, asking: list[Claimant], ready: set[str]
) -> tuple[str, int] | None:
    """The Shadow's revision that gets copies, and how many."""
    for variant, claimant in zip(endpoint.spec.variants, asking, strict=False):
        if not variant.serving and (shares := claimant.shares(ready)):
            name, _ = max(shares, key=lambda one: one[1])
            return name, variant.mirror_percent or 100
    return None


def _monitor(
    ctx: Context, endpoint: EndpointContext, status: ModelEndpointStatus
) -> list[list[Manifest]]:
    if not needs_monitor(endpoint, status):
        return []
    policy = endpoint.spec.rollout
    config = MonitorConfig(
        endpoint=endpoint.name,
        namespace=endpoint.namespace,
        uid=endpoint.uid,
        report=names.observed_name(endpoint.name),
        interval_seconds=min(5.0, policy.check_seconds / 5),
        report_seconds=min(10.0, policy.check_seconds / 5),
        window_seconds=policy.check_seconds,
        min_requests=policy.min_requests,
        monitors=endpoint.spec.monitors,
        capture=endpoint.spec.data_capture is not None,
        experiment=_experiment(endpoint, status),
    )
    beside = [one for one in (capture.retention(endpoint), quality.joiner(endpoint)) if one]
    image, secrets = ctx.settings.operator_image, endpoint.pull_secrets
    made = monitor.monitor(monitor.MonitorContext(config, image, beside, secrets))
    access = monitor.monitor_access(endpoint.namespace)
    first = [one for one in access if one["kind"] != ROLEBINDING.kind]
    policies = [network.monitors(endpoint.namespace, ctx.network)] if ctx.network else []
    return [[*first, *policies, *made], [one for one in access if one not in first]]


def _experiment(endpoint: EndpointContext, status: ModelEndpointStatus) -> ExperimentConfig | None:
    """The attempt that is on record, if the spec still asks for it."""
    spec, known = endpoint.spec.experiment, status.experiment
    if spec is None or known is None or not known.run or known.started_at is None:
        return None
    if known.asked != experiment.asked(endpoint.spec):
        return None
    return ExperimentConfig(
        run=known.run,
        started_at=known.started_at,
        paused=known.state is ExperimentState.WAITING,
        arms=known.arms,
        # What follows from a win is not the monitor's business, and no reason for a new pod.
        experiment=spec.model_copy(update={"on_win": "Notify"}),
    )


async def _scale(
    ctx: Context, key: Key, endpoint: EndpointContext, wanted: list[Wanted], seen: Seen
) -> None:
    """Sets the replicas of Deployments that no autoscaler sees to."""
    for one in wanted:
        view = seen.views.get(one.served.inference_service)
        name = names.predictor_name(one.served.inference_service)
        deployment = ctx.cache.get(Key(DEPLOYMENT.kind, key.namespace, name))
        if view is None or deployment is None:
            continue
        # It may have come, or been scaled, since all was looked at.
        view = replace(view, desired=desired(deployment))
        number = scaling.replicas(endpoint.spec, one.spec, view, retired=one.retired)
        if number is not None:
            await ctx.client.scale(DEPLOYMENT, key.namespace, name, number)


def _unwanted(
    ctx: Context,
    key: Key,
    groups: list[list[Manifest]],
    wanted: list[Wanted],
    *,
    no_route: bool,
) -> dict[Key, Object]:
    kept = {(child["kind"], child["metadata"]["name"]) for group in groups for child in group}
    # One that could not be built again serves as it is.
    kept |= {
        (kind.kind, one.served.inference_service)
        for one in wanted
        for kind in (INFERENCESERVICE, REVISION)
    }
    if not no_route:
        # A Gateway that cannot be found right now is no reason to stop serving.
        kept.add((HTTPROUTE.kind, key.name))
    found = {
        Key(resource.kind, key.namespace, child["metadata"]["name"]): child
        for resource in REMOVED
        for child in ctx.cache.children(key, resource.kind)
        if (resource.kind, child["metadata"]["name"]) not in kept
    }
    watch = Key(DEPLOYMENT.kind, key.namespace, names.monitor_name(key.name))
    watcher = ctx.cache.get(watch)
    if watcher is not None and (watch.kind, watch.name) not in kept:
        found[watch] = watcher
    return found
