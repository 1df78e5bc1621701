"""Who may reach whom, judged by what the policies mean.

tests/e2e/test_network_policies_enforced.py has the kernel judge, in fewer cases.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from chart_reference import ROOT
from endpoint_worlds import variant

import netpol
from loopwright.api import names
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired import network
from loopwright.desired.endpoint import EndpointContext
from loopwright.desired.monitor import PORT
from loopwright.desired.network import Network
from netpol import End, allowed, pod

RAY = {
    # As KubeRay labels its pods, and over that those of the operator.
    "app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator",
    "ray.io/is-ray-node": "yes", "ray.io/cluster": "j-a1-abcde",
    **names.child_labels("TrainingJob", "j", 1),
}  # fmt: skip
SERVER = {
    "app": "isvc.ep-a-abc123-predictor", **names.child_labels("ModelEndpoint", "ep"),
    names.LABEL_VARIANT: "a", names.LABEL_REVISION: "abc123",
}  # fmt: skip
MONITOR = {
    "app.kubernetes.io/name": names.MONITOR_ACCOUNT, names.LABEL_MANAGED_BY: "loopwright",
    names.LABEL_NAME: "ep",
}  # fmt: skip
[OPERATOR] = [
    one["spec"]["template"]
    for one in yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text())
    if one["kind"] == "Deployment"
]
CHART = [
    one
    for one in yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text())
    if one.get("kind") == "NetworkPolicy"
]
LABELS = OPERATOR["metadata"]["labels"]
OPERATOR_PORTS = {
    one["name"]: one["containerPort"] for one in OPERATOR["spec"]["containers"][0]["ports"]
}

ENDS = {
    "head": pod("10.0.0.1", "team", RAY),
    "worker": pod("10.0.0.2", "team", RAY),
    "head of others": pod("10.0.1.1", "other", RAY),
    # By its kustomization, and by its chart.
    "kuberay": pod("10.0.2.1", "kuberay", {"app.kubernetes.io/name": "kuberay",
                                          "app.kubernetes.io/component": "kuberay-operator"}),
    "kuberay of helm": pod("10.0.2.2", "kuberay", {"app.kubernetes.io/name": "kuberay-operator",
                                                  "app.kubernetes.io/instance": "kuberay",
                                                  **network.KUBERAY}),
    "another kuberay": pod("10.0.1.9", "other", network.KUBERAY),
    "prometheus": pod("10.0.3.1", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "gateway": pod("10.0.4.1", "gateways", {"app": "envoy"}),
    "gateway on its node": End("192.168.0.5"),
    "API server": End("192.168.0.1"),
    "API server by IPv6": End("fd00::1"),
    "client": pod("10.0.0.7", "team", {}),
    "client elsewhere": pod("10.0.1.7", "other", {}),
    "client by IPv6": pod("fd00:1::7", "other", {}),
    "server": pod("10.0.0.3", "team", SERVER, http=8080, grpc=8081),
    "server of others": pod("10.0.1.3", "other", SERVER, http=8080, grpc=8081),
    "monitor": pod("10.0.0.4", "team", MONITOR, metrics=PORT),
    "operator": pod("10.0.5.1", "loopwright-system", LABELS, **OPERATOR_PORTS),
    "DNS": pod("10.0.6.1", "kube-system", {"k8s-app": "kube-dns"}, dns=53),
    "DNS by IPv6": pod("fd00:6::1", "kube-system", {"k8s-app": "kube-dns"}, dns=53),
    "S3": End("203.0.113.9"),
}  # fmt: skip
NAMED = Network(("kuberay",), ("gateways",), ("monitoring",))


def policies(known: Network, *, own: bool = True) -> list[Any]:
    """All policies there are."""
    spec = ModelEndpointSpec.model_validate({"variants": [variant("a")]})
    ctx = EndpointContext("ep", "team", "u", spec, {})
    return [
        network.ray("team", known), network.ray("other", known), network.monitors("team", known),
        network.servers(ctx, known, own=own), *CHART,
    ]  # fmt: skip


# Source, target, port, and whether it is possible: by default, and where namespaces are named.
TABLE: list[tuple[str, str, int, bool, bool]] = [
    # Ray: whoever reaches these ports and has the token runs code there.
    ("worker", "head", 6379, True, True),
    ("head", "worker", 52365, True, True),
    ("worker", "head", 10002, True, True),
    ("kuberay", "head", 8265, True, True),
    ("kuberay of helm", "head", 8265, True, True),
    ("kuberay", "head", 52365, True, True),
    ("kuberay", "head", 6379, False, False),
    ("another kuberay", "head", 8265, True, False),
    ("head of others", "head", 8265, False, False),
    ("head of others", "head", 52365, False, False),
    ("head of others", "head", 6379, False, False),
    ("client", "head", 8265, False, False),
    ("client elsewhere", "head", 8265, False, False),
    ("client by IPv6", "head", 8265, False, False),
    ("server", "head", 8265, False, False),
    ("monitor", "head", 8265, False, False),
    ("operator", "head", 8265, False, False),
    ("gateway on its node", "head", 8265, False, False),
    ("prometheus", "head", 8080, True, True),
    ("prometheus", "head", 8265, False, False),
    ("client elsewhere", "head", 8080, True, False),
    # Model servers.
    ("gateway", "server", 8080, True, True),
    ("gateway", "server", 8081, True, True),
    ("gateway on its node", "server", 8080, True, False),
    ("API server", "server", 8080, True, False),
    ("API server by IPv6", "server", 8080, True, False),
    ("monitor", "server", 8080, True, True),
    ("client", "server", 8080, True, True),
    ("head", "server", 8081, True, True),
    ("client elsewhere", "server", 8080, True, False),
    ("client by IPv6", "server", 8081, True, False),
    ("prometheus", "server", 8080, True, True),
    ("prometheus", "server", 8081, True, False),
    ("gateway", "server", 22, False, False),
    ("client", "server", 9000, False, False),
    # Monitors: metrics and reports.
    ("prometheus", "monitor", 8080, True, True),
    ("API server", "monitor", 8080, True, False),
    ("client", "monitor", 8080, True, False),
    ("client", "monitor", 22, False, False),
    ("prometheus", "monitor", 9090, False, False),
    # The operator, which nobody asks for anything but metrics.
    ("prometheus", "operator", 8080, True, True),
    ("prometheus", "operator", 8081, False, False),
    ("head", "operator", 8081, False, False),
    ("gateway on its node", "operator", 8080, False, False),
    # What pods reach is theirs.
    ("head", "API server", 6443, True, True),
    ("monitor", "API server", 443, True, True),
    ("operator", "API server by IPv6", 6443, True, True),
    ("head", "DNS", 53, True, True),
    ("server", "DNS by IPv6", 53, True, True),
    ("server", "S3", 443, True, True),
    ("monitor", "server of others", 8080, True, True),
]


@pytest.mark.parametrize(("source", "target", "port", "default", "named"), TABLE)
def test_who_may_reach_whom(
    source: str, target: str, port: int, default: bool, named: bool
) -> None:
    ends = ENDS[source], ENDS[target], port
    assert (allowed(policies(Network()), *ends), allowed(policies(NAMED), *ends)) == (
        default,
        named,
    )


def test_a_serving_runtime_of_others_may_listen_anywhere() -> None:
    found = policies(NAMED, own=False)
    assert allowed(found, ENDS["gateway"], ENDS["server"], 9000)
    assert allowed(found, ENDS["monitor"], ENDS["server"], 9000)
    assert not allowed(found, ENDS["client elsewhere"], ENDS["server"], 9000)


def test_policies_of_an_endpoint_are_about_its_own_pods() -> None:
    closed = policies(NAMED)
    another = pod("10.0.0.9", "team", {**SERVER, names.LABEL_NAME: "other"})
    assert allowed(closed, ENDS["client elsewhere"], another, 22)


# Of docs/guides/security.md: a namespace whose pods reach nothing but what jobs and endpoints need.
@pytest.fixture(scope="module")
def recipe() -> list[Any]:
    text = (ROOT / "docs" / "guides" / "security.md").read_text()
    blocks = [one.partition("```")[0] for one in text.split("```yaml\n")[1:]]
    return [
        one
        for block in blocks
        for one in yaml.safe_load_all(block)
        if one.get("kind") == "NetworkPolicy"
    ]


EGRESS: list[tuple[str, str, int, str, bool]] = [
    ("head", "DNS", 53, "UDP", True), ("head", "DNS by IPv6", 53, "TCP", True),
    ("head", "API server", 6443, "TCP", True), ("monitor", "API server", 6443, "TCP", True),
    ("head", "worker", 6379, "TCP", True), ("monitor", "server", 8080, "TCP", True),
    ("server", "S3", 443, "TCP", True), ("head", "S3", 443, "TCP", True),
    ("head", "metadata", 80, "TCP", False), ("server", "metadata", 80, "TCP", False),
    ("head", "S3", 25, "TCP", False), ("head", "client elsewhere", 8080, "TCP", False),
    ("head", "operator", 8080, "TCP", False), ("head", "API server", 10250, "TCP", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "port", "protocol", "possible"), EGRESS)
def test_the_recipe_for_a_closed_namespace(
    recipe: list[Any], source: str, target: str, port: int, protocol: str, possible: bool
) -> None:
    ends = {**ENDS, "metadata": End("169.254.169.254")}
    found = [*policies(Network()), *recipe]
    assert allowed(found, ends[source], ends[target], port, protocol) is possible


def test_the_evaluator_itself() -> None:
    """Each rule of the API's documentation, once."""
    a, b = pod("10.0.0.1", "n", {"x": "a"}, web=80), pod("10.0.9.1", "m", {"x": "b"})
    meta = {"namespace": "n"}
    deny = {"metadata": meta, "spec": {"podSelector": {}}}
    assert allowed([], b, a, 80)
    assert not allowed([deny], b, a, 80)
    assert allowed([deny], a, b, 80)
    assert not allowed(
        [{"metadata": meta, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}], a, b, 80
    )

    def admits(
        rule: dict[str, Any], source: End = b, port: int = 80, protocol: str = "TCP"
    ) -> bool:
        return allowed(
            [{**deny, "spec": {"podSelector": {}, "ingress": [rule]}}], source, a, port, protocol
        )

    assert admits({})
    assert admits({"ports": [{"port": "web"}]})
    assert not admits({"ports": [{"port": "web"}]}, port=81)
    assert admits({"ports": [{"port": 79, "endPort": 81}]})
    assert not admits({"ports": [{"port": 80}]}, protocol="UDP")
    assert not admits({"from": [{"podSelector": {}}]})
    assert admits({"from": [{"namespaceSelector": {}}]})
    assert not admits({"from": [{"namespaceSelector": {}}]}, End("1.2.3.4"))
    assert not admits(
        {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"x": "a"}}}]}
    )
    assert admits(
        {"from": [{"namespaceSelector": {}}, {"podSelector": {"matchLabels": {"x": "a"}}}]}
    )
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.9.0/24"]}}
    assert not admits({"from": [block]})
    assert admits({"from": [block]}, End("10.0.8.1"))
    assert not admits({"from": [block]}, End("fd00::1"))
    expressions = [
        {"key": "x", "operator": "Exists"},
        {"key": "x", "operator": "NotIn", "values": ["a"]},
    ]
    assert netpol.matches({"matchExpressions": expressions}, {"x": "b"})
    assert not netpol.matches({"matchExpressions": expressions}, {})
    assert netpol.matches(
        {"matchExpressions": [{"key": "y", "operator": "DoesNotExist"}]}, {"x": "b"}
    )
