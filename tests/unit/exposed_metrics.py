"""Which metrics Loopwright exposes with which labels, asked of the code that exposes them; and
whether an expression asks for these and no others."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import promql_parser as promql
from prometheus_client import Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from loopwright import endpoint_metrics, metrics
from loopwright.kube.cache import Cache
from loopwright.monitor.service import Figures
from loopwright.serving.metrics import COLLECTOR, DESCRIBED, LABELS

Labels = frozenset[str]

# What Prometheus adds to all that a pod exposes, when it is told by a ServiceMonitor or PodMonitor.
POD = frozenset({"namespace", "pod", "container", "job", "instance"})
SERVICE = POD | {"service"}
# Prometheus' own; its other labels are those of the alert's rule.
ALERTS = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}


def _named(kind: type[Any], name: str, labels: Iterable[str]) -> dict[str, Labels]:
    own = frozenset(labels)
    if issubclass(kind, Histogram):
        return {f"{name}_bucket": own | {"le"}, f"{name}_count": own, f"{name}_sum": own}
    return {name: own}


def _of_client(one: Counter | Gauge | Histogram) -> dict[str, Labels]:
    name = f"{one._name}{'_total' * isinstance(one, Counter)}"
    return _named(type(one), name, one._labelnames)


def _of_families(*families: Any) -> dict[str, Labels]:
    found: dict[str, Labels] = {}
    for one in families:
        assert isinstance(one, GaugeMetricFamily)
        found[one.name] = frozenset(one._labelnames)
    return found


def operator() -> dict[str, Labels]:
    """The operator's own metrics."""
    found: dict[str, Labels] = {}
    clients = [*vars(metrics).values()]
    clients += [one for figures in metrics.FIGURES.values() for one in vars(figures).values()]
    for one in clients:
        if isinstance(one, Counter | Gauge | Histogram):
            found |= _of_client(one)
    cache = Cache()
    for collector in (
        metrics.JobCollector(cache, lambda: datetime.now(UTC)),
        metrics.SweepCollector(cache), metrics.BatchCollector(cache),
        metrics.BudgetCollector(cache), metrics.EndpointCollector(cache),
        endpoint_metrics.EndpointStates(cache),
    ):  # fmt: skip
        found |= _of_families(*collector.collect())
    return found


def monitor() -> dict[str, Labels]:
    """Those of an endpoint's monitor, which has seen nothing yet."""
    watcher: Any = SimpleNamespace(
        config=None, report=None, experiment=None, verdicts=list,
        sketches=SimpleNamespace(drifting=dict),
    )  # fmt: skip
    return _of_families(*Figures(watcher).collect())


def server() -> dict[str, Labels]:
    """Those of the model server, and of the collector of KServe's events."""
    found: dict[str, Labels] = {}
    for one in (*DESCRIBED, *COLLECTOR):
        found |= _named(one.kind, one.name, (*LABELS, *one.labels))
    return found


def process() -> dict[str, Labels]:
    """Those of every process."""
    names = (f"{one.name}{'_total' * (one.type == 'counter')}" for one in ProcessCollector(
        registry=None).collect())  # fmt: skip
    return dict.fromkeys(names, SERVICE)


@functools.cache
def exposed() -> Mapping[str, Labels]:
    """All metrics, with their labels as Prometheus stores them."""
    return {
        **{name: labels | SERVICE for name, labels in operator().items()},
        **{name: labels | POD for name, labels in (monitor() | server()).items()},
        **process(),
        **ALERTS,
    }


def names(expr: Any) -> set[str]:
    """The metrics that an expression asks for."""
    if isinstance(expr, promql.VectorSelector):
        return {str(expr.name)}
    return {name for part in _parts(expr) for name in names(part)}


def labels_of(expr: Any) -> Labels:
    """The labels that the result of an expression may have.

    Raises:
        AssertionError: it asks for a metric or a label that nobody exposes.
    """
    if isinstance(expr, promql.VectorSelector):
        name = str(expr.name)
        assert name in exposed(), f"nobody exposes {name}"
        known = exposed()[name]
        asked = {one.name for one in expr.matchers.matchers}
        assert asked <= known, f"{name} has no {asked - known}"
        return known
    inner = frozenset(label for part in _parts(expr) for label in labels_of(part))
    if isinstance(expr, promql.AggregateExpr):
        return _grouped(expr, inner)
    if isinstance(expr, promql.BinaryExpr):
        return _matched(expr, inner)
    if isinstance(expr, promql.Call) and expr.func.name == "histogram_quantile":
        assert "le" in inner, f"no buckets: {expr}"
        return inner - {"le"}
    return inner


def _parts(expr: Any) -> list[Any]:
    """The expressions that an expression consists of."""
    if isinstance(expr, promql.BinaryExpr):
        return [expr.lhs, expr.rhs]
    if isinstance(expr, promql.Call):
        return list(expr.args)
    if isinstance(expr, promql.MatrixSelector):
        return [expr.vector_selector]
    if isinstance(expr, promql.NumberLiteral | promql.StringLiteral | promql.VectorSelector):
        return []
    return [expr.expr]


def _grouped(expr: promql.AggregateExpr, inner: Labels) -> Labels:
    if expr.modifier is None:
        # These choose series, and change none.
        return inner if str(expr.op) in ("topk", "bottomk") else frozenset()
    asked = frozenset(expr.modifier.labels)
    assert asked <= inner, f"no {asked - inner} in {expr.expr.prettify()}"
    by = expr.modifier.type == promql.AggModifierType.By
    return asked if by else inner - asked


def _matched(expr: promql.BinaryExpr, inner: Labels) -> Labels:
    matching = expr.modifier.matching if expr.modifier else None
    if matching is not None:
        for side in (expr.lhs, expr.rhs):
            assert set(matching.labels) <= labels_of(side), f"no {matching.labels} in {side}"
    return inner
