"""What scales a revision, and what protects it while nodes are drained."""

from __future__ import annotations

from typing import Final

from loopwright.api import names, quantity
from loopwright.api.delivery import Autoscaling, ScalingMetric
from loopwright.api.modelendpoint_status import Served
from loopwright.api.serving import METRIC_REQUESTS
from loopwright.desired.context import Manifest
from loopwright.desired.endpoint import EndpointContext, pod_selector

# The model servers' counter, over as long as Prometheus usually needs for two scrapes.
RPS_QUERY: Final = (
    f"sum(rate({METRIC_REQUESTS}"
    '{{namespace="{namespace}",endpoint="{endpoint}",variant="{variant}"}}[1m]))'
)
POLLING_SECONDS: Final = 15


def autoscaler(
    ctx: EndpointContext, variant: str, served: Served, scaling: Autoscaling, least: int
) -> Manifest | None:
    """What scales a revision, from `least` pods on; None when the operator does not see to it."""
    if scaling.mode == "HPA":
        return _hpa(ctx, variant, served, scaling, least)
    if scaling.mode == "KEDA":
        return _scaled_object(ctx, variant, served, scaling, least)
    return None


def disruption_budget(ctx: EndpointContext, variant: str, served: Served) -> Manifest:
    """Lets drained nodes take one pod at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": ctx.revision_metadata(variant, served),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pod_selector(served.inference_service)},
        },
    }


def filled(query: str, ctx: EndpointContext, variant: str, revision: str, window: int = 60) -> str:
    """A user's PromQL with the names that it asks for."""
    values = {
        "endpoint": ctx.name,
        "namespace": ctx.namespace,
        "variant": variant,
        "revision": revision,
        "window": f"{window}s",
    }
    for name, value in values.items():
        query = query.replace(f"{{{{{name}}}}}", value)
    return query


def _target(served: Served) -> Manifest:
    name = names.predictor_name(served.inference_service)
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}


def _hpa(
    ctx: EndpointContext, variant: str, served: Served, scaling: Autoscaling, least: int
) -> Manifest:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": ctx.revision_metadata(variant, served),
        "spec": {
            "scaleTargetRef": _target(served),
            "minReplicas": least,
            "maxReplicas": scaling.max,
            "metrics": [_resource(metric) for metric in scaling.metrics],
            "behavior": {"scaleDown": _shrink(scaling)},
        },
    }


def _shrink(scaling: Autoscaling) -> Manifest:
    # In full, as the API server would fill it up, or what is stored would differ from this.
    return {
        "stabilizationWindowSeconds": scaling.scale_down_window_seconds,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


def _resource(metric: ScalingMetric) -> Manifest:
    if metric.cpu is not None:
        target = {"type": "Utilization", "averageUtilization": metric.cpu.utilization}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    assert metric.memory is not None
    amount = quantity.canonical(metric.memory.average)
    target = {"type": "AverageValue", "averageValue": amount}
    return {"type": "Resource", "resource": {"name": "memory", "target": target}}


def _scaled_object(
    ctx: EndpointContext, variant: str, served: Served, scaling: Autoscaling, least: int
) -> Manifest:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": ctx.revision_metadata(variant, served),
        "spec": {
            "scaleTargetRef": _target(served),
            "minReplicaCount": least,
            "maxReplicaCount": scaling.max,
            "pollingInterval": POLLING_SECONDS,
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": _shrink(scaling)}}
            },
            "triggers": [_trigger(ctx, variant, served, one) for one in scaling.metrics],
        },
    }


def _trigger(ctx: EndpointContext, variant: str, served: Served, metric: ScalingMetric) -> Manifest:
    if metric.cpu is not None:
        return _plain("cpu", "Utilization", str(metric.cpu.utilization))
    if metric.memory is not None:
        return _plain("memory", "AverageValue", quantity.canonical(metric.memory.average))
    if metric.rps is not None:
        query = RPS_QUERY.format(endpoint=ctx.name, namespace=ctx.namespace, variant=variant)
        threshold = str(metric.rps.per_replica)
    else:
        assert metric.prometheus is not None
        query = filled(metric.prometheus.query, ctx, variant, served.revision)
        threshold = metric.prometheus.threshold
    server = {"serverAddress": ctx.prometheus_url, "query": query, "threshold": threshold}
    return {"type": "prometheus", "metadata": server}


def _plain(kind: str, metric_type: str, value: str) -> Manifest:
    return {"type": kind, "metricType": metric_type, "metadata": {"value": value}}
