"""What an endpoint's route consists of, given what its Gateway can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.decide.endpoint_types import GatewayView, Seen
from loopwright.decide.types import Blocked

MIRROR: Final = "HTTPRouteRequestMirror"
MIRROR_PART: Final = "HTTPRouteRequestPercentageMirror"
REWRITE: Final = "HTTPRoutePathRewrite"
RESPONSE_HEADERS: Final = "HTTPRouteResponseHeaderModification"
TIMEOUT: Final = "HTTPRouteRequestTimeout"

OTHER: Final = "use a Gateway whose class has it"


@dataclass(frozen=True)
class RoutePlan:
    """What to make of spec.routing."""

    problem: Blocked | None = None
    """Why there is no route."""
    lacking: tuple[str, ...] = field(default=())
    """What the route goes without, with a remedy each."""
    sticky: bool = False
    mirror: bool = False
    timeout: bool = False

    @property
    def routed(self) -> bool:
        """Whether there is a route, which can divide traffic."""
        return self.problem is None


def path(spec: ModelEndpointSpec, seen: Seen) -> str:
    """The path before the model server's own."""
    if spec.routing.path is not None:
        return spec.routing.path
    return "/" if spec.routing.hostnames else f"/{seen.namespace}/{seen.endpoint}"


def plan(spec: ModelEndpointSpec, seen: Seen) -> RoutePlan:
    """What can be had of what is asked for."""
    gateway = seen.gateway
    if gateway.problem is not None:
        return RoutePlan(gateway.problem, _without_gateway(spec))
    if path(spec, seen) != "/" and not gateway.can(REWRITE):
        text = f"the Gateway's class lacks {REWRITE}; set routing.hostnames, and no routing.path"
        return RoutePlan(Blocked("GatewayUnable", text), _without_gateway(spec))
    routing = spec.routing
    sticky = routing.sticky is not None and gateway.can(RESPONSE_HEADERS)
    mirror = _mirrors(spec, gateway)
    timeout = routing.timeout_seconds is not None and gateway.can(TIMEOUT)
    lacking = []
    if routing.sticky is not None and not sticky:
        lacking.append(f"routing.sticky takes {RESPONSE_HEADERS}; {OTHER}")
    if _shadowed(spec) and not mirror:
        lacking.append(f"role: Shadow takes {_mirror_feature(spec)}; {OTHER}")
    if routing.timeout_seconds is not None and not timeout:
        lacking.append(f"routing.timeoutSeconds takes {TIMEOUT}; {OTHER}")
    return RoutePlan(None, tuple(lacking), sticky, mirror, timeout)


def _without_gateway(spec: ModelEndpointSpec) -> tuple[str, ...]:
    """What cannot be had within the cluster alone."""
    asked = {
        "weights": len([one for one in spec.variants if one.share]) > 1,
        "role: Shadow": _shadowed(spec),
        "routing.rules": bool(spec.routing.rules),
        "routing.sticky": spec.routing.sticky is not None,
        "routing.timeoutSeconds": spec.routing.timeout_seconds is not None,
    }
    wanted = [name for name, there in asked.items() if there]
    return (f"{' and '.join(wanted)} take a Gateway",) if wanted else ()


def _shadowed(spec: ModelEndpointSpec) -> bool:
    return any(not variant.serving for variant in spec.variants)


def _mirror_feature(spec: ModelEndpointSpec) -> str:
    part = any((one.mirror_percent or 100) < 100 for one in spec.variants if not one.serving)
    return MIRROR_PART if part else MIRROR


def _mirrors(spec: ModelEndpointSpec, gateway: GatewayView) -> bool:
    return _shadowed(spec) and gateway.can(_mirror_feature(spec))


def url(spec: ModelEndpointSpec, seen: Seen) -> str | None:
    """The endpoint's address through its Gateway; None while that has none."""
    gateway = seen.gateway
    names = [one for one in spec.routing.hostnames if not one.startswith("*")]
    host = names[0] if names else gateway.host
    if not host:
        return None
    usual = {"http": 80, "https": 443}.get(gateway.scheme)
    port = "" if gateway.port == usual else f":{gateway.port}"
    return f"{gateway.scheme}://{host}{port}{path(spec, seen).rstrip('/')}"
