"""GPUs and queues as far as a machine without either can show them."""

from __future__ import annotations

import pytest
import scripts
from conftest import Space, cluster_tool

pytestmark = pytest.mark.e2e


def test_a_gpu_job_waits_for_gpus_and_then_runs(space: Space) -> None:
    """The node gets a fake extended resource; what is proven is scheduling, not CUDA."""
    cluster_tool("fake-gpu", "0")
    space.train("gpu", scripts.QUICK, resourcesPerWorker={"cpu": "500m", "memory": "2Gi", "gpu": 1})
    space.phase("gpu", "Provisioning")
    [head] = wait_for_head(space)
    container = head["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert any(t.get("key") == "nvidia.com/gpu" for t in head["spec"]["tolerations"])
    assert head["status"]["phase"] == "Pending"
    cluster_tool("fake-gpu", "1")
    try:
        space.phase("gpu", "Succeeded")
    finally:
        cluster_tool("fake-gpu", "0")


def wait_for_head(space: Space) -> list[dict]:
    """The head pod, once KubeRay made it."""
    space.wait("gpu", lambda _: bool(space.pods("gpu", "head")), timeout=60)
    return space.pods("gpu", "head")
