"""The command line tool as a process against a real API server with the operator at work."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_kuberay import FakeKubeRay
from kubectl import Kubectl
from replicas import Replicas

from cli_tool import Tool
from eventually import eventually
from loopwright.api import names

SCHEDULER = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture
def tool(api: Kubectl, kuberay: FakeKubeRay) -> Tool:
    """The tool of somebody who may do everything."""
    return Tool(api.kubeconfig, kuberay.namespace)


@pytest.fixture
def viewer(api: Kubectl, kuberay: FakeKubeRay, tmp_path: Path) -> Iterator[Tool]:
    """The tool of somebody who may see our kinds, and nothing else."""
    name = "viewer"
    space = ["-n", kuberay.namespace]
    api.run("create", "serviceaccount", name, *space)
    role = ["--clusterrole=loopwright-view", f"--serviceaccount={kuberay.namespace}:{name}"]
    api.run("create", "rolebinding", name, *role, *space)
    config = yaml.safe_load(api.kubeconfig.read_text())
    token = api.run("create", "token", name, *space).strip()
    config["users"][0]["user"] = {"token": token}
    file = tmp_path / "viewer"
    file.write_text(yaml.safe_dump(config))
    yield Tool(file, kuberay.namespace)


def make(kuberay: FakeKubeRay, obj: dict[str, Any], status: dict[str, Any]) -> None:
    """Creates an object, and writes its status as its controller would."""
    kuberay.apply(obj)
    words = ["patch", obj["kind"], obj["metadata"]["name"], "-n", kuberay.namespace]
    patch = json.dumps({"status": status})
    kuberay.api.run(*words, "--subresource=status", "--type=merge", "-p", patch)


def worker(job: str) -> dict[str, Any]:
    """A Ray pod, as KubeRay would make it."""
    labels = names.child_labels("TrainingJob", job, 1) | {"ray.io/node-type": "worker"}
    spec = {"containers": [{"name": "ray-worker", "image": "runtime"}],
            "automountServiceAccountToken": False, "serviceAccountName": "ray"}  # fmt: skip
    meta = {"name": f"{job}-a1-w0", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def test_a_life_as_the_tool_shows_it(replicas: Replicas, kuberay: FakeKubeRay, tool: Tool) -> None:
    kuberay.create("life", output={"uri": "pvc://disk/x"})
    assert "To do: run `loopwright doctor`" in tool.run("explain", "tj/life")
    replicas.lead()
    kuberay.expect("life", "Reconciling", "True", "PersistentVolumeClaimNotFound")
    assert "To do: create the claim that the message names" in tool.run("explain", "tj/life")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kuberay.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                   "metadata": {"name": "disk"}, "spec": claim})  # fmt: skip
    kuberay.says("life-a1", "Initializing")
    kuberay.phase("life", "Provisioning")
    kuberay.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ray"}})
    stuck = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": SCHEDULER}  # fmt: skip
    make(kuberay, worker("life"), {"phase": "Pending", "conditions": [stuck]})
    told = tool.run("explain", "life")
    assert "Pod life-a1-w0: Unschedulable" in told
    assert told.endswith("To do: add nodes with nvidia.com/gpu, ask for fewer, or wait\n")
    shown = tool.run("status", "life")
    assert "attempt 1  Provisioning" in shown
    assert "RayJob life-a1  Initializing" in shown
    assert "no pods that have begun" in tool.run("logs", "life", code=1)

    kuberay.says("life-a1", "Running", "RUNNING")
    kuberay.reports(
        "life", 1, "Running", progress={"percent": 50, "updatedAt": "2026-01-01T00:00:00Z"}
    )
    eventually("progress", lambda: kuberay.status("life").get("progress"))
    watching = subprocess.Popen(
        tool.words("status", "tj/life", "--watch"), env=tool.env, stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert "Running  ██████████░░░░░░░░░░ 50 %" in watching.stdout.readline()
    kuberay.finish("life")
    rest, _ = watching.communicate(timeout=300)
    assert watching.returncode == 0
    assert rest.splitlines()[-1] == "TrainingJob life  Succeeded"
    found = json.loads(tool.run("status", "-o", "json"))
    assert [one["metadata"]["name"] for one in found] == ["life"]
    assert "nothing; all is as it should be" in tool.run("explain", "life")


def test_an_event_tells_of_a_quota(replicas: Replicas, kuberay: FakeKubeRay, tool: Tool) -> None:
    replicas.lead()
    kuberay.create("tight")
    kuberay.says("tight-a1", "Initializing")
    kuberay.phase("tight", "Provisioning")
    rayjob = kuberay.rayjob("tight-a1")
    involved = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "tight-a1",
                "namespace": kuberay.namespace, "uid": rayjob["metadata"]["uid"]}  # fmt: skip
    kuberay.apply({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "tight.1"}, "type": "Warning",
        "involvedObject": involved, "reason": "FailedToCreateRayCluster",
        "message": "rayclusters is forbidden: exceeded quota: team",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    })  # fmt: skip
    told = json.loads(tool.run("explain", "tight", "-o", "json"))
    assert told["findings"][0]["reason"] == "FailedToCreateRayCluster"
    assert told["toDo"] == "have the namespace's ResourceQuota raised, or ask for less"


def test_the_doctor_finds_the_leader_and_what_is_missing(
    replicas: Replicas, tool: Tool, api: Kubectl
) -> None:
    leader = replicas.lead()
    verdicts = {one["name"]: one for one in json.loads(tool.run("doctor", "-o", "json", code=1))}
    assert verdicts["leader"]["verdict"] == "ok"
    assert "replica-0" in verdicts["leader"]["message"]
    # The operator runs beside the cluster, so its Deployment has no pods.
    assert verdicts["operator"]["verdict"] == "missing"
    for name in ("Kubernetes", "Loopwright's CRDs", "KubeRay", "KServe", "Gateway API"):
        assert verdicts[name]["verdict"] == "ok", verdicts[name]
    assert verdicts["default StorageClass"]["verdict"] == "warning"
    assert verdicts[f"your rights in {tool.namespace}"]["verdict"] == "ok"
    assert leader.leads()


def test_somebody_with_few_rights_is_told_what_is_hidden(
    replicas: Replicas, kuberay: FakeKubeRay, viewer: Tool
) -> None:
    replicas.lead()
    kuberay.create("hidden")
    kuberay.says("hidden-a1", "Running", "RUNNING")
    kuberay.phase("hidden", "Running")
    shown = viewer.run("status", "hidden")
    assert shown.startswith("TrainingJob hidden  Running")
    assert "not shown, for lack of rights: rayjobs, rayclusters" in shown
    assert "you may not start jobs" in viewer.run("doctor")
    refused = viewer.run("logs", "hidden", code=1)
    assert refused.count("\n") == 1
    assert 'cannot list resource "pods"' in refused
