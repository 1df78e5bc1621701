"""Monitors as people ask for them, as rules; and what was found, as statuses tell it."""

from __future__ import annotations

from typing import Final

from loopwright.api.monitoring import Watch
from loopwright.api.monitoring_status import MAX_VIOLATIONS, Judged, Violation
from loopwright.drift.rules import Check, Correction, Limits, Method, Rules
from loopwright.drift.verdict import Finding, Verdict

CHECKS: Final = {
    "DataDrift": frozenset({Check.DRIFT, Check.DRIFT_SHARE}),
    "PredictionDrift": frozenset({Check.PREDICTION_DRIFT}),
    "DataQuality": frozenset(
        {Check.MISSING, Check.OUT_OF_RANGE, Check.UNSEEN, Check.INVALID, Check.REFUSED}
    ),
}
DRIFT_SHARE: Final = 0.5


def rules(monitor: Watch) -> Rules:
    """What a monitor asks for, as it is judged by."""
    return Rules(
        limits=_limits(monitor, monitor.threshold),
        features={
            one.name: _limits(monitor, one.threshold or monitor.threshold)
            for one in monitor.features
        },
        ignore=frozenset(one.name for one in monitor.features if one.ignore),
        alpha=float(monitor.alpha),
        correction=Correction(monitor.correction),
        min_samples=monitor.min_samples,
        drift_share=_share(monitor),
        checks=CHECKS[monitor.kind],
    )


def _limits(monitor: Watch, threshold: str | None) -> Limits:
    method = Method(monitor.method)
    if threshold is None:
        return Limits(method=method)
    value = float(threshold)
    if monitor.kind == "DataQuality":
        return Limits(missing=value, out_of_range=value, unseen=value, invalid=value)
    return Limits(method=method, distance=value)


def _share(monitor: Watch) -> float | None:
    if monitor.kind != "DataDrift":
        return None
    share = DRIFT_SHARE if monitor.drift_share is None else float(monitor.drift_share)
    # None: one feature will do.
    return share or None


def told(name: str, found: Verdict) -> Judged:
    """A verdict as a status tells it.

    Args:
        name: Of the monitor.
    """
    judged = [one for one in found.findings if one.adjusted is not None]
    return Judged(
        name=name,
        state=found.state,
        reason=found.reason,
        message=found.message[:512],
        samples=found.rows,
        features=len({one.feature for one in judged}),
        drifted=len({one.feature for one in judged if one.violated}),
        worst=_figure(max((one.severity for one in judged), default=None)),
        violations=[_violation(one) for one in _worst(found)],
    )


def _worst(found: Verdict) -> list[Finding]:
    """What is shown of all rows: what violates them, then features that contribute to that."""
    more = [one for one in found.findings if one.violated and one not in found.violations]
    more.sort(key=lambda one: -one.severity)
    return [*found.violations, *more][:MAX_VIOLATIONS]


def _violation(one: Finding) -> Violation:
    return Violation(
        feature=one.feature, check=str(one.check), value=_figure(one.value),
        threshold=_figure(one.threshold),
    )  # fmt: skip


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
