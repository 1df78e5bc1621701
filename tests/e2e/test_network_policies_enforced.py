"""NetworkPolicies where they are enforced: all that must pass does, and strangers stay out.

What each policy means, tests/unit/test_network_policies.py says; here the kernel says it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import scripts
import yaml
from conftest import cluster_tool, one_at_a_time, rolled_out
from endpoints import Endpoint, variant
from helm import CHART, Helm
from install import LOCAL, NAMESPACE, RELEASE
from kubectl import ROOT, Kubectl
from space import Space
from visitors import Socket, Visitor, at, listening

from loopwright.api import names, serving
from loopwright.desired import network

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

# Where the API server and DNS answer.
NODE = "10.189.0.1/32"
# Of a Ray head: its store, and where clients connect.
GCS, CLIENTS = 6379, 10001
CONSOLE = f"{RELEASE}-console"
KUBERAY = (network.DASHBOARD, network.AGENT)
# A short window: the point is that there is one.
MONITOR = {"name": "drift", "kind": "DataDrift", "everySeconds": 20, "minSamples": 50}


@pytest.fixture
def enforced(kubectl: Kubectl) -> Iterator[None]:
    """The cluster enforces policies, those of other tests as well."""
    with one_at_a_time("network-policies"):
        enforce()
        try:
            yield
        finally:
            let_all_pass()


def enforce() -> None:
    """From now on policies hold."""
    cluster_tool("network-policies-up")


def let_all_pass() -> None:
    """From now on they do not: what a test of a closed port needs, or it would prove nothing."""
    cluster_tool("network-policies-down")


@contextlib.contextmanager
def namespace(kubectl: Kubectl, name: str) -> Iterator[str]:
    """A namespace without anything of ours."""
    kubectl.run("create", "namespace", name)
    try:
        yield name
    finally:
        kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def elsewhere(space: Space, kubectl: Kubectl) -> Iterator[str]:
    """Of people who have nothing to do with the test's own."""
    with namespace(kubectl, f"{space.name}-elsewhere") as name:
        yield name


@pytest.fixture
def monitoring(space: Space, kubectl: Kubectl) -> Iterator[str]:
    """Where metrics are read."""
    with namespace(kubectl, f"{space.name}-monitoring") as name:
        yield name


def visit(space: Space, *visitors: Visitor) -> None:
    """Starts visitors and waits for them."""
    space.kubectl.apply(text="\n---\n".join(json.dumps(one.pod()) for one in visitors))
    for one in visitors:
        space.kubectl.run(
            "wait", "pod", one.name, "-n", one.namespace, "--for=condition=Ready", "--timeout=300s"
        )


def closed(namespace: str) -> dict[str, Any]:
    """The guide's recipe for a namespace whose pods reach nothing but what jobs need."""
    text = (ROOT / "docs" / "guides" / "security.md").read_text()
    blocks = [one.partition("```")[0] for one in text.split("```yaml\n")[1:]]
    objects: list[dict[str, Any]] = [one for text in blocks for one in yaml.safe_load_all(text)]
    [recipe] = [one for one in objects if one.get("kind") == "NetworkPolicy"]
    # Elsewhere DNS is pods, and nodes have addresses of their own. Here the node has one of pods.
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 6443, "protocol": "TCP"}]
    node = {"to": [{"ipBlock": {"cidr": NODE}}], "ports": ports}
    recipe["metadata"]["namespace"] = namespace
    recipe["spec"]["egress"].append(node)
    return recipe


# Not beside an upgrade: the new operator and this job's pods would wait for the same room.
@pytest.mark.usefixtures("several_pods", "enforced", "release")
def test_a_job_trains_in_a_closed_namespace_and_nobody_else_reaches_ray(
    space: Space, elsewhere: str
) -> None:
    space.apply(closed(space.name))
    near = Visitor(space.kubectl, space.name, "stranger")
    far = Visitor(space.kubectl, elsewhere, "stranger")
    ray = Visitor(space.kubectl, elsewhere, "ray", network.RAY)
    kuberay = Visitor(space.kubectl, elsewhere, "kuberay", network.KUBERAY)
    visit(space, near, far, ray, kuberay)
    space.train(
        "closed", scripts.IN_STEP, hyperparameters={"epochs": "8", "hold": "4"}, numWorkers=2,
        resourcesPerWorker={"cpu": "500m", "memory": "1500Mi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
    )  # fmt: skip
    space.wait("closed", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 3)

    head, *workers = [
        listening(space.kubectl, one)
        for role in ("head", "worker")
        for one in space.pods("closed", role)
    ]
    assert len(workers) == 2
    assert {port for _, port in head} >= {GCS, CLIENTS, network.METRICS, *KUBERAY}
    of_ray, outside = head.union(*workers), {far.socket()}
    near.gets(of_ray | outside, at(of_ray, network.METRICS))
    for stranger in (far, ray):
        stranger.gets(of_ray | outside, at(of_ray, network.METRICS) | outside)
    kuberay.gets(of_ray, at(of_ray, network.METRICS, *KUBERAY))

    known = at(of_ray, GCS, CLIENTS, network.METRICS, *KUBERAY) | outside
    let_all_pass()
    for stranger in (near, far):
        stranger.gets(known, known)
    enforce()
    near.gets(known, at(known, network.METRICS))
    space.let_go()
    status = space.phase("closed", "Succeeded")
    assert [one["number"] for one in status["attempts"]] == [1]
    assert status["failures"] == {"application": 0, "infrastructure": 0}


@pytest.fixture
def named(helm: Helm, kubectl: Kubectl, monitoring: str) -> None:
    """The release names who may come: Gateways to servers, readers of metrics, and KubeRay."""
    readers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": monitoring}}}]
    settings: dict[str, Any] = {
        **LOCAL["settings"], "kuberayNamespaces": ["kuberay-system"],
        "clientNamespaces": ["gateway", "envoy-gateway-system"],
        "prometheusNamespaces": [monitoring],
    }  # fmt: skip
    values = {
        **LOCAL, "settings": settings, "networkPolicy": {"metricsFrom": readers},
        "console": {"enabled": True, "from": readers},
    }  # fmt: skip
    helm.upgrade(RELEASE, CHART, NAMESPACE, values)
    for deployment in (RELEASE, CONSOLE):
        rolled_out(kubectl, deployment)


def sockets(kubectl: Kubectl, namespace: str, selector: str) -> set[Socket]:
    """On what the only pod that is selected listens for others."""
    [pod] = [
        one
        for one in kubectl.list("pods", namespace, selector)
        if "deletionTimestamp" not in one["metadata"]
    ]
    return listening(kubectl, pod)


@pytest.mark.usefixtures("digits", "enforced", "named")
def test_an_endpoint_answers_by_its_gateway_alone(
    space: Space, elsewhere: str, monitoring: str
) -> None:
    near = Visitor(space.kubectl, space.name, "stranger")
    far = Visitor(space.kubectl, elsewhere, "stranger")
    reader = Visitor(space.kubectl, monitoring, "reader")
    visit(space, near, far, reader)
    endpoint = Endpoint(space, "digits").apply(variant(), monitors=[MONITOR])
    endpoint.ready()
    with endpoint.load(connections=1, pause=0.05) as load:
        endpoint.until("counts", lambda one: state(one) in ("OK", "Violated"))
    assert load.failures == []

    of_ours = f"{names.LABEL_MANAGED_BY}={names.MANAGER}"
    server = sockets(space.kubectl, space.name, f"{of_ours},{names.LABEL_VARIANT}=main")
    watching = sockets(space.kubectl, space.name, f"app.kubernetes.io/name={names.MONITOR_ACCOUNT}")
    operator = sockets(space.kubectl, NAMESPACE, f"app.kubernetes.io/name={RELEASE}")
    console = sockets(space.kubectl, NAMESPACE, f"app.kubernetes.io/name={CONSOLE}")
    everything = server | watching | operator | console
    assert at(server, serving.HTTP_PORT, serving.GRPC_PORT) == server
    near.gets(everything, server)
    far.gets(everything, set())
    metrics = server | watching | operator
    reader.gets(everything, at(metrics, serving.HTTP_PORT) | console)

    let_all_pass()
    far.gets(everything, everything)


def state(status: dict[str, Any]) -> str:
    """What the endpoint's only monitor says."""
    found = status.get("monitors") or [{}]
    return str(found[0].get("state", ""))
