"""NetworkPolicies: who may open connections to Ray pods, model servers and monitors.

Where no namespace is named, a rule leaves open who may come, not only to pods: Gateways may run in
their node's network, and the API server's proxy, by which `loopwright predict` and `report` ask, is
no pod either. What pods may reach is not restricted: nobody but a cluster's owner knows where its
storage, registry and API server are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loopwright.api import names, serving
from loopwright.desired.context import Manifest
from loopwright.desired.endpoint import EndpointContext

DASHBOARD: Final = 8265
AGENT: Final = 52365
METRICS: Final = 8080
# Ray pods are called kuberay too; this label only the operator of KubeRay has, by its chart and by
# its kustomization.
KUBERAY: Final = {"app.kubernetes.io/component": "kuberay-operator"}
RAY: Final = {names.LABEL_MANAGED_BY: names.MANAGER, "ray.io/is-ray-node": "yes"}
MONITORS: Final = {
    names.LABEL_MANAGED_BY: names.MANAGER, "app.kubernetes.io/name": names.MONITOR_ACCOUNT,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """Namespaces whose pods may come; none means any."""

    kuberay: tuple[str, ...] = ()
    """Of KubeRay's operator."""
    clients: tuple[str, ...] = ()
    """Of those who call endpoints, besides an endpoint's own."""
    prometheus: tuple[str, ...] = ()
    """Of those who read metrics."""


def ray(namespace: str, network: Network) -> Manifest:
    """Who may reach a Ray head runs code there: only the namespace's Ray pods and KubeRay may."""
    kuberay = {
        "namespaceSelector": _named(network.kuberay),
        "podSelector": {"matchLabels": KUBERAY},
    }
    rules = [
        {"from": [{"podSelector": {"matchLabels": RAY}}]},
        {"from": [kuberay], "ports": _tcp(DASHBOARD, AGENT)},
        {"from": [{"namespaceSelector": _named(network.prometheus)}], "ports": _tcp(METRICS)},
    ]
    return _policy(_shared(namespace, names.RUNTIME), RAY, rules)


def monitors(namespace: str, network: Network) -> Manifest:
    """Monitors answer whoever reads metrics and reports, and on no other port."""
    rule = _from(network.prometheus, [METRICS])
    return _policy(_shared(namespace, names.MONITOR_ACCOUNT), MONITORS, [rule])


def servers(ctx: EndpointContext, network: Network, *, own: bool) -> Manifest:
    """Model servers answer clients, the endpoint's monitor and whoever reads metrics.

    Args:
        own: Whether all of them are Loopwright's. Others listen where they like.
    """
    ports = [serving.HTTP_PORT, serving.GRPC_PORT] if own else []
    rules = [_from(network.clients, ports)]
    if network.clients:
        near: Manifest = {"from": [{"podSelector": {}}]}
        rules.append({**near, "ports": _tcp(*ports)} if ports else near)
        metrics = {"namespaceSelector": _named(network.prometheus)}
        rules.append({"from": [metrics], "ports": _tcp(serving.HTTP_PORT)})
    labels = names.child_labels("ModelEndpoint", ctx.name)
    return _policy(ctx.metadata(names.policy_name(ctx.name)), labels, rules)


def _policy(metadata: Manifest, labels: dict[str, str], rules: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def _shared(namespace: str, name: str) -> Manifest:
    return {"name": name, "namespace": namespace, "labels": names.namespace_labels()}


def _from(namespaces: tuple[str, ...], ports: list[int]) -> Manifest:
    """A rule for pods of these namespaces, or for everybody."""
    rule: Manifest = {"ports": _tcp(*ports)} if ports else {}
    if namespaces:
        rule["from"] = [{"namespaceSelector": _named(namespaces)}]
    return rule


def _named(namespaces: tuple[str, ...]) -> Manifest:
    if not namespaces:
        return {}
    values = sorted(namespaces)
    key = "kubernetes.io/metadata.name"
    return {"matchExpressions": [{"key": key, "operator": "In", "values": values}]}


def _tcp(*ports: int) -> list[Manifest]:
    # With the protocol that the API server would add, or what is stored would differ from this.
    return [{"port": port, "protocol": "TCP"} for port in ports]
