"""Reads what an endpoint's decisions are made from: its children, its models, its monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from loopwright.api import names
from loopwright.api.endpoint_report import MAX_REPORT_BYTES, EndpointReport
from loopwright.api.modelendpoint import Variant
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Served
from loopwright.api.registry import UNSAFE_FORMATS
from loopwright.api.resources import (
    DEPLOYMENT,
    HPA,
    HTTPROUTE,
    INFERENCESERVICE,
    POD,
    SCALEDOBJECT,
    Key,
)
from loopwright.decide import checks
from loopwright.decide.endpoint_types import RevisionView, RouteView, Seen
from loopwright.decide.modelref import Resolved, resolve
from loopwright.decide.scaling import least
from loopwright.decide.types import Blocked
from loopwright.desired.autoscaling import filled
from loopwright.desired.endpoint import EndpointContext, ModelSource, pod_selector
from loopwright.desired.inferenceservice import digest, own_server
from loopwright.reconcile import gateway, monitoring, pods
from loopwright.reconcile.children import owners
from loopwright.reconcile.context import Context
from loopwright.reconcile.models import lookups

Object = dict[str, Any]
# Shorter DNS labels could not tell endpoints apart.
LEAST_NAME: Final = 12


async def observe(
    ctx: Context, key: Key, obj: Object, status: ModelEndpointStatus, endpoint: EndpointContext
) -> tuple[Seen, dict[str, ModelSource]]:
    """What is there; and each variant's model, where it is known."""
    models = {one.name: _model(ctx, key, endpoint, one) for one in endpoint.spec.variants}
    targets = {one.name: _target(endpoint, one, models[one.name]) for one in endpoint.spec.variants}
    views = await _views(ctx, key, endpoint, status)
    annotations = obj["metadata"].get("annotations") or {}
    known = {name: one for name, one in models.items() if isinstance(one, ModelSource)}
    asked = endpoint.spec.experiment is not None
    trained = monitoring.trained_by(ctx, key, known) if endpoint.spec.monitors else {}
    seen = Seen(
        endpoint=key.name,
        namespace=key.namespace,
        generation=obj["metadata"]["generation"],
        targets=targets,
        views=views,
        report=_report(ctx, key, endpoint.uid),
        verdicts=monitoring.verdicts(ctx, key, endpoint.uid),
        capture=monitoring.captured(ctx, key, endpoint.uid),
        experiment=monitoring.experiment(ctx, key, endpoint.uid) if asked else None,
        jobs=monitoring.jobs(ctx, key, endpoint.spec, status, trained),
        trained_by=trained,
        queries=await _queries(ctx, endpoint, status),
        gateway=await gateway.look_up(ctx, key, endpoint.spec),
        route=_route(ctx, key, endpoint),
        scaling=_scaling(ctx, key, endpoint),
        drain_seconds=ctx.settings.drain_seconds,
        promote=annotations.get(names.ANNOTATION_PROMOTE, ""),
        rollback=annotations.get(names.ANNOTATION_ROLLBACK, ""),
    )
    return seen, known


def _model(
    ctx: Context, key: Key, endpoint: EndpointContext, variant: Variant
) -> ModelSource | Blocked:
    asked = endpoint.spec.require_approval
    required = ctx.settings.require_approval if asked is None else asked
    found = resolve(variant.model, lookups(ctx, key.namespace), require_approval=required)
    if isinstance(found, Blocked):
        return found
    return _usable(variant, found)


def _usable(variant: Variant, found: Resolved) -> ModelSource | Blocked:
    model = ModelSource(found.uri, found.format, found.digest, found.secret, found.version)
    if found.format in UNSAFE_FORMATS and not found.allow_unsafe:
        text = (
            f"format {found.format} can run code when it is loaded; export the model as onnx, or"
            " register it with allowUnsafe: true"
        )
        return Blocked("UnsafeFormat", text, permanent=True)
    stock = not own_server(variant, model) and variant.runtime.image is None
    if stock and model.secret is not None:
        text = (
            "KServe's own servers cannot be given a Secret for S3; put the model on a claim, export"
            " it as onnx, or set runtime.image"
        )
        return Blocked("CredentialsUnsupported", text, permanent=True)
    return model


def _target(
    endpoint: EndpointContext, variant: Variant, model: ModelSource | Blocked
) -> Served | Blocked:
    if isinstance(model, Blocked):
        return model
    revision = digest(endpoint, variant, model)
    parts = (endpoint.namespace, endpoint.name, variant.name, revision)
    name = names.inference_service_name(*parts)
    if len(name) < min(LEAST_NAME, len("-".join(parts[1:]))):
        text = f"namespace '{endpoint.namespace}' leaves no room for names of InferenceServices"
        return Blocked("NameTooLong", f"{text}; use one of at most 38 characters", permanent=True)
    return Served(
        revision=revision,
        inference_service=name,
        model_version=model.version,
        uri=model.uri,
        digest=model.digest,
        verified=own_server(variant, model) and model.digest is not None,
    )


async def _views(
    ctx: Context, key: Key, endpoint: EndpointContext, status: ModelEndpointStatus
) -> dict[str, RevisionView]:
    """The endpoint's InferenceServices; why one lacks pods is looked up only when it does."""
    wanted = {
        one.inference_service: variant.name
        for variant in status.variants
        for one in (variant.serving, variant.next)
        if one is not None
    }
    variants = {one.name: one for one in endpoint.spec.variants}
    views = {}
    for service in ctx.cache.children(key, INFERENCESERVICE.kind):
        if endpoint.uid not in owners(service):
            continue
        meta = service["metadata"]
        name = meta["name"]
        deployment = _deployment(ctx, key, service)
        view = _view(service, deployment)
        variant = variants.get(wanted.get(name, ""))
        short = variant is not None and view.ready < max(
            view.desired, least(endpoint.spec, variant)
        )
        if short and not endpoint.spec.suspend:
            found = [pod async for pod in _pods(ctx, key.namespace, name)]
            why = pods.problem(found, deployment, service)
            view = RevisionView(**{**vars(view), "problem": why})
        views[name] = view
    return views


def _deployment(ctx: Context, key: Key, service: Object) -> Object | None:
    """What KServe made for an InferenceService, and not for another of the same name before."""
    name = names.predictor_name(service["metadata"]["name"])
    found = ctx.cache.get(Key(DEPLOYMENT.kind, key.namespace, name))
    if found is None or service["metadata"]["uid"] not in owners(found):
        return None
    return found


def _view(service: Object, deployment: Object | None) -> RevisionView:
    meta = service["metadata"]
    status = (deployment or {}).get("status") or {}
    return RevisionView(
        inference_service=meta["name"],
        uid=meta["uid"],
        desired=desired(deployment),
        ready=status.get("availableReplicas", 0),
        deleting="deletionTimestamp" in meta,
    )


def desired(deployment: Object | None) -> int:
    """Replicas that a Deployment should have."""
    found: int = (deployment.get("spec") or {}).get("replicas", 1) if deployment else 0
    return found


async def _pods(ctx: Context, namespace: str, service: str) -> Any:
    selector = ",".join(f"{name}={value}" for name, value in pod_selector(service).items())
    async for page in ctx.client.pages(POD, namespace, selector):
        for pod in page["items"]:
            yield pod


def _report(ctx: Context, key: Key, uid: str) -> EndpointReport | None:
    """The monitor's report, if it is of this endpoint and recent. Anyone in its pod may write."""
    found = monitoring.mail(ctx, key, uid, names.REPORT_KEY, MAX_REPORT_BYTES, EndpointReport)
    return found if found is not None and found.current(ctx.now()) else None


async def _queries(
    ctx: Context, endpoint: EndpointContext, status: ModelEndpointStatus
) -> dict[tuple[str, str], float | None]:
    """Results of PromQL checks whose interval is over."""
    policy = endpoint.spec.rollout
    asked = {
        (variant, check.name): filled(
            check.prometheus.query, endpoint, variant, revision, policy.check_seconds
        )
        for variant, revision in _due(ctx, endpoint, status)
        for check in policy.checks
        if check.prometheus is not None
    }
    found = await asyncio.gather(*(ctx.prometheus.query(text) for text in asked.values()))
    return dict(zip(asked, found, strict=True))


def _due(
    ctx: Context, endpoint: EndpointContext, status: ModelEndpointStatus
) -> Iterator[tuple[str, str]]:
    interval = timedelta(seconds=endpoint.spec.rollout.check_seconds)
    for variant in status.variants:
        rollout = variant.rollout
        if rollout is None or rollout.checked_until is None:
            continue
        # A little early: what the monitor says may be dated before now, and never after.
        if ctx.now() - rollout.checked_until >= interval:
            yield variant.name, rollout.to


def _route(ctx: Context, key: Key, endpoint: EndpointContext) -> RouteView | None:
    found = ctx.cache.get(Key(HTTPROUTE.kind, key.namespace, key.name))
    if found is None or endpoint.uid not in owners(found):
        return None
    ref = gateway.reference(ctx, key, endpoint.spec)
    wanted = (ref.name, ref.namespace) if ref is not None else None
    for parent in (found.get("status") or {}).get("parents") or ():
        where = parent["parentRef"]
        if (where["name"], where.get("namespace", key.namespace)) == wanted:
            return _accepted(parent.get("conditions") or ())
    return RouteView(None)


def _accepted(conditions: Iterable[Object]) -> RouteView:
    told = {one["type"]: one for one in conditions}
    for name in ("Accepted", "ResolvedRefs"):
        one = told.get(name)
        if one is not None and one["status"] == "False":
            return RouteView(False, one.get("message") or one.get("reason", ""))
    return RouteView(True if "Accepted" in told else None)


def _scaling(ctx: Context, key: Key, endpoint: EndpointContext) -> dict[str, Blocked]:
    """What autoscalers complain about, by InferenceService, which they are named after."""
    found = {}
    for kind, condition in ((HPA.kind, "ScalingActive"), (SCALEDOBJECT.kind, "Ready")):
        for scaler in ctx.cache.children(key, kind):
            told = {
                one["type"]: one for one in (scaler.get("status") or {}).get("conditions") or ()
            }
            said = told.get(condition)
            # Nothing is to be scaled while there are no pods.
            if said is not None and said["status"] == "False" and said.get("reason") != DISABLED:
                text = said.get("message") or said.get("reason", "")
                name = scaler["metadata"]["name"]
                found[name] = Blocked(said.get("reason") or "NotActive", text)
    return found


DISABLED: Final = "ScalingDisabled"


def needs_monitor(endpoint: EndpointContext, status: ModelEndpointStatus) -> bool:
    """Whether somebody has to watch: checks of a rollout, a Shadow's owner, monitors, capture, or
    an experiment, whose report stays when it is over."""
    capture = endpoint.spec.data_capture
    if endpoint.spec.suspend:
        # What was captured gets old all the same.
        return capture is not None and capture.retention_days is not None
    if capture is not None or endpoint.spec.monitors or endpoint.spec.experiment is not None:
        return True
    if any(not variant.serving for variant in endpoint.spec.variants):
        return True
    goes_on = any(
        variant.rollout is not None and variant.serving is not None and variant.next is not None
        for variant in status.variants
    )
    return goes_on and checks.needs_monitor(endpoint.spec.rollout)
