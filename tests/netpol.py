"""What NetworkPolicies mean, by the rules of networking.k8s.io/v1: who may connect to whom.

Policies are judged after a Service's address was replaced: by the pod's own address and port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or what is none (a node, the API server, the internet)."""

    address: str
    namespace: str = ""
    """Empty for what is no pod, and for pods in their node's network: policies cannot see them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """Named ports of its containers."""


def pod(address: str, namespace: str, labels: Mapping[str, str], **ports: int) -> End:
    """A pod in a namespace that has the label which Kubernetes gives to each."""
    return End(address, namespace, labels, {"kubernetes.io/metadata.name": namespace}, ports)


def allowed(
    policies: Sequence[Policy], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a connection is possible: the source may go out, and the target takes it in."""
    return _passes(policies, "Egress", source, target, target, port, protocol) and _passes(
        policies, "Ingress", target, source, target, port, protocol
    )


def _passes(
    policies: Sequence[Policy],
    way: str,
    subject: End,
    peer: End,
    target: End,
    port: int,
    protocol: str,
) -> bool:
    """Whether one end's policies of a direction let the other end through; those without any do."""
    own = [one for one in policies if way in _types(one["spec"]) and _selects(one, subject)]
    if not own:
        return True
    rules, key = way.lower(), "from" if way == "Ingress" else "to"
    return any(
        _peers(rule.get(key), one["metadata"]["namespace"], peer)
        and _ports(rule.get("ports"), target, port, protocol)
        for one in own
        for rule in one["spec"].get(rules) or ()
    )


def _types(spec: Mapping[str, Any]) -> Sequence[str]:
    default = ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return spec.get("policyTypes") or default


def _selects(policy: Policy, end: End) -> bool:
    return end.namespace == policy["metadata"]["namespace"] and matches(
        policy["spec"].get("podSelector") or {}, end.labels
    )


def _peers(peers: Sequence[Mapping[str, Any]] | None, namespace: str, end: End) -> bool:
    # None, or an empty list, is everybody.
    return not peers or any(_peer(one, namespace, end) for one in peers)


def _peer(peer: Mapping[str, Any], namespace: str, end: End) -> bool:
    if (block := peer.get("ipBlock")) is not None:
        address, network = ip_address(end.address), ip_network(block["cidr"])
        return address in network and not any(
            address in ip_network(one) for one in block.get("except") or ()
        )
    if not end.namespace:
        return False
    spaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if spaces is None:
        near = end.namespace == namespace
    else:
        near = matches(spaces, end.namespace_labels)
    return near and (pods is None or matches(pods, end.labels))


def _ports(
    ports: Sequence[Mapping[str, Any]] | None, target: End, port: int, protocol: str
) -> bool:
    return not ports or any(_port(one, target, port, protocol) for one in ports)


def _port(found: Mapping[str, Any], target: End, port: int, protocol: str) -> bool:
    if found.get("protocol", "TCP") != protocol:
        return False
    wanted = found.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return target.ports.get(wanted) == port
    return bool(wanted <= port <= found.get("endPort", wanted))


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects; an empty one selects all."""
    exact = (selector.get("matchLabels") or {}).items() <= labels.items()
    return exact and all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values") or ()
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise ValueError(f"there is no operator {one['operator']}")
