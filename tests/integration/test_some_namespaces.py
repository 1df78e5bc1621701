"""An operator that watches some namespaces, with the rights that the Helm chart gives it there."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import test_registry
import test_sweeps
import yaml
from fake_kserve import CHECKED, version
from fake_kuberay import FakeKubeRay
from helm import CHART, Helm
from kubectl import Kubectl
from replicas import Replica, Replicas
from scenes import scene, serving

from eventually import eventually
from granted import granted

ONCE_A_CLUSTER = ("userRoles", "admissionPolicies", "servingRuntimes")
BATCH = {
    "apiVersion": "loopwright.io/v1alpha1", "kind": "BatchTransform", "metadata": {"name": "batch"},
    "spec": {
        "model": {"trainingJobRef": {"name": "digits"}},
        "input": {"uri": "pvc://results/in", "format": "csv"},
        "output": {"uri": "pvc://results/out/"},
    },
}  # fmt: skip
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}

# Specs of the pods that are made from an object.
PODS: dict[str, Callable[[Any], list[Any]]] = {
    "RayJob": lambda one: [
        group["template"]["spec"]
        for cluster in [one["spec"]["rayClusterSpec"]]
        for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ()))
    ],
    "InferenceService": lambda one: [one["spec"]["predictor"]],
}


@dataclass
class Tenant:
    """An operator's own namespace, and how to run the operator with its rights."""

    api: Kubectl
    name: str
    replicas: Replicas

    def lead(self, *namespaces: str) -> Replica:
        """The operator, installed by the chart to watch some namespaces, once it leads."""
        values: dict[str, Any] = {one: {"create": False} for one in ONCE_A_CLUSTER}
        # The ClusterRole of another name is that of the operator that watches all.
        values |= {"watchNamespaces": list(namespaces), "fullnameOverride": self.name}
        self.api.apply(text=Helm().template("tenant", CHART, self.name, values))
        account = f"system:serviceaccount:{self.name}:{self.name}"
        for namespace in namespaces:
            granted(self.api, account, "list", "trainingjobs.loopwright.io", namespace)
        granted(self.api, account, "update", "leases.coordination.k8s.io", self.name)
        token = self.api.run("create", "token", self.name, "-n", self.name, "--duration=2h")
        config = yaml.safe_load(self.api.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token.strip()}
        self.replicas.kubeconfig.write_text(yaml.safe_dump(config))
        return self.replicas.lead(
            namespaces=",".join(namespaces), namespace=self.name, drain_seconds="1",
            image_pull_secrets="registry",
        )  # fmt: skip


@pytest.fixture
def tenant(api: Kubectl, tmp_path: Path) -> Iterator[Tenant]:
    """A namespace for an operator of its own."""
    name = f"own-{uuid.uuid4().hex[:8]}"
    api.run("create", "namespace", name)
    replicas = Replicas(tmp_path / "kubeconfig", tmp_path)
    yield Tenant(api, name, replicas)
    for replica in replicas.all:
        if replica.process.poll() is None:
            assert replica.end(signal.SIGTERM) == 0
    api.run("delete", "clusterrole,clusterrolebinding", name)


def refusals(replica: Replica) -> list[str]:
    """What the operator logged about rights that it lacks, by kopf or by itself."""
    # The number 403 alone may be a part of a version or a time.
    return [
        text for line in replica.lines()
        if "orbidden" in (text := str(line)) or "Not enough permissions" in text
    ]  # fmt: skip


def prepared(api: Kubectl, namespace: str) -> FakeKubeRay:
    """KubeRay of a namespace, and the claim that jobs name."""
    fake = FakeKubeRay(api, namespace)
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "results"}}
    fake.apply({**claim, "spec": CLAIM})
    return fake


async def test_roles_in_its_namespaces_are_all_that_an_operator_needs(
    api: Kubectl, space: str, tenant: Tenant
) -> None:
    async with scene(api.kubeconfig, space) as it:
        where = space
        operator = tenant.lead(where)
        # Training with all that a job may name, a search, a batch, and what comes of them.
        kuberay = prepared(api, where)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}}
        priority = {
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1,
            "metadata": {"name": f"priority-{where}"},
        }  # fmt: skip
        kuberay.apply(secret, priority)
        registry = test_registry.Registry(api, kuberay)
        made = registry.train("digits", aliases=["live"])
        eventually("the version", lambda: registry.stage(made))
        kuberay.create(
            "named", scheduling={"priorityClass": f"priority-{where}"},
            output={"uri": "s3://models/x", "secretRef": {"name": "keys"}},
        )  # fmt: skip
        kuberay.rayjob("named-a1")
        api.run("delete", "trainingjob", "named", "-n", where)
        sweeps = FakeKubeRay(api, where, "HyperparameterSweep")
        test_sweeps.create(sweeps, "search")
        sweeps.finish("search")
        batches = FakeKubeRay(api, where, "BatchTransform")
        batches.apply(BATCH)
        batches.rayjob("batch-b1")
        # Serving with an autoscaler, a rollout, and the monitor that judges it.
        await serving(it, autoscaling={"min": 2, "max": 3}, rollout=CHECKED)
        await it.create(version("v3"))
        await it.canary("v3")
        it.fake.blind = False
        await it.ready("m-v3")
        assert await it.namespace.list("PodDisruptionBudget")
        pods = [
            pod for kind in PODS for one in await it.namespace.list(kind) for pod in PODS[kind](one)
        ]
        assert len(pods) > 5
        assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for pod in pods)
        assert refusals(operator) == []


def test_elsewhere_an_operator_does_and_may_do_nothing(api: Kubectl, tenant: Tenant) -> None:
    other, where = f"other-{tenant.name}", f"its-{tenant.name}"
    for name in (other, where):
        api.run("create", "namespace", name)
    # In its own namespace it watches its Lease, and so sees jobs there.
    strangers = [prepared(api, name) for name in (other, tenant.name)]
    for stranger in strangers:
        stranger.create("job")
    operator = tenant.lead(where)
    kuberay = prepared(api, where)
    kuberay.create("job")
    kuberay.finish("job")
    assert [stranger.status("job") for stranger in strangers] == [{}, {}]
    assert refusals(operator) == []
    account = f"--as=system:serviceaccount:{tenant.name}:{tenant.name}"
    for verb, resource, allowed in (
        ("create", "rayjobs.ray.io", {where}),
        ("get", "secrets", {where}),
        ("list", "trainingjobs.loopwright.io", {where, tenant.name}),
        ("update", "leases.coordination.k8s.io", {tenant.name}),
    ):
        may = {
            name
            for name in (where, tenant.name, other)
            if api.run("auth", "can-i", verb, resource, account, "-n", name, check=False).strip()
            == "yes"
        }
        assert may == allowed, (verb, resource)


def test_a_right_that_is_missing_is_seen_in_the_log(api: Kubectl, tenant: Tenant) -> None:
    """What the other tests look for is there when there is a reason."""
    where = f"its-{tenant.name}"
    api.run("create", "namespace", where)
    operator = tenant.lead(where)
    prepared(api, where)
    assert refusals(operator) == []
    api.run("delete", "rolebinding", tenant.name, "-n", where)
    FakeKubeRay(api, where).create("job")
    eventually("a refusal in the log", lambda: refusals(operator))
