"""Reconciles one HyperparameterSweep."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from loopwright.api.hyperparametersweep import HyperparameterSweep, HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus
from loopwright.api.report import JobReport
from loopwright.api.resources import HYPERPARAMETERSWEEP, Key
from loopwright.api.sweep_report import SweepReport
from loopwright.api.sweepconfig import History
from loopwright.decide.sweep import SweepRun
from loopwright.decide.types import Blocked
from loopwright.desired.sweep import SweepContext
from loopwright.reconcile.context import Context
from loopwright.reconcile.job import JobKind, Stored, identity
from loopwright.reconcile.register import register
from loopwright.reconcile.training import NO_OUTPUT, places


class _Sweeps(JobKind[HyperparameterSweepStatus]):
    resource = HYPERPARAMETERSWEEP
    report = SweepReport
    status = HyperparameterSweepStatus

    def stored(
        self, ctx: Context, key: Key, obj: dict[str, Any], status: HyperparameterSweepStatus
    ) -> Stored[HyperparameterSweepStatus]:
        spec = HyperparameterSweep.model_validate(obj).spec
        found = _context(ctx, key, obj, spec, status)
        if isinstance(found, Blocked):
            return Stored(self, key, obj, status, SweepRun(spec), None, found)
        return Stored(self, key, obj, status, SweepRun(spec), found)

    async def register(
        self,
        ctx: Context,
        stored: Stored[HyperparameterSweepStatus],
        report: JobReport | None,
    ) -> Blocked | None:
        told = report.model if isinstance(report, SweepReport) else None
        return await register(ctx, stored, told)


def _context(
    ctx: Context,
    key: Key,
    obj: dict[str, Any],
    spec: HyperparameterSweepSpec,
    status: HyperparameterSweepStatus,
) -> SweepContext | Blocked:
    found = places(ctx, key, spec.trial_template.spec)
    if found is None:
        return NO_OUTPUT
    output, checkpoint = found
    # Once the first attempt has begun, what is known is the driver's business.
    warm = _warm_start(ctx, key, spec, needed=status.attempt == 0)
    if isinstance(warm, Blocked):
        return warm
    return SweepContext(
        *identity(ctx, key, obj, spec),
        output_uri=output,
        checkpoint_uri=checkpoint,
        warm_start=warm,
        pull_secrets=ctx.settings.image_pull_secrets,
    )


def _warm_start(
    ctx: Context, key: Key, spec: HyperparameterSweepSpec, *, needed: bool
) -> tuple[History, ...] | Blocked:
    """What earlier sweeps have left, or which of them is not there yet."""
    histories = []
    for name in (spec.warm_start and spec.warm_start.sweeps) or ():
        found = _history(ctx, key._replace(name=name))
        if isinstance(found, History):
            histories.append(found)
        elif found is not None and needed:
            return found
    return tuple(histories)


def _history(ctx: Context, key: Key) -> History | Blocked | None:
    """What a sweep has left; None when it left nothing."""
    obj = ctx.cache.get(key)
    if obj is None:
        text = f"HyperparameterSweep '{key.name}' is missing; create it, or start without it"
        return Blocked("SweepNotFound", text)
    try:
        sweep = HyperparameterSweep.model_validate(obj)
    except ValidationError:
        return None  # As its own status says.
    if sweep.status.completion_time is None:
        text = f"HyperparameterSweep '{key.name}' has not ended; its trials are waited for"
        return Blocked("SweepUnfinished", text)
    spec, uri = sweep.spec.trial_template.spec, sweep.status.history_uri
    found = places(ctx, key, spec)
    if uri is None or found is None or not uri.startswith(f"{found[0]}/"):
        # Code in its pods says where; it must not lend credentials to other places.
        return None
    secret = spec.output.secret_ref.name if spec.output and spec.output.secret_ref else None
    return History(sweep=key.name, uri=uri, secret=secret)


reconcile = _Sweeps().reconcile
