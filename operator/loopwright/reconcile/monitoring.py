"""What an endpoint's monitors say, and the jobs that they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.capture_report import MAX_CAPTURE_BYTES, CaptureReport
from loopwright.api.endpoint_report import MAX_VERDICTS_BYTES, EndpointReport, VerdictsReport
from loopwright.api.experiment_report import MAX_EXPERIMENT_BYTES, ExperimentReport
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.monitoring_status import RetrainOutcome, RetrainStatus, WindowVerdict
from loopwright.api.registry import ModelVersion
from loopwright.api.resources import CONFIGMAP, MODEL, MODELVERSION, TRAININGJOB, Key
from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.decide.endpoint_types import JobView
from loopwright.desired.endpoint import ModelSource
from loopwright.desired.retraining import retraining
from loopwright.kube.errors import Conflict, Forbidden, Invalid
from loopwright.reconcile.children import owners
from loopwright.reconcile.context import Context

Object = dict[str, Any]
# The newest versions of a Model, besides those that are served.
MAX_SIBLINGS: Final = 50
M = TypeVar("M", EndpointReport, VerdictsReport, CaptureReport, ExperimentReport)


def mail(ctx: Context, key: Key, uid: str, name: str, limit: int, model: type[M]) -> M | None:
    """What the endpoint's monitor wrote; anyone in its pod may write anything.

    Args:
        name: Of the report in the mailbox.
        limit: Bytes that it may have.
    """
    mailbox = ctx.cache.get(Key(CONFIGMAP.kind, key.namespace, names.observed_name(key.name)))
    text = ((mailbox or {}).get("data") or {}).get(name)
    if mailbox is None or text is None or uid not in owners(mailbox):
        return None
    if len(text.encode()) > limit:
        return None
    try:
        found = model.model_validate_json(text)
    except ValidationError:
        return None
    return found if found.uid == uid else None


def verdicts(ctx: Context, key: Key, uid: str) -> list[WindowVerdict]:
    """The monitors' newest verdicts; how old they are, deciding takes into account."""
    found = mail(ctx, key, uid, names.VERDICTS_KEY, MAX_VERDICTS_BYTES, VerdictsReport)
    return found.verdicts if found is not None else []


def captured(ctx: Context, key: Key, uid: str) -> CaptureReport | None:
    """What the monitor says of data capture; how old that is, deciding takes into account."""
    return mail(ctx, key, uid, names.CAPTURE_KEY, MAX_CAPTURE_BYTES, CaptureReport)


def experiment(ctx: Context, key: Key, uid: str) -> ExperimentReport | None:
    """What the monitor says of an experiment; which one, deciding takes into account."""
    return mail(ctx, key, uid, names.EXPERIMENT_KEY, MAX_EXPERIMENT_BYTES, ExperimentReport)


def measured(
    ctx: Context, key: Key, spec: ModelEndpointSpec, models: Mapping[str, ModelSource]
) -> dict[str, dict[str, str]]:
    """Metrics on record of the variants' versions and of others of their Models, of which answers
    may still be judged; none unless a monitor asks."""
    monitors = [one.quality for one in spec.monitors if one.quality is not None]
    asked = {
        one.worse_than_baseline.metric for one in monitors if one.worse_than_baseline is not None
    }
    names_of = {one.version for one in models.values() if one.version is not None}
    if not asked:
        return {}
    found = {}
    for name in sorted(names_of):
        served = ctx.cache.get(Key(MODELVERSION.kind, key.namespace, name))
        family = served["spec"]["modelRef"]["name"] if served is not None else ""
        siblings = ctx.cache.children(Key(MODEL.kind, key.namespace, family), MODELVERSION.kind)
        siblings.sort(key=lambda one: str(one["metadata"].get("creationTimestamp", "")))
        for one in [*siblings[-MAX_SIBLINGS:], *([served] if served is not None else [])]:
            told = ModelVersion.model_validate(one).spec.metrics
            found[one["metadata"]["name"]] = {
                metric.name: metric.value for metric in told if metric.name in asked
            }
    return found


def trained_by(ctx: Context, key: Key, models: Mapping[str, ModelSource]) -> dict[str, str]:
    """Names of the jobs that trained the variants' versions, where that is on record."""
    found = {}
    for variant, model in models.items():
        if model.version is None:
            continue
        obj = ctx.cache.get(Key(MODELVERSION.kind, key.namespace, model.version))
        lineage = ModelVersion.model_validate(obj).spec.lineage if obj is not None else None
        if lineage is not None and lineage.training_job is not None:
            found[variant] = lineage.training_job.name
    return found


def jobs(
    ctx: Context, key: Key, spec: ModelEndpointSpec, status: ModelEndpointStatus,
    trained: Mapping[str, str],
) -> dict[str, JobView]:  # fmt: skip
    """The jobs that monitors have started, or may start from, as far as they are there."""
    wanted = {one.training_job for one in status.retrains} | set(trained.values())
    for monitor in spec.monitors:
        policy = monitor.on_violation.retrain
        if policy is not None and policy.training_job_ref is not None:
            wanted.add(policy.training_job_ref.name)
    found = {name: ctx.cache.get(Key(TRAININGJOB.kind, key.namespace, name)) for name in wanted}
    return {name: _view(obj) for name, obj in found.items() if obj is not None}


def _view(obj: Object) -> JobView:
    status = TrainingJobStatus.model_validate(obj.get("status") or {})
    if status.phase is Phase.SUCCEEDED:
        return JobView(RetrainOutcome.SUCCEEDED)
    if status.phase is Phase.FAILED:
        told = {one.type: one for one in status.conditions}
        why = told["Failed"].message if "Failed" in told else ""
        return JobView(RetrainOutcome.FAILED, why)
    return JobView(RetrainOutcome.RUNNING)


async def start(ctx: Context, key: Key, status: ModelEndpointStatus) -> dict[str, JobView]:
    """Makes the jobs that are on record and not there yet.

    Returns:
        Those that cannot be made, with the reason.

    Raises:
        ApiError: the API server is overloaded, broken, or knows of something newer.
    """
    refused = {}
    for one in status.retrains:
        there = ctx.cache.get(Key(TRAININGJOB.kind, key.namespace, one.training_job))
        if one.outcome is not RetrainOutcome.PENDING or there is not None:
            continue
        why = await _start(ctx, key, one)
        if why is not None:
            refused[one.training_job] = JobView(RetrainOutcome.REFUSED, why)
    return refused


async def _start(ctx: Context, key: Key, one: RetrainStatus) -> str | None:
    template = ctx.cache.get(Key(TRAININGJOB.kind, key.namespace, one.template))
    if template is None:
        return f"TrainingJob '{one.template}' is gone"
    wanted = retraining(key.name, key.namespace, one, template)
    try:
        made = await ctx.client.create(TRAININGJOB, wanted)
    except Conflict:
        made = await ctx.client.get(TRAININGJOB, key.namespace, one.training_job)
        made |= {"apiVersion": TRAININGJOB.api_version, "kind": TRAININGJOB.kind}
        notes = made["metadata"].get("annotations") or {}
        if notes.get(names.ANNOTATION_ENDPOINT) != key.name:
            return f"TrainingJob '{one.training_job}' exists and is not of this endpoint"
    except (Forbidden, Invalid) as error:
        return error.message
    ctx.cache.observe(None, made)
    ctx.wake(Key(TRAININGJOB.kind, key.namespace, one.training_job))
    return None
