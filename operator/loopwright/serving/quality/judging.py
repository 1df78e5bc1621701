"""What a window says: the metric, that of slices, and how groups compare. Pure.

Nothing is in violation for a figure alone, only when chance does not explain it: each is tested,
and the tests are corrected for being many, as the monitor says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import (
    MAX_VIOLATIONS,
    Measured,
    MonitorState,
    Violation,
)
from loopwright.api.quality import Bias, Quality
from loopwright.drift import chances
from loopwright.drift.corrections import benjamini_hochberg
from loopwright.serving.quality.figures import MOST, Tally, estimate
from loopwright.serving.quality.joining import Joined
from loopwright.serving.quality.values import text

# Of a column: the most frequent ones.
MAX_PARTS: Final = 20
# Rows that a slice or group is judged from.
LEAST: Final = 20


class Finding(NamedTuple):
    """One figure."""

    part: str
    """Slice or group, as column=value; empty of all rows."""
    check: str
    value: float
    threshold: float
    pvalue: float
    severity: float


@dataclass(frozen=True)
class Found:
    """A window of one revision."""

    state: MonitorState
    reason: str = ""
    message: str = ""
    measured: Measured | None = None
    samples: int = 0
    findings: tuple[Finding, ...] = ()
    violated: tuple[Finding, ...] = ()
    """The worst first."""

    @property
    def worst(self) -> str:
        """The greatest value, as a multiple of its threshold."""
        return _figure(max(one.severity for one in self.findings)) if self.findings else ""

    @property
    def violations(self) -> list[Violation]:
        """As a status has them."""
        return [
            Violation(
                feature=one.part[:128], check=one.check, value=_figure(one.value),
                threshold=_figure(one.threshold),
            )
            for one in self.violated[:MAX_VIOLATIONS]
        ]  # fmt: skip


Metrics = Mapping[str, Mapping[str, str]]
"""Of ModelVersions by name, what they reached when they were registered."""


def judge(monitor: Monitor, joined: Joined, metrics: Metrics | None = None) -> Found:
    """A verdict about a window's answers.

    Args:
        metrics: Of what versions are compared with.
    """
    quality = monitor.measures
    metric, alpha = quality.metric, float(monitor.alpha)
    total = joined.total
    measured = Measured(
        metric=metric, captured=joined.captured, labelled=joined.labelled, unusable=joined.unusable
    )
    bound = _bound(monitor, (metrics or {}).get(joined.version, {}))
    if bound is None:
        why = _baseline_text(quality, joined.version)
        return Found(MonitorState.UNKNOWN, "NoBaselineMetric", why, measured)
    if 2 * joined.unusable > joined.labelled:
        return Found(MonitorState.UNKNOWN, "NotComparable", _compare_text(joined), measured)
    if total.rows < monitor.min_samples:
        why = (
            f"{total.rows} of {joined.captured} captured rows have labels;"
            f" minSamples is {monitor.min_samples}"
        )
        return Found(MonitorState.NO_DATA, "TooFewLabels", why, measured, total.rows)
    whole = estimate(total, metric, bound, alpha)
    if whole is None:
        why = f"none of {total.rows} rows is of class {quality.positive}, so there is no {metric}"
        return Found(MonitorState.NO_DATA, "NoPositives", why, measured, total.rows)
    slices = list(_slices(joined, metric, bound, alpha))
    compared = list(_bias(quality, joined.groups))
    findings = [
        Finding("", metric, whole.value, bound, whole.pvalue, whole.severity),
        *slices,
        *compared,
    ]
    violated = _violated(findings, alpha, corrected=monitor.correction == "BH")
    worst = max(slices, key=lambda one: one.severity, default=None)
    measured = measured.model_copy(
        update={
            "value": _figure(whole.value), "low": _figure(whole.low), "high": _figure(whole.high),
            "worst_slice": worst.part[:256] if worst is not None else "",
            "worst_value": _figure(worst.value) if worst is not None else "",
        }
    )  # fmt: skip
    state, reason, message = MonitorState.OK, "", _said(violated)
    if violated:
        state = MonitorState.VIOLATED
    elif quality.bias is not None and not compared:
        state, reason, message = MonitorState.NO_DATA, "TooFewToCompare", _groups_text(quality.bias)
    return Found(
        state,
        reason,
        message,
        measured=measured,
        samples=total.rows,
        findings=tuple(findings),
        violated=tuple(violated),
    )


def _bound(monitor: Monitor, known: Mapping[str, str]) -> float | None:
    """The least that is allowed, or the greatest error; None when the version has no such metric.

    Args:
        known: The version's metrics.
    """
    quality = monitor.measures
    asked = quality.worse_than_baseline
    if asked is None:
        return float(monitor.threshold or 0)
    try:
        value = float(known[asked.metric])
    except (KeyError, ValueError):
        return None
    if not math.isfinite(value) or value < 0 or (value > 1 and not quality.is_error):
        return None
    by = float(asked.by)
    return value + by if quality.is_error else max(0.0, value - by)


def _baseline_text(quality: Quality, version: str) -> str:
    asked = quality.worse_than_baseline
    name = asked.metric if asked is not None else ""
    who = f"ModelVersion '{version}'" if version else "what is served, which is no ModelVersion,"
    unit = "a number from 0 on" if quality.is_error else "a share, from 0 to 1"
    return f"{who} has no metric {name} that is {unit}, in spec.metrics; set a threshold instead"


def _violated(findings: list[Finding], alpha: float, *, corrected: bool) -> list[Finding]:
    pvalues = [one.pvalue for one in findings]
    if corrected:
        pvalues = benjamini_hochberg(np.asarray(pvalues)).tolist()
    # With a large alpha a figure within its bound might be called surprising.
    found = [
        one for one, p in zip(findings, pvalues, strict=True) if p <= alpha and one.severity > 1
    ]
    # Of all rows first: that is what people ask for.
    return sorted(found, key=lambda one: (one.part != "", -one.severity))


def _slices(joined: Joined, metric: str, bound: float, alpha: float) -> Iterator[Finding]:
    by_column: dict[str, dict[str, Tally]] = {}
    for (column, value), tally in joined.slices.items():
        by_column.setdefault(column, {})[value] = tally
    for column, parts in by_column.items():
        for value, tally in _frequent(parts):
            found = estimate(tally, metric, bound, alpha)
            if found is not None:
                part = f"{column}={value}"
                yield Finding(part, metric, found.value, bound, found.pvalue, found.severity)


def _frequent(parts: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    """The values with the most rows, and enough of them."""
    enough = [(value, one) for value, one in parts.items() if one.rows >= LEAST]
    return sorted(enough, key=lambda one: (-one[1].rows, one[0]))[:MAX_PARTS]


def _bias(quality: Quality, groups: Mapping[str, Tally]) -> Iterator[Finding]:
    """Each group beside the privileged one, by both shares and both bounds."""
    asked = quality.bias
    name = text(asked.privileged) if asked is not None else None
    privileged = groups.get(name) if name is not None else None
    if asked is None or privileged is None:
        return
    for value, tally in _frequent(groups):
        if value == name:
            continue
        for share, less, more in (
            ("PositiveRate", tally.selected, privileged.selected),
            ("TruePositiveRate", tally.found, privileged.found),
        ):
            if min(less[1], more[1]) < LEAST:
                continue
            part = f"{asked.column}={value}"
            if asked.max_difference is not None:
                yield _difference(part, share, less, more, float(asked.max_difference))
            if asked.min_ratio is not None:
                yield _ratio(part, share, less, more, float(asked.min_ratio))


Counts = tuple[int, int]


def _difference(part: str, share: str, less: Counts, more: Counts, bound: float) -> Finding:
    value = more[0] / more[1] - less[0] / less[1]
    severity = min(MOST, value / bound) if bound else MOST if value > 0 else 0.0
    pvalue = chances.contrast(less, more, 1.0, bound)
    return Finding(part, f"{share}Difference", value, bound, pvalue, max(0.0, severity))


def _ratio(part: str, share: str, less: Counts, more: Counts, bound: float) -> Finding:
    # Without any in the privileged group no other has less.
    value = less[0] / less[1] * more[1] / more[0] if more[0] else MOST
    severity = min(MOST, bound / value) if value else MOST if bound else 0.0
    return Finding(
        part, f"{share}Ratio", value, bound, chances.contrast(less, more, bound, 0.0), severity
    )


def _compare_text(joined: Joined) -> str:
    return (
        f"{joined.unusable} of {joined.labelled} labelled rows cannot be compared: is the label of"
        " the same kind as the answer, and are there as many? See quality.answer and quality.labels"
    )


def _groups_text(bias: Bias) -> str:
    return (
        f"{bias.column}={bias.privileged}, or all that it is compared with, have fewer than {LEAST}"
        " labelled rows"
    )


def _said(violated: list[Finding]) -> str:
    parts = [
        f"{one.check}{f' of {one.part}' if one.part else ''} is {_figure(one.value)},"
        f" beyond {_figure(one.threshold)}"
        for one in violated[:3]
    ]
    more = f", and {len(violated) - 3} more" if len(violated) > 3 else ""
    return "; ".join(parts) + more


def _figure(value: float) -> str:
    return f"{value:.4g}"
