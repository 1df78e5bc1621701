"""Reconciles one BatchTransform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from loopwright.api.batch_report import BatchReport
from loopwright.api.batchtransform import BatchTransform, BatchTransformSpec, EndpointRef
from loopwright.api.batchtransform_status import BatchEndpoint, BatchModel, BatchTransformStatus
from loopwright.api.modelendpoint import ModelEndpoint
from loopwright.api.resources import BATCHTRANSFORM, MODELENDPOINT, Key
from loopwright.decide.batchendpoint import located
from loopwright.decide.batchmodel import resolved
from loopwright.decide.batchtransform import BatchRun
from loopwright.decide.summary import running
from loopwright.decide.types import Blocked
from loopwright.desired.batch import BatchContext
from loopwright.desired.context import JobContext
from loopwright.reconcile.context import Context
from loopwright.reconcile.job import JobKind, Stored, identity
from loopwright.reconcile.models import lookups


class _BatchTransforms(JobKind[BatchTransformStatus]):
    resource = BATCHTRANSFORM
    report = BatchReport
    status = BatchTransformStatus

    def stored(
        self, ctx: Context, key: Key, obj: dict[str, Any], status: BatchTransformStatus
    ) -> Stored[BatchTransformStatus]:
        spec = BatchTransform.model_validate(obj).spec
        found = _meant(ctx, key, spec, status)
        run = BatchRun(spec, found)
        if isinstance(found, Blocked):
            return Stored(self, key, obj, status, run, None, found)
        context = BatchContext(
            *identity(ctx, key, obj, spec),
            output_uri=spec.output.uri.rstrip("/"),
            model=found if isinstance(found, BatchModel) else None,
            endpoint=found if isinstance(found, BatchEndpoint) else None,
            pull_secrets=ctx.settings.image_pull_secrets,
        )
        return Stored(self, key, obj, status, run, context)

    def begun(self, context: JobContext, status: BatchTransformStatus) -> JobContext:
        assert isinstance(context, BatchContext)
        return replace(context, endpoint=status.endpoint)


def _meant(
    ctx: Context, key: Key, spec: BatchTransformSpec, status: BatchTransformStatus
) -> BatchModel | BatchEndpoint | Blocked:
    if spec.endpoint_ref is None:
        # What runs is on record from the first attempt on.
        required = ctx.settings.require_approval
        return status.model or resolved(
            spec, lookups(ctx, key.namespace), require_approval=required
        )
    found = _endpoint(ctx, key.namespace, spec.endpoint_ref)
    begun = running(status) is not None or status.completion_time is not None
    if isinstance(found, Blocked) and begun and status.endpoint is not None:
        # What does not answer now may do so in a moment; that is for the processes to wait for.
        return status.endpoint
    return found


def _endpoint(ctx: Context, namespace: str, ref: EndpointRef) -> BatchEndpoint | Blocked:
    found = ctx.cache.get(Key(MODELENDPOINT.kind, namespace, ref.name))
    if found is None or "deletionTimestamp" in found["metadata"]:
        return located(ref, namespace, None)
    try:
        endpoint = ModelEndpoint.model_validate(found)
    except ValidationError:
        # Its own conditions say what is wrong with it.
        text = f"ModelEndpoint '{ref.name}' has a spec that makes no sense; correct it"
        return Blocked("EndpointNotReady", text)
    return located(ref, namespace, endpoint, found["metadata"]["generation"])


reconcile = _BatchTransforms().reconcile
