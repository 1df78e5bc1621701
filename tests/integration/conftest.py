"""The operator as a process against a real API server, with KubeRay and the driver played."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_kuberay import FakeKubeRay
from kubectl import Kubectl, KubectlError
from replicas import Replicas

from auditlog import AuditLog
from controlplane import STATE, control_plane
from granted import grant_operator


@pytest.fixture(scope="session")
def api() -> Iterator[Kubectl]:
    """kubectl on the control plane, with the operator's namespace and its real permissions."""
    with control_plane() as client:
        grant_operator(client)
        yield client


@pytest.fixture(scope="session")
def audit(api: Kubectl) -> AuditLog:
    """The API server's audit log."""
    return AuditLog(STATE / "logs" / "audit.log")


@pytest.fixture(scope="session")
def kubeconfig(api: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials of the operator's own ServiceAccount, so that its RBAC is tested as well."""
    token = api.run("create", "token", "loopwright", "-n", "loopwright-system", "--duration=2h")
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token.strip()}
    file = tmp_path_factory.mktemp("operator") / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture
def space(api: Kubectl) -> str:
    """A namespace of the test's own."""
    name = f"it-{uuid.uuid4().hex[:8]}"
    api.run("create", "namespace", name)
    return name


@pytest.fixture
def replicas(api: Kubectl, kubeconfig: Path, space: str, tmp_path: Path) -> Iterator[Replicas]:
    """Starts operators that see nothing of other tests; none may ever log a traceback."""
    api.run("delete", "lease", "--all", "-n", "loopwright-system")
    group = Replicas(kubeconfig, tmp_path, space)
    try:
        yield group
    finally:
        group.end()
    for replica in group.all:
        assert not [line for line in replica.lines() if "exception" in line]


@pytest.fixture
def kuberay(api: Kubectl, space: str) -> Iterator[FakeKubeRay]:
    """The namespace, in which the test plays KubeRay; the claim that jobs name is there."""
    fake = FakeKubeRay(api, space)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": "results"}
    fake.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": claim}
    )
    yield fake
    for kind in ("trainingjobs", "hyperparametersweeps", "batchtransforms", "rayjobs"):
        try:
            api.run("delete", kind, "--all", "-n", space, "--wait=false")
        except KubectlError:
            continue  # A test may have removed the CRD.
