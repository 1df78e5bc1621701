"""Looks up the Gateway that an endpoint's route belongs to, and what it can do."""

from __future__ import annotations

import time
from typing import Any, Final

from loopwright.api.delivery import GatewayRef
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.resources import GATEWAY, GATEWAYCLASS, MODELENDPOINT, Key
from loopwright.decide.endpoint_types import GatewayView
from loopwright.decide.types import Blocked
from loopwright.kube.errors import Forbidden, KindMissing, NotFound
from loopwright.reconcile.context import Context, Remembered

# Gateways seldom change, and endpoints are many.
REMEMBER_SECONDS: Final = 30.0
NONE: Final = GatewayView(
    Blocked(
        "NoGateway",
        "there is no Gateway; set routing.gatewayRef, or the operator's LOOPWRIGHT_GATEWAY",
    )
)


def reference(ctx: Context, key: Key, spec: ModelEndpointSpec) -> GatewayRef | None:
    """The Gateway of an endpoint, if any."""
    asked = spec.routing.gateway_ref
    if asked is not None:
        return asked.model_copy(update={"namespace": asked.namespace or key.namespace})
    namespace, _, name = ctx.settings.gateway.rpartition("/")
    return GatewayRef(name=name, namespace=namespace or key.namespace) if name else None


async def look_up(ctx: Context, key: Key, spec: ModelEndpointSpec) -> GatewayView:
    """The Gateway of an endpoint, as it was less than half a minute ago."""
    ref = reference(ctx, key, spec)
    if ref is None:
        return NONE
    assert ref.namespace is not None
    name = Key(GATEWAY.kind, ref.namespace, f"{ref.name}/{ref.section_name or ''}")
    known = ctx.gateways.get(name)
    if known is None or known.until < time.monotonic():
        known = Remembered(await _read(ctx, ref), time.monotonic() + REMEMBER_SECONDS)
        ctx.gateways[name] = known
    if known.gateway.problem is None and (other := _rival(ctx, key, spec, ref)) is not None:
        text = f"ModelEndpoint '{other}' has the same host and path; change routing.path of one"
        return GatewayView(Blocked("RouteConflict", text, permanent=True), asked=True)
    return known.gateway


async def _read(ctx: Context, ref: GatewayRef) -> GatewayView:
    assert ref.namespace is not None
    try:
        gateway = await ctx.client.get(GATEWAY, ref.namespace, ref.name)
        class_ = await ctx.client.get(GATEWAYCLASS, None, gateway["spec"]["gatewayClassName"])
    except KindMissing:
        text = "the cluster lacks the Gateway API; install its CRDs and a Gateway"
        return GatewayView(Blocked("DependencyMissing", text), asked=True)
    except NotFound as error:
        text = f"{error.message}; create it, or change routing.gatewayRef"
        return GatewayView(Blocked("GatewayNotFound", text), asked=True)
    except Forbidden as error:
        return GatewayView(Blocked("Forbidden", error.message), asked=True)
    return view(gateway, class_, ctx.settings.gateway_features, ref.section_name)


def view(
    gateway: dict[str, Any],
    class_: dict[str, Any],
    more: tuple[str, ...],
    section: str | None = None,
) -> GatewayView:
    """A Gateway by what it and its class say.

    Args:
        more: Features of a class that does not say all.
    """
    told = (class_.get("status") or {}).get("supportedFeatures") or []
    # Texts, in versions of the API before 1.2.
    features = {one["name"] if isinstance(one, dict) else str(one) for one in told}
    addresses = (gateway.get("status") or {}).get("addresses") or []
    listeners = [
        one
        for one in gateway["spec"].get("listeners") or []
        if one.get("protocol") in ("HTTP", "HTTPS") and section in (None, one["name"])
    ]
    first: dict[str, Any] = listeners[0] if listeners else {"protocol": "HTTP", "port": 80}
    return GatewayView(
        asked=True,
        features=frozenset(features | set(more)) if features or more else None,
        scheme=first["protocol"].lower(),
        host=addresses[0]["value"] if addresses else "",
        port=first["port"],
    )


def _rival(ctx: Context, key: Key, spec: ModelEndpointSpec, ref: GatewayRef) -> str | None:
    """An older endpoint with the same Gateway, a common host and the same path."""
    routing = spec.routing
    if not routing.hostnames and routing.path is None:
        return None  # The path by default holds the endpoint's own name.
    mine = ctx.cache.get(key)
    for other in ctx.cache.own():
        obj = ctx.cache.get(other)
        if other.kind != MODELENDPOINT.kind or other == key or obj is None or mine is None:
            continue
        if _claim(ctx, other, obj) & _claim(ctx, key, mine) and _older(obj, mine):
            return f"{other.namespace}/{other.name}"
    return None


def _older(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """As Gateway API decides: by age, then by name."""
    found = [
        (m["creationTimestamp"], m["namespace"], m["name"])
        for m in (one["metadata"], other["metadata"])
    ]
    return found[0] < found[1]


def _claim(ctx: Context, key: Key, obj: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Gateway, host and path of an endpoint, which may be invalid."""
    routing = (obj.get("spec") or {}).get("routing") or {}
    asked = routing.get("gatewayRef") or {}
    gateway = ctx.settings.gateway
    if asked:
        gateway = f"{asked.get('namespace') or key.namespace}/{asked.get('name')}"
    hosts = routing.get("hostnames") or []
    path = routing.get("path") or ("/" if hosts else f"/{key.namespace}/{key.name}")
    return {(gateway, host, path) for host in hosts or [""]}
