"""A real API server with our CRDs and KubeRay's, and nothing else: no node, no controllers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubectl import HOME, ROOT, Kubectl

STATE = HOME / "run-cp"


def cluster_tool(*args: str) -> str:
    """Runs the cluster's own tool; its last line is the answer."""
    words = ["python3", "cluster/cli.py", *args]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.strip().splitlines() or [""])[-1]


def kuberay_crds() -> list[Path]:
    """KubeRay's own CRDs."""
    return sorted(Path(cluster_tool("kuberay-crds")).glob("*.yaml"))


@contextmanager
def control_plane() -> Iterator[Kubectl]:
    """kubectl on a control plane that is stopped afterwards."""
    cluster_tool("control-plane-up")
    try:
        client = Kubectl(STATE / "admin.kubeconfig")
        client.apply(*sorted((ROOT / "crds").glob("*.yaml")), *kuberay_crds())
        client.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        yield client
    finally:
        cluster_tool("control-plane-down")
