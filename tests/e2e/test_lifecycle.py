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
# Without a write: the last Events and statuses have been written then.
SETTLED_SECONDS = 10.0
PHASES = ("Provisioning", "Running", "Succeeded")


def metric(status: dict, name: str) -> float:
    """A metric's latest value."""
    return next(float(m["value"]) for m in status["metrics"] if m["name"] == name)


def own_writes(audit: AuditLog, since: int, space: Space) -> list[dict]:
    """The operator's writes in the test's namespace."""
    return [w for w in audit.writes(since) if w["objectRef"].get("namespace") == space.name]


def settled(audit: AuditLog, space: Space) -> bool:
    """Whether nothing is written for a while."""
    since = audit.mark()
    time.sleep(SETTLED_SECONDS)
    return not own_writes(audit, since, space)


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

    asked = own_writes(audit, start, space)
    objects = [w for w in asked if w["objectRef"]["resource"] != "events"]
    # One that was too late has written nothing, and is made again from what is there by then.
    done = [w for w in objects if w["responseStatus"]["code"] < 300]
    print(f"API writes of the job: {len(done)}, and {len(asked) - len(objects)} Events")
    told = [(w["verb"], w["objectRef"]["resource"], w["responseStatus"]["code"]) for w in objects]
    assert len(done) <= 14, told
    assert len(objects) <= 2 * len(done), told

    # A RayJob that KubeRay does not end within a minute is deleted.
    eventually("the pods to go", lambda: not space.pods("quick", "head"))
    eventually("the last writes", lambda: settled(audit, space))
    quiet = audit.mark()
    time.sleep(QUIET_SECONDS)
    assert own_writes(audit, quiet, space) == []


@pytest.mark.parametrize("moment", PHASES)
def test_killing_the_operator_changes_nothing(space: Space, audit: AuditLog, moment: str) -> None:
    start = audit.mark()
    space.train("steady", scripts.COUNTING, hyperparameters={"epochs": "8", "hold": "4"})
    if moment == "Succeeded":
        space.let_go()
    # An operator that another test has killed may be back only when the moment has passed; what
    # comes after it will do as well.
    space.phase("steady", *PHASES[PHASES.index(moment) :])
    space.kill_operator()
    space.let_go()
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
        "lost", scripts.IN_STEP, hyperparameters={"epochs": "30", "hold": "8"}, numWorkers=2,
        resourcesPerWorker={"cpu": "500m", "memory": "1500Mi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
        retry={"backoffSeconds": 1},
    )  # fmt: skip
    space.wait("lost", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 3)
    # Not that of rank 0: its peer notices first, and must not take the blame.
    _, worker = space.pods("lost", "worker")
    space.let_go()
    space.kubectl.run(
        "-n", space.name, "delete", "pod", worker["metadata"]["name"], "--grace-period=0", "--force"
    )
    status = space.phase("lost", "Succeeded")
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
        "drained", scripts.GRACEFUL, hyperparameters={"hold": "8"}, numWorkers=1,
        resourcesPerWorker={"cpu": "500m", "memory": "1500Mi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
        retry={"backoffSeconds": 1},
    )  # fmt: skip
    space.wait("drained", lambda s: (s.get("progress") or {}).get("step", 0) >= 5)
    [worker] = space.pods("drained", "worker")
    space.kubectl.run("-n", space.name, "delete", "pod", worker["metadata"]["name"])
    space.let_go()
    status = space.phase("drained", "Succeeded")
    # It ended with exit code 0, and yet nobody took that for success.
    assert [a.get("cause") for a in status["attempts"]] == ["Infrastructure", None]
    assert status["lastError"]["reason"] == "Interrupted"
    assert metric(status, "resumed_at") >= 5


def test_suspend_frees_the_pods_and_resume_continues(space: Space) -> None:
    space.train("paused", scripts.COUNTING, hyperparameters={"epochs": "12", "hold": "6"})
    space.wait("paused", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 2)
    suspend(space, "paused", True)
    space.phase("paused", "Suspended")
    eventually(
        "the pods to go",
        lambda: not space.kubectl.list("pods", space.name, "loopwright.io/name=paused"),
    )
    space.let_go()
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
    # Containers that are not there yet have no logs, which is an error.
    eventually(
        "training in kubectl logs", lambda: "epoch 1" in space.kubectl.run(*logs, check=False)
    )
    space.kubectl.run("delete", "tj", "gone", "-n", space.name, "--timeout=300s")
    kinds = "rayjobs,rayclusters,pods,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
    eventually(
        "nothing to be left",
        lambda: not space.kubectl.list(kinds, space.name, "loopwright.io/name=gone"),
    )
