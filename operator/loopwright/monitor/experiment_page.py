"""The report on an experiment: the verdict, each variant, and how the intervals closed.

One page that needs nothing else; text of others is escaped, and nothing in it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Final, NamedTuple

from loopwright.api.experiment_report import ExperimentConfig, ExperimentReport, Known
from loopwright.api.experiment_status import ArmFinding, ExperimentFinding
from loopwright.drift.report import sheet

WIDTH, HEIGHT = 640, 220
LEFT, BOTTOM = 56, 20
MORE_STYLE: Final = """
table{border-collapse:collapse;margin:.8rem 0}th,td{text-align:right;padding:.2rem .8rem .2rem 0;
border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft)}
.verdict{font-size:1.1rem}.band{fill:var(--now);opacity:.2}.line{fill:none;stroke:var(--now);
stroke-width:2}.zero{stroke:var(--soft);stroke-dasharray:4 3}.winner{color:var(--ok);
font-weight:600}.wide{max-width:44rem}
"""
_VERDICTS: Final = {
    "Won": "{winner} has won: {message}.",
    "NoDifference": "No difference is proven: {message}.",
    "GuardrailFailed": "{winner} stays, as a guardrail failed: {message}.",
    "SampleRatioMismatch": "The figures cannot be trusted: {message}.",
}


class _Seen(NamedTuple):
    """What was known of a variant at a time."""

    seconds: float
    known: Known


def page(endpoint: str, config: ExperimentConfig, report: ExperimentReport) -> str:
    """The report on an endpoint's experiment."""
    finding, spec = report.finding, config.experiment
    treatments = [one.variant for one in config.arms if one.variant != spec.control]
    pictures = "".join(_picture(name, spec.control, report) for name in treatments)
    body = (
        f"<p class='verdict'>{escape(verdict(config, finding))}</p>"
        f"<p class='soft'>{escape(_circumstances(config, report))}</p>"
        f"{_table(config, finding)}{_ratio(finding)}{pictures}"
    )
    return sheet(f"Experiment of {endpoint}", body, MORE_STYLE)


def verdict(config: ExperimentConfig, finding: ExperimentFinding) -> str:
    """Where it stands, in a sentence."""
    message = finding.message.rstrip(".")
    if finding.decided_at is None:
        head = "It is paused" if config.paused else "It goes on"
        return f"{head}: {message}." if message else f"{head}."
    text = _VERDICTS.get(finding.reason, "{message}.")
    return text.format(winner=finding.winner, message=message)


def _circumstances(config: ExperimentConfig, report: ExperimentReport) -> str:
    spec, ended = config.experiment, report.finding.decided_at
    parts = [
        f"metric {_metric(config)}",
        f"alpha {spec.alpha}",
        f"at least {spec.min_samples:,} samples of each",
        f"begun {_moment(config.started_at)}",
        f"decided {_moment(ended)}" if ended else f"as of {_moment(report.time)}",
    ]
    return "; ".join(parts)


def _metric(config: ExperimentConfig) -> str:
    metric = config.experiment.metric
    if metric.feedback is not None:
        return f"{metric.feedback.name} ({metric.feedback.kind}, {metric.feedback.direction})"
    if metric.latency is not None:
        return f"part of answers slower than {metric.latency.slower_than_milliseconds} ms"
    return "part of requests that failed"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _table(config: ExperimentConfig, finding: ExperimentFinding) -> str:
    shares = {one.variant: one.weight for one in config.arms}
    total = sum(shares.values())
    heads = ("variant", "weight", "samples", "mean", "effect", "interval", "p", "guardrails")
    head = "".join(f"<th>{one}</th>" for one in heads)
    rows = "".join(
        _row(one, shares.get(one.name, 0) / total, finding.winner) for one in finding.variants
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(one: ArmFinding, share: float, winner: str) -> str:
    interval = f"{one.low or '-∞'} to {one.high or '∞'}" if one.effect else ""
    guardrails = ", ".join(f"{it.metric} {it.state}" for it in one.guardrails)
    name = f"<span class='winner'>{escape(one.name)} ✓</span>" if one.name == winner else ""
    cells = (
        f"{share:.1%}", f"{one.samples:,}", one.mean, one.effect, interval, one.p_value, guardrails,
    )  # fmt: skip
    rest = "".join(f"<td>{escape(text)}</td>" for text in cells)
    return f"<tr><td>{name or escape(one.name)}</td>{rest}</tr>"


def _ratio(finding: ExperimentFinding) -> str:
    ratio = finding.sample_ratio
    if not ratio.observed:
        return ""
    text = f"Traffic: {ratio.observed} for {ratio.expected} by the weights, p {ratio.p_value}"
    return f"<p class='soft'>{escape(text)}</p>"


def _picture(name: str, control: str, report: ExperimentReport) -> str:
    heading = f"<h2>{escape(f'{name} less {control}')}</h2>"
    seen = [
        _Seen(point.seconds, known)
        for point in report.course
        for known in point.variants
        if known.name == name
    ]
    bounded = [one for one in seen if one.known.low is not None and one.known.high is not None]
    if len(bounded) < 2:
        return f"{heading}<p class='soft'>There is no interval to draw yet.</p>"
    text = (
        f"The effect and its confidence interval, which holds at all times together, over"
        f" {_span(bounded[-1].seconds)}."
    )
    chart = _chart(bounded)
    return f"{heading}<p class='soft'>{escape(text)}</p><figure class='wide'>{chart}</figure>"


class _Scale(NamedTuple):
    """From seconds and effects to places in the picture."""

    seconds: float
    low: float
    high: float

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT) * seconds / self.seconds

    def y(self, effect: float) -> float:
        return 4 + (HEIGHT - BOTTOM - 8) * (self.high - effect) / (self.high - self.low)


def _scale(seen: Sequence[_Seen]) -> _Scale:
    """What shows the later half of the course: at first intervals are many times as wide."""
    later = [one.known for one in seen[len(seen) // 2 :]]
    ends = [0.0, *(end for one in later for end in (one.low, one.high, one.effect) if end)]
    room = (max(ends) - min(ends)) * 0.1 or 1e-9
    return _Scale(max(seen[-1].seconds, 1e-9), min(ends) - room, max(ends) + room)


def _chart(seen: Sequence[_Seen]) -> str:
    scale = _scale(seen)
    upper = [(one.seconds, one.known.high or 0.0) for one in seen]
    lower = [(one.seconds, one.known.low or 0.0) for one in reversed(seen)]
    middle = [(one.seconds, one.known.effect) for one in seen]
    band = " ".join(_place(scale, *one) for one in (*upper, *lower))
    line = " ".join(_place(scale, *one) for one in middle)
    zero = scale.y(0.0)
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='Confidence sequence'>"
        f"<polygon class='band' points='{band}'/><polyline class='line' points='{line}'/>"
        f"<line class='zero' x1='{LEFT}' x2='{WIDTH}' y1='{zero:.1f}' y2='{zero:.1f}'/>"
        f"{''.join(_labels(scale))}</svg>"
    )


def _place(scale: _Scale, seconds: float, effect: float) -> str:
    """A point of a line, inside of the picture."""
    inside = min(max(effect, scale.low), scale.high)
    return f"{scale.x(seconds):.1f},{scale.y(inside):.1f}"


def _labels(scale: _Scale) -> Iterator[str]:
    for effect in (scale.low, 0.0, scale.high):
        place = min(max(scale.y(effect), 9), HEIGHT - BOTTOM)
        yield f"<text x='{LEFT - 6}' y='{place:.1f}' text-anchor='end'>{effect:+.3g}</text>"
    base = HEIGHT - 6
    yield f"<text x='{LEFT}' y='{base}'>0</text>"
    yield f"<text x='{WIDTH}' y='{base}' text-anchor='end'>{_span(scale.seconds)}</text>"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
