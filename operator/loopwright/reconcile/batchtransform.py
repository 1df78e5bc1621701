"""Reconciles one BatchTransform."""

from __future__ import annotations

from typing import Any

from loopwright.api.batch_report import BatchReport
from loopwright.api.batchtransform import BatchTransform
from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.resources import BATCHTRANSFORM, Key
from loopwright.decide.batchmodel import resolved
from loopwright.decide.batchtransform import BatchRun
from loopwright.decide.types import Blocked
from loopwright.desired.batch import BatchContext
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
        # What runs is on record from the first attempt on.
        required = ctx.settings.require_approval
        model = status.model or resolved(
            spec, lookups(ctx, key.namespace), require_approval=required
        )
        run = BatchRun(spec, model)
        if isinstance(model, Blocked):
            return Stored(self, key, obj, status, run, None, model)
        context = BatchContext(
            *identity(ctx, key, obj, spec),
            output_uri=spec.output.uri.rstrip("/"),
            model=model,
            pull_secrets=ctx.settings.image_pull_secrets,
        )
        return Stored(self, key, obj, status, run, context)


reconcile = _BatchTransforms().reconcile
