"""A real API server with our CRDs and KubeRay's, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl import HOME, ROOT, Kubectl


def cluster_tool(*args: str) -> str:
    """Runs the cluster's own tool; its last line is the answer."""
    words = ["python3", "cluster/cli.py", *args]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="session")
def api() -> Iterator[Kubectl]:
    """kubectl on the control plane of the tests, which is stopped afterwards."""
    cluster_tool("control-plane-up")
    client = Kubectl(HOME / "run-cp" / "admin.kubeconfig")
    client.apply(*sorted((ROOT / "crds").glob("*.yaml")))
    client.apply(*sorted(Path(cluster_tool("kuberay-crds")).glob("*.yaml")))
    client.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    yield client
    cluster_tool("control-plane-down")
