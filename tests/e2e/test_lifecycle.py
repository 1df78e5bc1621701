"""One job's life on real Kubernetes and Ray, and the ways in which it is disturbed."""

from __future__ import annotations

import json
import os
import time

import pytest
import scripts
from space import SEVERAL_PODS, Space

from auditlog import AuditLog
from eventually import eventually

pytestmark = pytest.mark.e2e

QUIET_SECONDS = float(os.environ.get("LOOPWRIGHT_TEST_QUIET_SECONDS", "45"))


def metric(status: dict, name: str) -> float:
    """A metric's latest value."""
    return next(float(m["value"]) for m in status["metrics"] if m["name"] == name)


def test_a_job_trains_and_then_nothing_is_written(space: Space, audit: AuditLog) -> None:
    start = audit.mark()
    space.train("quick", scripts.QUICK)
    status = space.phase("quick", "Succeeded")
    assert status["observedGeneration"] == 1
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Completed")
    assert status["progress"]["percent"] == 100
    assert metric(status, "loss") == 0.5
    assert space.rayjobs("quick") == ["quick-a1"]

    writes = [w for w in audit.writes(start) if w["objectRef"].get("namespace") == space.name]
    objects = [w for w in writes if w["objectRef"]["resource"] != "events"]
    print(f"API writes of the job: {len(objects)}, and {len(writes) - len(objects)} Events")
    assert len(objects) <= 14, [(w["verb"], w["objectRef"]["resource"]) for w in objects]

    time.sleep(5)  # Events and the last status settle.
    quiet = audit.mark()
    time.sleep(QUIET_SECONDS)
    assert [w for w in audit.writes(quiet) if w["objectRef"].get("namespace") == space.name] == []


@pytest.mark.parametrize("moment", ["Provisioning", "Running", "Succeeded"])
def test_killing_the_operator_changes_nothing(space: Space, audit: AuditLog, moment: str) -> None:
    start = audit.mark()
    space.train("steady", scripts.COUNTING, hyperparameters={"epochs": "8"})
    space.phase("steady", moment, timeout=180)
    space.kill_operator()
    status = space.phase("steady", "Succeeded")
    assert audit.created(start, space.name, "rayjobs") == ["steady-a1"]
    assert [a["number"] for a in status["attempts"]] == [1]
    assert metric(status, "epochs_in_history") == 8


@SEVERAL_PODS
def test_a_lost_pod_is_an_infrastructure_failure_and_training_resumes(
    space: Space, audit: AuditLog
) -> None:
    start = audit.mark()
    space.train(
        "lost", scripts.IN_STEP, hyperparameters={"epochs": "30"}, numWorkers=2,
        resourcesPerWorker={"cpu": "500m", "memory": "1500Mi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
        retry={"backoffSeconds": 1},
    )  # fmt: skip
    space.wait("lost", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 3)
    # Not that of rank 0: its peer notices first, and must not take the blame.
    _, worker = space.pods("lost", "worker")
    space.kubectl.run(
        "-n", space.name, "delete", "pod", worker["metadata"]["name"], "--grace-period=0", "--force"
    )
    status = space.phase("lost", "Succeeded", timeout=400)
    first, second = status["attempts"]
    assert first["cause"] == "Infrastructure"
    assert second["resumedFrom"].rstrip("/").rpartition("/")[2].startswith("step-")
    assert status["failures"] == {"application": 0, "infrastructure": 1}
    assert metric(status, "started_at") >= 3
    # Each epoch was done once: nothing was trained twice after its checkpoint.
    assert metric(status, "epochs_in_history") == 30
    assert audit.created(start, space.name, "rayjobs") == ["lost-a1", "lost-a2"]


@SEVERAL_PODS
def test_a_pod_that_is_told_to_stop_may_save_its_state(space: Space) -> None:
    space.train(
        "drained", scripts.GRACEFUL, numWorkers=1,
        resourcesPerWorker={"cpu": "500m", "memory": "1500Mi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
        retry={"backoffSeconds": 1},
    )  # fmt: skip
    space.wait("drained", lambda s: (s.get("progress") or {}).get("step", 0) >= 5)
    [worker] = space.pods("drained", "worker")
    space.kubectl.run("-n", space.name, "delete", "pod", worker["metadata"]["name"])
    status = space.phase("drained", "Succeeded", timeout=400)
    # It ended with exit code 0, and yet nobody took that for success.
    assert [a.get("cause") for a in status["attempts"]] == ["Infrastructure", None]
    assert status["lastError"]["reason"] == "Interrupted"
    assert metric(status, "resumed_at") >= 5


def test_suspend_frees_the_pods_and_resume_continues(space: Space) -> None:
    space.train("paused", scripts.COUNTING, hyperparameters={"epochs": "12"})
    space.wait("paused", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 2)
    suspend(space, "paused", True)
    space.phase("paused", "Suspended")
    space.kubectl.run(
        "wait", "--for=delete", "pod", "-n", space.name, "-l", "loopwright.io/name=paused",
        "--timeout=90s",
    )  # fmt: skip
    suspend(space, "paused", False)
    status = space.phase("paused", "Succeeded")
    assert status["failures"] == {"application": 0, "infrastructure": 0}
    assert metric(status, "started_at") >= 2
    assert metric(status, "epochs_in_history") == 12


def suspend(space: Space, name: str, value: bool) -> None:
    """Sets runPolicy.suspend as a user would."""
    patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
    space.kubectl.run("patch", "tj", name, "-n", space.name, "--type=merge", "-p", patch)


def test_a_bug_in_the_script_is_named_in_the_status(space: Space, audit: AuditLog) -> None:
    start = audit.mark()
    space.train("buggy", scripts.FAILING)
    status = space.phase("buggy", "Failed")
    assert status["attempts"][0]["cause"] == "Application"
    assert status["attempts"][0]["exitCode"] == 1
    assert "the learning rate must be positive" in status["lastError"]["message"]
    assert status["failures"] == {"application": 1, "infrastructure": 0}
    assert audit.created(start, space.name, "rayjobs") == ["buggy-a1"]


def test_deleting_a_running_job_removes_all_it_made(space: Space) -> None:
    space.train("gone", scripts.COUNTING, hyperparameters={"epochs": "600"})
    space.phase("gone", "Running")
    logs = ["logs", "-n", space.name, "-l", "loopwright.io/name=gone", "--tail=-1"]
    eventually("training in kubectl logs", lambda: "epoch 1" in space.kubectl.run(*logs))
    space.kubectl.run("delete", "tj", "gone", "-n", space.name, "--timeout=60s")
    kinds = "rayjobs,rayclusters,pods,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
    eventually(
        "nothing to be left",
        lambda: not space.kubectl.list(kinds, space.name, "loopwright.io/name=gone"),
    )
