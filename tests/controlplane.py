"""A real API server with our CRDs and those of KubeRay, KServe, Gateway API, KEDA and the
Prometheus operator.

Nothing else: no node, no controllers, no webhooks.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubectl import HOME, ROOT, Kubectl

# Each worker of pytest-xdist has a control plane of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SLOT = int(os.environ.get("LOOPWRIGHT_CONTROL_PLANE", "0")) + 10 * WORKER
STATE = HOME / f"run-cp{SLOT or ''}"


def cluster_tool(*args: str) -> str:
    """Runs the cluster's own tool; its last line is the answer."""
    words = ["python3", "cluster/cli.py", *args]
    env = {**os.environ, "LOOPWRIGHT_CONTROL_PLANE": str(SLOT)}
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return (done.stdout.strip().splitlines() or [""])[-1]


def crds(*projects: str) -> list[Path]:
    """CRDs of other projects, as they ship them, by names that cluster/crds.py knows."""
    return [Path(file) for file in json.loads(cluster_tool("crds", *projects))]


@contextmanager
def control_plane() -> Iterator[Kubectl]:
    """kubectl on a control plane that is stopped afterwards."""
    cluster_tool("control-plane-up")
    try:
        client = Kubectl(STATE / "admin.kubeconfig")
        client.apply(*sorted((ROOT / "crds").glob("*.yaml")))
        client.wait_for_crds()
        yield client
    finally:
        cluster_tool("control-plane-down")
