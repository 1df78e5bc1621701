"""Networks that are kept as they are: saved as safetensors by jobs, served with torch."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from conftest import cluster_tool
from endpoints import Endpoint, variant
from inference import ask, of_format, pod_of, until_ready
from space import Space, training_job

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

# Not a Sequential, so nothing but this code can build it.
NETS = """
import torch

class Residual(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)
    def forward(self, row):
        return row + self.linear(row)
"""
TRAIN = """
import torch
from loopwright import train
from nets import Residual

if train.hyperparameters()["network"] == "own":
    network = Residual(3)
    more = {"architecture": "nets:Residual", "arguments": {"width": 3}}
else:
    network, more = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU()), {}
for weights in network.parameters():
    torch.nn.init.constant_(weights, 2.0)
train.save_model(network, [torch.ones(1, 3)], format="safetensors", **more)
"""
ROW = [1.0, 2.0, 3.0]
# Twice their sum, and two more.
PLAIN, OWN = [14.0] * 3, [15.0, 16.0, 17.0]
SMALL = {"cpu": "200m", "memory": "1Gi"}
MOUNT = "/opt/loopwright/nets.py"


@pytest.fixture(scope="session")
def torch_server(kubectl: object) -> None:
    """The server's image with torch, in the cluster."""
    cluster_tool("images", "serving-torch")


def trained(space: Space) -> None:
    """A model of each kind."""
    code = {"nets.py": NETS, "train.py": TRAIN}
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nets"}}
    space.apply({**head, "data": code})
    for name in ("plain", "own"):
        job = training_job(name, "", hyperparameters={"network": name})
        job["spec"]["script"] = {"configMapRef": {"name": "nets"}, "path": "train.py"}
        space.apply(job)
    for name in ("plain", "own"):
        space.phase(name, "Succeeded")


def of(job: str, **more: Any) -> dict[str, Any]:
    """A variant that serves a job's model."""
    return variant(job, model={"trainingJobRef": {"name": job}}, resources=SMALL, **more)


def reason(status: dict[str, Any]) -> str:
    """What is the matter with the variant `own`."""
    found = [one.get("reason", "") for one in status.get("variants", []) if one["name"] == "own"]
    return next(iter(found), "")


def test_networks_are_served_as_they_are(space: Space, torch_server: None) -> None:
    trained(space)
    endpoint = Endpoint(space, "nets").apply(of("plain"), of("own"))
    told = endpoint.until("a refusal", lambda s: reason(s) == "ArchitectureUnknown")
    assert "--architectures" in told["variants"][1]["message"]
    runtime = {"args": ["--architectures=nets"]}
    pod = {
        "volumes": [{"name": "nets", "configMap": {"name": "nets"}}],
        "volumeMounts": [{"name": "nets", "mountPath": MOUNT, "subPath": "nets.py"}],
    }
    endpoint.apply(of("plain"), of("own", runtime=runtime, pod=pod))
    status = endpoint.ready()
    assert [one["serving"]["verified"] for one in status["variants"]] == [True, True]
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": ROW}
    for name, expected in (("plain", PLAIN), ("own", OWN)):
        answer = httpx.post(
            endpoint.infer(),
            json={"inputs": [tensor]},
            headers={"x-variant": name},
            trust_env=False,
        )
        assert answer.headers["x-variant"] == name
        assert answer.json()["outputs"][0]["data"] == expected

    space.apply(of_format("alone", "loopwright-safetensors", "pvc://results/plain/model"))
    until_ready(space, "alone")
    assert ask(pod_of(space, "alone"), "alone", ROW) == PLAIN
