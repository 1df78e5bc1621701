"""The PrometheusRule of an endpoint, where the cluster has the kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopwright.api.resources import PROMETHEUSRULE, Key
from loopwright.desired.alerts import AlertSettings, prometheus_rule
from loopwright.desired.endpoint import EndpointContext
from loopwright.kube.errors import ApiError, KindMissing
from loopwright.reconcile.context import Context


def rules(ctx: Context, endpoint: EndpointContext) -> list[dict[str, Any]]:
    """What there is to be."""
    if not ctx.knows(PROMETHEUSRULE):
        return []
    settings = AlertSettings(ctx.settings.rule_labels, ctx.settings.runbook_url)
    return [prometheus_rule(endpoint, settings)]


def tell(ctx: Context, key: Key, errors: Mapping[Key, ApiError]) -> None:
    """Tells people of rules that are refused; an endpoint serves without them."""
    obj = ctx.cache.get(key)
    for name, error in errors.items():
        # A CRD that has just gone is no news.
        if name.kind == PROMETHEUSRULE.kind and obj and not isinstance(error, KindMissing):
            text = f"PrometheusRule '{name.name}': {error.message}"
            ctx.events.record(obj, "Warning", "AlertsRefused", text, ctx.now())
