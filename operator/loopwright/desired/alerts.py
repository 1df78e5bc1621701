"""The PrometheusRule of an endpoint: what people want to be woken for, or told of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from loopwright.api.delivery import DEFAULT_CHECKS, Check
from loopwright.api.monitoring import Monitor
from loopwright.api.serving import METRIC_CAPTURE_DROPPED, METRIC_REQUESTS, METRIC_SECONDS
from loopwright.desired.context import Manifest
from loopwright.desired.endpoint import EndpointContext

# Long enough for two scrapes a minute apart, and for a few requests.
WINDOW: Final = "5m"
# Silence is no news until so much time has gone by, whatever the length of a window.
LEAST_SILENCE: Final = 600
SILENT_WINDOWS: Final = 3
QUANTILES: Final = {"p50": "0.5", "p99": "0.99"}


# Of monitors: the alert, its page, what is wrong with the endpoint, and where to look.
_FEATURES: Final = "Its report shows which features."
_DRIFT: Final = (
    "LoopwrightDriftDetected", "drift-detected",
    "sees other data than its model was trained on", _FEATURES,
)  # fmt: skip
_KINDS: Final = {
    "DataQuality": (
        "LoopwrightDataQualityViolated", "data-quality-violated", "gets bad data", _FEATURES,
    ),
    "ModelQuality": (
        "LoopwrightModelQualityViolated", "model-quality-violated", "gives bad answers",
        "status.monitors says by how much, and for whom.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AlertSettings:
    """What the operator's settings say about alerts."""

    labels: tuple[str, ...] = ()
    """key=value, for Prometheuses that choose their rules by label."""
    runbooks: str = ""
    """Where docs/runbooks can be read; empty when nowhere."""


@dataclass(frozen=True)
class Alert:
    """One alert, before it is written down as Prometheus wants it."""

    name: str
    page: str
    """Of docs/runbooks, without .md."""
    severity: str
    expr: str
    held: str
    """How long it must be so."""
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """What tells it from others of its name: two that agree in all labels are one."""


def prometheus_rule(ctx: EndpointContext, settings: AlertSettings) -> Manifest:
    """All alerts of an endpoint; none while it is suspended."""
    meta = ctx.metadata(f"{ctx.name}-alerts")
    own = {key: value for key, _, value in (label.partition("=") for label in settings.labels)}
    alerts = [] if ctx.spec.suspend else list(_alerts(ctx))
    group = {
        "name": f"loopwright.{ctx.namespace}.{ctx.name}",
        "rules": [_rule(ctx, one, settings.runbooks) for one in alerts],
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {**meta, "labels": {**own, **meta["labels"]}},
        "spec": {"groups": [group] if alerts else []},
    }


def _rule(ctx: EndpointContext, one: Alert, runbooks: str) -> Manifest:
    notes = {"summary": one.summary, "description": one.description}
    if runbooks:
        notes["runbook_url"] = f"{runbooks.rstrip('/')}/{one.page}.md"
    labels = {"severity": one.severity, "namespace": ctx.namespace, "endpoint": ctx.name}
    return {
        "alert": one.name,
        "expr": one.expr,
        "for": one.held,
        "labels": {**one.labels, **labels},
        "annotations": notes,
    }


def _alerts(ctx: EndpointContext) -> Iterator[Alert]:
    who, mine = f"Endpoint {ctx.namespace}/{ctx.name}", _mine(ctx)
    yield Alert(
        "LoopwrightEndpointNotReady", "endpoint-not-ready", "critical",
        f"max by (namespace, endpoint) (loopwright_modelendpoint_ready{{{mine}}}) == 0", "15m",
        f"{who} is not ready",
        "It has not been Ready for 15 minutes. kubectl describe mep says what it waits for.",
    )  # fmt: skip
    yield Alert(
        "LoopwrightEndpointRolledBack", "rolled-back", "warning",
        "max by (namespace, endpoint, variant)"
        f" (loopwright_modelendpoint_rolled_back{{{mine}}}) == 1", "0m",
        f"A new revision of {who.lower()} was rolled back",
        "Variant {{ $labels.variant }} serves its old revision. status.variants[].rejected says"
        " why.",
    )  # fmt: skip
    yield _errors(who, mine, ctx.spec.rollout.checks, ctx.spec.rollout.min_requests)
    yield from _latencies(who, mine, ctx.spec.rollout.checks)
    if ctx.spec.data_capture is not None:
        yield _dropped(who, mine)
    for monitor in ctx.spec.monitors:
        yield from _monitored(who, mine, monitor)


def _mine(ctx: EndpointContext) -> str:
    return f'namespace="{ctx.namespace}",endpoint="{ctx.name}"'


def _errors(who: str, mine: str, checks: Iterable[Check], least: int) -> Alert:
    """At the bound that rollouts are checked by, or at the default's."""
    [default] = [one.error_rate for one in DEFAULT_CHECKS if one.error_rate is not None]
    bounds = [one.error_rate.max_percent for one in checks if one.error_rate is not None]
    percent = (bounds or [default.max_percent])[0]
    bad, every = (f"{METRIC_REQUESTS}{{{mine}{more}}}[{WINDOW}]" for more in (',code=~"5.."', ""))
    expr = (
        f"100 * sum by (variant) (rate({bad})) / sum by (variant) (rate({every})) > {percent}"
        f" and on (variant) sum by (variant) (increase({every})) >= {least}"
    )
    return Alert(
        "LoopwrightEndpointErrors", "endpoint-errors", "critical", expr, WINDOW,
        f"{who} answers too many requests with errors",
        f"Variant {{{{ $labels.variant }}}}: {{{{ $value | printf \"%.1f\" }}}} % of requests fail;"
        f" {percent} % are allowed.",
    )  # fmt: skip


def _latencies(who: str, mine: str, checks: Iterable[Check]) -> Iterator[Alert]:
    """Where somebody has said how slow is too slow."""
    for check in checks:
        bound = check.latency.max_milliseconds if check.latency is not None else None
        if check.latency is None or bound is None:
            continue
        found = f"rate({METRIC_SECONDS}_bucket{{{mine}}}[{WINDOW}])"
        q = QUANTILES[check.latency.quantile]
        yield Alert(
            "LoopwrightEndpointLatency", "endpoint-latency", "warning",
            f"1000 * histogram_quantile({q}, sum by (le, variant) ({found})) > {bound}", WINDOW,
            f"{who} is slow",
            f"Variant {{{{ $labels.variant }}}}: {check.latency.quantile} of latency is"
            f" {{{{ $value | printf \"%.0f\" }}}} ms; {bound} ms are allowed by check"
            f" {check.name}.", {"check": check.name},
        )  # fmt: skip


def _dropped(who: str, mine: str) -> Alert:
    """Failed uploads are tried again, and drop what they cannot store in the end."""
    found = f"increase({METRIC_CAPTURE_DROPPED}{{{mine}}}[15m])"
    return Alert(
        "LoopwrightCaptureDropped", "capture-dropped", "warning",
        f"sum by (variant, reason) ({found}) > 0", "0m", f"{who} loses captured requests",
        "Variant {{ $labels.variant }}: {{ $value | printf \"%.0f\" }} sampled requests of the last"
        " quarter of an hour were not stored: {{ $labels.reason }}.",
    )  # fmt: skip


def _monitored(who: str, mine: str, monitor: Monitor) -> Iterator[Alert]:
    violated = f'loopwright_endpoint_monitor_violated{{{mine},monitor="{monitor.name}"}}'
    name, page, what, where = _KINDS.get(monitor.kind, _DRIFT)
    own = {"monitor": monitor.name}
    yield Alert(
        name, page, monitor.on_violation.alert.severity.value,
        f"max by (namespace, endpoint, variant, monitor) ({violated}) == 1", "0m",
        f"{who} {what}",
        f"Monitor {{{{ $labels.monitor }}}} is violated for variant {{{{ $labels.variant }}}}."
        f" {where}", own,
    )  # fmt: skip
    delay = monitor.quality.labels.delay_seconds if monitor.quality is not None else 0
    silence = max(LEAST_SILENCE, SILENT_WINDOWS * monitor.every_seconds + delay)
    yield Alert(
        "LoopwrightMonitorSilent", "monitor-silent", "warning", f"absent({violated})",
        f"{silence}s", f"Monitor {monitor.name} of {who.lower()} says nothing",
        "For three windows it could not judge any variant: too few requests or labels, pods that do"
        " not answer it, no baseline, or the monitor is gone.", own,
    )  # fmt: skip
