"""GPUs as far as a machine without any can show them."""

from __future__ import annotations

import pytest
import scripts
from conftest import cluster_tool
from space import Space

from eventually import eventually

pytestmark = pytest.mark.e2e


def test_a_gpu_job_waits_for_gpus_and_then_runs(space: Space) -> None:
    """The node gets a fake extended resource; what is proven is scheduling, not CUDA."""
    cluster_tool("fake-gpu", "0")
    space.train(
        "gpu", scripts.COUNTING, hyperparameters={"epochs": "3", "hold": "1"},
        resourcesPerWorker={"gpu": 1},
    )  # fmt: skip
    space.phase("gpu", "Provisioning")
    [head] = eventually("the head pod", lambda: space.pods("gpu", "head"))
    container = head["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert any(t.get("key") == "nvidia.com/gpu" for t in head["spec"]["tolerations"])
    assert head["status"]["phase"] == "Pending"
    cluster_tool("fake-gpu", "1")
    try:
        # Only what the operator has seen running costs anything.
        space.phase("gpu", "Running")
        space.let_go()
        status = space.phase("gpu", "Succeeded")
    finally:
        cluster_tool("fake-gpu", "0")
    assert status["cost"]["gpuSeconds"] >= 1
