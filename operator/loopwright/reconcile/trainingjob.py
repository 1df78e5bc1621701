"""Reconciles one TrainingJob."""

from __future__ import annotations

from typing import Any

from loopwright.api.report import JobReport, Report
from loopwright.api.resources import TRAININGJOB, Key
from loopwright.api.trainingjob import TrainingJob, TrainingJobSpec
from loopwright.api.trainingjob_status import TrainingJobStatus
from loopwright.api.validation import InputBaseline
from loopwright.decide.baselines import resolved
from loopwright.decide.trainingjob import TrainingRun
from loopwright.decide.types import Blocked
from loopwright.desired.training import TrainingJobContext
from loopwright.reconcile.context import Context
from loopwright.reconcile.job import JobKind, Stored, identity
from loopwright.reconcile.models import lookups
from loopwright.reconcile.register import register
from loopwright.reconcile.training import NO_OUTPUT, places


class _TrainingJobs(JobKind[TrainingJobStatus]):
    resource = TRAININGJOB
    report = Report
    status = TrainingJobStatus

    def stored(
        self, ctx: Context, key: Key, obj: dict[str, Any], status: TrainingJobStatus
    ) -> Stored[TrainingJobStatus]:
        spec = TrainingJob.model_validate(obj).spec
        # What inputs are compared with is on record from the first attempt on.
        found = status.baselines or resolved(spec, lookups(ctx, key.namespace))
        if isinstance(found, Blocked):
            return Stored(self, key, obj, status, TrainingRun(spec), None, found)
        baselines = tuple(found)
        context = job_context(ctx, key, obj, spec, baselines)
        blocked = NO_OUTPUT if context is None else None
        return Stored(self, key, obj, status, TrainingRun(spec, baselines), context, blocked)

    async def register(
        self, ctx: Context, stored: Stored[TrainingJobStatus], report: JobReport | None
    ) -> Blocked | None:
        told = report.model if isinstance(report, Report) else None
        return await register(ctx, stored, told)


def job_context(
    ctx: Context,
    key: Key,
    obj: dict[str, Any],
    spec: TrainingJobSpec,
    baselines: tuple[InputBaseline, ...],
) -> TrainingJobContext | None:
    """The job with the operator's defaults, or None when it has nowhere to put its results."""
    found = places(ctx, key, spec)
    if found is None:
        return None
    output, checkpoint = found
    return TrainingJobContext(
        *identity(ctx, key, obj, spec),
        output_uri=output,
        checkpoint_uri=checkpoint,
        baselines=baselines,
        pull_secrets=ctx.settings.image_pull_secrets,
    )


reconcile = _TrainingJobs().reconcile
