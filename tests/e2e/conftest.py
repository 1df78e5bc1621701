"""The whole embedded cluster with Loopwright on it, and a fresh restricted namespace per test."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import subprocess
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
import yaml
from digit_rows import DigitRows, store
from helm import CHART, Helm
from install import LOCAL, NAMESPACE, RELEASE, install
from kubectl import HOME, ROOT, Kubectl
from objects import BUCKET, s3_folder
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from space import Space
from stored_model import StoredModel, store_model

from auditlog import AuditLog

# Of a test, with what it waits for before it begins. Parts of it have limits that say more.
LIMIT_SECONDS = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests on the cluster the time that they may need on a slow machine."""
    for item in items:
        if item.get_closest_marker("e2e") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


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


@contextlib.contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Workers of one test run share the cluster, and take turns at this."""
    with (HOME / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def kubectl(testrun_uid: str) -> Kubectl:
    """kubectl on the embedded cluster, which is started, with Loopwright installed."""
    with one_at_a_time("e2e"):
        done = HOME / "e2e.installed"
        if not done.exists() or done.read_text() != testrun_uid:
            cluster_tool("up")
            cluster_tool("images")
            cluster_tool("status")  # Fails when one of the cluster's programs is gone.
            install(Kubectl())
            # Another worker's tests may be under way when the next one gets here.
            done.write_text(testrun_uid)
    return Kubectl()


@pytest.fixture
def several_pods(kubectl: Kubectl) -> Iterator[None]:
    """For jobs of several pods: no other test has one meanwhile."""
    with one_at_a_time("several-pods"):
        yield


@pytest.fixture
def release(kubectl: Kubectl) -> Iterator[None]:
    """For those who change Loopwright's release: Helm refuses two at once."""
    with one_at_a_time("release"):
        yield


@pytest.fixture
def helm(kubectl: Kubectl, release: None) -> Iterator[Helm]:
    """Helm on the cluster, whose release is as it was in the end."""
    found = Helm(kubectl.kubeconfig)
    yield found
    found.upgrade(RELEASE, CHART, NAMESPACE, LOCAL)
    rolled_out(kubectl)


def rolled_out(kubectl: Kubectl, deployment: str = RELEASE) -> None:
    """Waits until all pods of a deployment, by default the operator's, are those of the release."""
    kubectl.run("-n", NAMESPACE, "rollout", "status", f"deployment/{deployment}", "--timeout=600s")


@pytest.fixture(scope="session")
def s3(kubectl: Kubectl) -> dict[str, str]:
    """A real S3 server in the cluster: the Secret's data that pods and tests use."""
    with one_at_a_time("e2e"):
        cluster_tool("s3")
    secret = kubectl.get("secret", "s3-credentials", "s3")
    assert secret is not None
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


@pytest.fixture(scope="session")
def digit_rows(kubectl: Kubectl, s3: dict[str, str]) -> DigitRows:
    """Rows for batches, and a model that reads them, in S3."""
    return store(s3_folder(s3, kubectl), f"digits-{uuid.uuid4().hex[:8]}", s3)


@pytest.fixture(scope="session")
def digit_model(kubectl: Kubectl, s3: dict[str, str]) -> StoredModel:
    """A small model in S3 that tells digits apart."""
    x, y = load_digits(return_X_y=True)
    rows = x.astype(np.float32)
    model = LogisticRegression(C=0.01, max_iter=500).fit(rows, y)
    folder = f"{BUCKET}/model-{uuid.uuid4().hex[:8]}"
    return store_model(s3_folder(s3, kubectl), folder, model, rows, "pixels", s3)


@pytest.fixture
def digits(space: Space, digit_model: StoredModel) -> StoredModel:
    """The model, known in the test's namespace as version v1 of digits, which is live."""
    digit_model.introduce(space)
    return digit_model


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
