"""Verdicts and strata as a report has them, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from loopwright.api.experiment_report import (
    MAX_POINTS,
    MAX_STRATA,
    Known,
    Point,
    StratumRecord,
    Sums,
)
from loopwright.api.experiment_status import (
    ArmFinding,
    ExperimentFinding,
    GuardrailFinding,
    Ratio,
)
from loopwright.monitor.experiment import ratio
from loopwright.monitor.experiment.samples import Stratum, Totals
from loopwright.monitor.experiment.verdict import (
    GuardrailResult,
    GuardrailState,
    Reason,
    State,
    VariantResult,
    Verdict,
)

# The least distance of points of the course, in seconds; and as a part of the time so far.
LEAST_STEP: Final = 30.0
STEP: Final = 0.02
_REASONS: Final = {
    Reason.TREATMENT_BETTER: "Won",
    Reason.CONTROL_STAYS: "Won",
    Reason.EFFECT_TOO_SMALL: "NoDifference",
    Reason.TIME_IS_UP: "NoDifference",
    Reason.SAMPLE_RATIO_MISMATCH: "SampleRatioMismatch",
}


def finding(verdict: Verdict, now: datetime) -> ExperimentFinding:
    """What a verdict says."""
    lowest = [one.p_value for one in verdict.variants if one.p_value is not None]
    return ExperimentFinding(
        reason=_reason(verdict),
        message=verdict.message[:512],
        winner=verdict.winner or "",
        decided_at=now if verdict.state.final else None,
        p_value=_figure(min(lowest, default=None)),
        sample_ratio=Ratio(
            p_value=_figure(verdict.ratio.p_value),
            expected=_parts(verdict.ratio.expected),
            observed=_parts(verdict.ratio.observed),
        ),
        variants=[_arm(one) for one in verdict.variants],
    )


def _reason(verdict: Verdict) -> str:
    stays = verdict.reason is Reason.CONTROL_STAYS
    if stays and any(_violated(one) for one in verdict.variants):
        return "GuardrailFailed"
    return _REASONS.get(verdict.reason, verdict.reason.value)


def _violated(one: VariantResult) -> bool:
    return any(it.state is GuardrailState.VIOLATED for it in one.guardrails)


def _arm(one: VariantResult) -> ArmFinding:
    effect = one.effect
    return ArmFinding(
        name=one.name,
        samples=one.samples,
        mean=_figure(one.mean),
        effect=_figure(effect.value if effect else None),
        low=_figure(effect.low if effect else None),
        high=_figure(effect.high if effect else None),
        p_value=_figure(one.p_value),
        guardrails=[
            GuardrailFinding(
                metric=it.metric,
                state=it.state.value,
                effect=_figure(it.effect.value if it.effect else None),
            )
            for it in one.guardrails
        ],
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _parts(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {part:.1%}" for name, part in parts.items())


def violations(found: ExperimentFinding) -> Verdict | None:
    """A verdict that says no more than which guardrails were violated: they stay so."""
    results = [
        VariantResult(
            one.name,
            one.samples,
            None,
            guardrails=tuple(
                GuardrailResult(it.metric, GuardrailState.VIOLATED, None, 0.0, 1.0)
                for it in one.guardrails
                if it.state == GuardrailState.VIOLATED
            ),
        )
        for one in found.variants
    ]
    if not any(one.guardrails for one in results):
        return None
    empty = ratio.Ratio(1.0, {}, {})
    return Verdict(State.RUNNING, Reason.UNDECIDED, "", None, tuple(results), empty, 0.0)


def records(strata: Sequence[Stratum]) -> list[StratumRecord]:
    """Strata for a report; all have the same weights, which it need not repeat."""
    return [
        StratumRecord(
            arrivals=dict(one.arrivals),
            outcomes=[
                Sums(
                    metric=metric, variant=variant, count=totals.count, total=totals.total,
                    squares=totals.squares,
                )
                for metric, variants in one.outcomes.items()
                for variant, totals in variants.items()
            ],
        )
        for one in strata[-MAX_STRATA:]
    ]  # fmt: skip


def strata(found: Sequence[StratumRecord], weights: Mapping[str, float]) -> tuple[Stratum, ...]:
    """Strata of a report.

    Args:
        weights: Parts of the traffic; they sum to 1.

    Raises:
        ValueError: they are of other variants.
    """
    made = []
    for one in found:
        if one.arrivals.keys() != weights.keys():
            raise ValueError("the report is about other variants")
        outcomes: dict[str, dict[str, Totals]] = {}
        for it in one.outcomes:
            outcomes.setdefault(it.metric, {})[it.variant] = Totals(it.count, it.total, it.squares)
        made.append(Stratum(dict(weights), dict(one.arrivals), outcomes))
    return tuple(made)


def continued(course: Sequence[Point], verdict: Verdict) -> list[Point]:
    """The course with a verdict, if that is far enough from the last one; thinned if it is full."""
    last = course[-1].seconds if course else -LEAST_STEP
    if verdict.seconds - last < max(LEAST_STEP, STEP * verdict.seconds) and not verdict.state.final:
        return list(course)
    known = [
        Known(name=one.name, effect=one.effect.value, low=one.effect.low, high=one.effect.high)
        for one in verdict.variants
        if one.effect is not None
    ]
    if not known:
        return list(course)
    # The first points are crowded anyway: each second one will do.
    kept = course[1::2] if len(course) >= MAX_POINTS else course
    return [*kept, Point(seconds=max(0.0, verdict.seconds), variants=known)]
