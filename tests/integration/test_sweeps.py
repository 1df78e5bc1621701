"""A sweep's life against a real API server, with KubeRay and the driver played."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_kuberay import FakeKubeRay
from replicas import Replicas

from auditlog import AuditLog
from eventually import eventually
from loopwright.api import names
from loopwright.api.sweepconfig import SweepConfig

TRIAL: dict[str, Any] = {"function": "a:b", "output": {"uri": "pvc://results/x"}}
BEST = {"name": "t3", "state": "Succeeded", "parameters": {"lr": "0.01"}, "value": "0.2"}
HISTORY = "pvc://results/x/history.jsonl"


@pytest.fixture
def sweeps(kuberay: FakeKubeRay) -> FakeKubeRay:
    """The same fake, for sweeps."""
    return FakeKubeRay(kuberay.api, kuberay.namespace, "HyperparameterSweep")


def create(sweeps: FakeKubeRay, name: str, **spec: Any) -> None:
    """Creates a small sweep."""
    spec = {
        "objectives": [{"metric": "loss"}],
        "parameters": [{"name": "lr", "logUniform": {"min": "0.0001", "max": "0.1"}}],
        "trialTemplate": {"spec": TRIAL},
        **spec,
    }
    head = {"apiVersion": names.API_VERSION, "kind": sweeps.kind}
    sweeps.apply({**head, "metadata": {"name": name}, "spec": spec})


def config(sweeps: FakeKubeRay, rayjob: str) -> SweepConfig:
    """What the driver is told."""
    cluster = sweeps.rayjob(rayjob)["spec"]["rayClusterSpec"]
    annotations = cluster["headGroupSpec"]["template"]["metadata"]["annotations"]
    return SweepConfig.model_validate_json(annotations[names.CONFIG_ANNOTATION])


def test_a_search_from_its_manifest_to_a_version(
    replicas: Replicas, sweeps: FakeKubeRay, audit: AuditLog
) -> None:
    replicas.lead()
    mark = audit.mark()
    create(sweeps, "digits", promote={"model": "digits", "aliases": ["live"]})
    made = sweeps.rayjob("digits-s1")
    [group] = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == 2
    sweeps.says("digits-s1", "Running", "RUNNING")
    trials = {"total": 5, "running": 2, "succeeded": 3, "finished": "3/20"}
    sweeps.reports("digits", 1, "Running", trials=trials, best=BEST, historyUri=HISTORY)
    eventually("trials", lambda: (sweeps.status("digits").get("trials") or {}).get("running") == 2)
    table = sweeps.api.run("get", "hps", "digits", "-n", sweeps.namespace)
    assert {"3/20", "0.2", "Running"} <= set(table.split())
    model = {
        "modelUri": "pvc://results/x/models/v",
        "format": "onnx",
        "digest": f"sha256:{'0' * 64}",
    }
    sweeps.finish(
        "digits", artifacts=model, stopReason="MaxTrials", best=BEST, historyUri=HISTORY,
        metrics=[{"name": "loss", "value": "0.2"}],
    )  # fmt: skip
    sweeps.expect("digits", "ModelRegistered", "True", "Registered")
    sweeps.expect("digits", "Exhausted", "True", "MaxTrials")
    version = sweeps.status("digits")["modelVersion"]
    found = sweeps.api.get("modelversion", version, sweeps.namespace) or {}
    assert found["spec"]["lineage"]["hyperparameterSweep"]["name"] == "digits"
    assert audit.created(mark, sweeps.namespace, "rayjobs") == ["digits-s1"]


def test_a_job_of_the_same_name_is_in_nobodys_way(
    replicas: Replicas, sweeps: FakeKubeRay, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    create(sweeps, "same")
    kuberay.create("same")
    kuberay.finish("same")
    sweeps.finish("same", stopReason="MaxTrials")


def test_scaled_and_extended_it_goes_on(replicas: Replicas, sweeps: FakeKubeRay) -> None:
    replicas.lead()
    create(sweeps, "grows", maxTrials=8)
    sweeps.says("grows-s1", "Running", "RUNNING")
    sweeps.reports("grows", 1, "Running", best=BEST)
    sweeps.phase("grows", "Running")
    sweeps.api.run("scale", "hps", "grows", "--replicas=4", "-n", sweeps.namespace)
    assert config(sweeps, "grows-s2").spec.parallel_trials == 4
    patch = json.dumps({"spec": {"maxTrials": 12}})
    sweeps.api.run("patch", "hps", "grows", "--type=merge", "-n", sweeps.namespace, "-p", patch)
    sweeps.says("grows-s2", "Running", "RUNNING")
    sweeps.reports("grows", 2, "Succeeded", stopReason="MaxTrials", best=BEST)
    sweeps.says("grows-s2", "Complete", "SUCCEEDED")
    assert config(sweeps, "grows-s3").spec.max_trials == 12
    sweeps.finish("grows", attempt=3, stopReason="MaxTrials", best=BEST)
    assert sweeps.status("grows")["failures"] == {"application": 0, "infrastructure": 0}


def test_what_earlier_sweeps_know_is_waited_for(replicas: Replicas, sweeps: FakeKubeRay) -> None:
    replicas.lead()
    create(sweeps, "later", warmStart={"sweeps": ["earlier"]})
    sweeps.expect("later", "Ready", "False", "SweepNotFound")
    create(sweeps, "earlier")
    sweeps.expect("later", "Ready", "False", "SweepUnfinished")
    sweeps.finish("earlier", stopReason="MaxTrials", historyUri=HISTORY)
    assert [one.uri for one in config(sweeps, "later-s1").warm_start] == [HISTORY]
