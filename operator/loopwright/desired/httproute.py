"""The route of an endpoint, and the Service that reaches it within the cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loopwright.api import names
from loopwright.api.delivery import GatewayRef, HeaderRule, Sticky
from loopwright.api.serving import FEEDBACK_PATH, GRPC_PORT, HTTP_PORT
from loopwright.desired.context import Manifest
from loopwright.desired.endpoint import EndpointContext, pod_selector

# The port of the Services that KServe makes.
PREDICTOR_PORT: Final = 80
# As long as a browser keeps it.
COOKIE: Final = "Path=/; HttpOnly; SameSite=Lax"


@dataclass(frozen=True)
class Target:
    """A revision that gets traffic."""

    variant: str
    inference_service: str
    weight: int


@dataclass(frozen=True)
class RouteContext:
    """Everything that a route depends on."""

    gateway: GatewayRef
    path: str
    targets: Sequence[Target]
    """Of requests that choose nothing."""
    of_variant: Mapping[str, Sequence[Target]] = field(default_factory=dict)
    """Of requests for one variant; those that are not ready are absent."""
    hostnames: Sequence[str] = ()
    rules: Sequence[HeaderRule] = ()
    sticky: Sticky | None = None
    mirror: tuple[str, int] | None = None
    """InferenceService that gets copies, and of how many percent of the requests."""
    timeout_seconds: int | None = None
    feedback: bool = False
    """Whether clients report outcomes."""


def httproute(ctx: EndpointContext, route: RouteContext) -> Manifest:
    """The HTTPRoute. The first rule that fits a request counts, and the last one fits all."""
    # A Gateway may deal requests out in turns. If feedback took part, who reports after each answer
    # would always ask the same variant.
    rules = [_feedback(route)] if route.feedback else []
    rules += [
        _rule(route, route.of_variant[one.variant], [_exact(h.name, h.value) for h in one.headers])
        for one in route.rules
        if one.variant in route.of_variant
    ]
    weighted = {target.variant for target in route.targets}
    if route.sticky is not None:
        rules += [
            _rule(route, targets, [_stuck(route.sticky, variant)])
            for variant, targets in route.of_variant.items()
            if variant in weighted
        ]
    rules.append(_rule(route, route.targets, []))
    spec: Manifest = {"parentRefs": [_parent(route.gateway, ctx.namespace)], "rules": rules}
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": ctx.metadata(ctx.name),
        "spec": spec,
    }


def service(ctx: EndpointContext, inference_service: str) -> Manifest:
    """An address within the cluster that stays while revisions come and go."""
    ports = [("http", 80, HTTP_PORT, {}), ("grpc", GRPC_PORT, GRPC_PORT, _H2C)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": ctx.metadata(ctx.name),
        "spec": {
            "type": "ClusterIP",
            "selector": pod_selector(inference_service),
            "ports": [
                {"name": name, "port": port, "targetPort": target, "protocol": "TCP", **more}
                for name, port, target, more in ports
            ],
        },
    }


_H2C: Final = {"appProtocol": "kubernetes.io/h2c"}


def _parent(gateway: GatewayRef, namespace: str) -> Manifest:
    found = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": gateway.name,
        "namespace": gateway.namespace or namespace,
    }
    return found | ({"sectionName": gateway.section_name} if gateway.section_name else {})


def _rule(route: RouteContext, targets: Sequence[Target], headers: list[Manifest]) -> Manifest:
    match: Manifest = {"path": {"type": "PathPrefix", "value": route.path}}
    if headers:
        match["headers"] = headers
    filters: list[Manifest] = []
    if route.path != "/":
        rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
        filters.append({"type": "URLRewrite", "urlRewrite": rewrite})
    if route.mirror is not None:
        name, percent = route.mirror
        copy: Manifest = {"backendRef": _service_ref(name)}
        if percent < 100:
            copy["percent"] = percent
        filters.append({"type": "RequestMirror", "requestMirror": copy})
    rule: Manifest = {
        "matches": [match],
        "backendRefs": [_backend(route.sticky, one) for one in targets],
    }
    if filters:
        rule["filters"] = filters
    if route.timeout_seconds is not None:
        rule["timeouts"] = {"request": _duration(route.timeout_seconds)}
    return rule


def _feedback(route: RouteContext) -> Manifest:
    """What clients report, to whoever gets traffic."""
    path = route.path.rstrip("/") + FEEDBACK_PATH
    rule: Manifest = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [_backend(None, one) for one in route.targets],
    }
    if path != FEEDBACK_PATH:
        rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": FEEDBACK_PATH}}
        rule["filters"] = [{"type": "URLRewrite", "urlRewrite": rewrite}]
    return rule


def _backend(sticky: Sticky | None, target: Target) -> Manifest:
    found = {**_service_ref(target.inference_service), "weight": target.weight}
    if sticky is None:
        return found
    name, value = sticky.header, target.variant
    if sticky.cookie is not None:
        name, value = "Set-Cookie", f"{sticky.cookie}={target.variant}; {COOKIE}"
    # Added to the answer here, so that servers of any make can be stuck to.
    header = {"add": [{"name": name, "value": value}]}
    return found | {
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": header}]
    }


def _service_ref(inference_service: str) -> Manifest:
    name = names.predictor_name(inference_service)
    return {"group": "", "kind": "Service", "name": name, "port": PREDICTOR_PORT}


def _stuck(sticky: Sticky, variant: str) -> Manifest:
    """What a request shows that belongs to a variant."""
    if sticky.header is not None:
        return _exact(sticky.header, variant)
    pair = re.escape(f"{sticky.cookie}={variant}").replace("\\-", "-")
    return {
        "type": "RegularExpression", "name": "Cookie", "value": f"^(.*;[ ]*)?{pair}([ ]*;.*)?$",
    }  # fmt: skip


def _exact(name: str, value: str) -> Manifest:
    return {"type": "Exact", "name": name, "value": value}


def _duration(seconds: int) -> str:
    """As Gateway API wants it: at most five digits of a unit."""
    return f"{seconds}s"
