"""The whole embedded cluster with Loopwright on it, and a fresh restricted namespace per test."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Iterator

import pytest
import yaml
from install import install
from kubectl import HOME, ROOT, Kubectl
from space import Space

from auditlog import AuditLog


def cluster_tool(*args: str) -> str:
    """Runs the cluster's own tool; what it prints on stdout is returned."""
    done = subprocess.run(
        ["python3", "cluster/cli.py", *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """kubectl on the embedded cluster, which is started, with Loopwright installed."""
    cluster_tool("up")
    cluster_tool("images")
    cluster_tool("status")  # Fails when one of the cluster's programs is gone.
    client = Kubectl()
    install(client)
    return client


@pytest.fixture(scope="session")
def s3(kubectl: Kubectl) -> dict[str, str]:
    """A real S3 server in the cluster: the Secret's data that pods and tests use."""
    cluster_tool("s3")
    secret = kubectl.get("secret", "s3-credentials", "s3")
    assert secret is not None
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


@pytest.fixture
def space(kubectl: Kubectl) -> Iterator[Space]:
    """A namespace that enforces restricted Pod Security, with a claim named results."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kubectl.apply(
        text=yaml.safe_dump_all(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": labels},
                },
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "results", "namespace": name},
                    "spec": claim,
                },
            ]
        )
    )
    yield Space(kubectl, name)
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def audit(kubectl: Kubectl) -> AuditLog:
    """The API server's audit log."""
    return AuditLog(HOME / "run" / "logs" / "audit.log")
