"""What an experiment's spec asks, in the terms of the tests. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from loopwright.api import experiment as api
from loopwright.api.experiment_report import ExperimentConfig
from loopwright.api.feedback import FeedbackCounts
from loopwright.api.shared import Direction
from loopwright.monitor.experiment.samples import Totals
from loopwright.monitor.experiment.settings import Experiment, Guardrail, Kind, Metric

ERROR_RATIO: Final = "errorRatio"
LATENCY: Final = "latency"


def asked(config: ExperimentConfig) -> Experiment:
    """The experiment that a spec describes, between the arms that there are."""
    spec = config.experiment
    effect = spec.smallest_effect
    return Experiment(
        control=spec.control,
        treatments=tuple(one.variant for one in config.arms if one.variant != spec.control),
        metric=_metric(spec.metric),
        guardrails=tuple(_guardrails(spec.guardrails)),
        alpha=float(spec.alpha),
        min_samples=spec.min_samples,
        max_seconds=float(spec.max_duration_seconds),
        smallest_effect=float(effect) if effect is not None else None,
    )


def feedback_metric(feedback: api.Feedback) -> str:
    """The name of a metric of feedback, which is none of the server's own."""
    taken = feedback.name in (ERROR_RATIO, LATENCY)
    return f"feedback.{feedback.name}" if taken else feedback.name


def _metric(metric: api.ExperimentMetric) -> Metric:
    if metric.feedback is not None:
        better = metric.feedback.direction == "Increase"
        direction = Direction.MAXIMIZE if better else Direction.MINIMIZE
        return Metric(feedback_metric(metric.feedback), Kind(metric.feedback.kind), direction)
    return _served(ERROR_RATIO if metric.error_ratio is not None else LATENCY)


def _served(name: str) -> Metric:
    return Metric(name, Kind.PROPORTION, Direction.MINIMIZE)


def _guardrails(found: api.Guardrails) -> list[Guardrail]:
    both = ((ERROR_RATIO, found.error_ratio), (LATENCY, found.latency))
    return [Guardrail(_served(name), float(one.max_increase)) for name, one in both if one]


def slow_bound(spec: api.Experiment) -> dict[str, float]:
    """Of the metric or the guardrail about latency, what is slow, in seconds."""
    found = spec.metric.latency or spec.guardrails.latency
    return {LATENCY: found.slower_than_milliseconds / 1000} if found is not None else {}


def slow(buckets: Mapping[float, float], bound: float) -> Totals | None:
    """Outcomes of the metric latency; None when the histogram does not know this bound.

    Args:
        buckets: Upper bound (the last is infinite) to count of values up to it.
        bound: In seconds.
    """
    if not buckets:
        return Totals()  # Nothing was answered yet.
    if bound not in buckets or math.inf not in buckets:
        return None
    return Totals(buckets[math.inf], max(0.0, buckets[math.inf] - buckets[bound]))


def outcomes(kind: Kind, found: FeedbackCounts) -> Totals:
    """Outcomes of a metric of feedback. A proportion leaves out what is none."""
    if kind is Kind.PROPORTION:
        return Totals(found.parts, found.parts_total)
    return Totals(found.count, found.total, found.squares)
