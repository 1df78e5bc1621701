"""Jobs in Kueue's queues: they wait, are let in, and give way to what matters more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import scripts
from conftest import cluster_tool, one_at_a_time
from kubectl import Kubectl
from space import Space

from auditlog import AuditLog

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

KUEUE = "kueue.x-k8s.io/v1beta1"
URGENT = "loopwright-e2e-urgent"


def queues(namespace: str) -> list[dict[str, Any]]:
    """A queue with room for one pod, and a priority whose pods push others out."""
    quotas = [
        {"name": "cpu", "nominalQuota": "1"},
        {"name": "memory", "nominalQuota": "8Gi"},
    ]
    flavors = [{"name": namespace, "resources": quotas}]
    cluster_queue = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": flavors}],
    }
    return [
        {"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": namespace}},
        {
            "apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": namespace},
            "spec": cluster_queue,
        },
        {
            "apiVersion": KUEUE, "kind": "LocalQueue", "metadata": {"name": "team"},
            "spec": {"clusterQueue": namespace},
        },
        {
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": URGENT}, "value": 1000, "preemptionPolicy": "Never",
        },
    ]  # fmt: skip


@pytest.fixture
def queue(space: Space, kubectl: Kubectl) -> Iterator[str]:
    """The LocalQueue of the test's namespace; Kueue goes with it."""
    with one_at_a_time("kueue"):
        cluster_tool("kueue-up")
        try:
            space.apply(*queues(space.name))
            yield "team"
        finally:
            kubectl.run("delete", "clusterqueue,resourceflavor", space.name, "--wait=false")
            kubectl.run("delete", "priorityclass", URGENT, "--ignore-not-found")
            kubectl.run("delete", "trainingjobs", "--all", "-n", space.name)
            kubectl.run("delete", "localqueue,workloads", "--all", "-n", space.name)
            cluster_tool("kueue-down")


def test_the_less_important_gives_way_and_continues(
    space: Space, queue: str, audit: AuditLog
) -> None:
    start = audit.mark()
    space.train(
        "patient", scripts.COUNTING, hyperparameters={"epochs": "25"}, scheduling={"queue": queue}
    )
    status = space.wait("patient", lambda s: (s.get("checkpoint") or {}).get("step", 0) >= 3)
    assert status["queue"]["admitted"]
    assert "admittedTime" in status["queue"]

    space.train("equal", scripts.QUICK, scheduling={"queue": queue})
    full = "insufficient unused quota for cpu"
    status = space.wait("equal", lambda s: full in (s.get("queue") or {}).get("message", ""))
    assert status["phase"] == "Queued"
    [admitted] = [c for c in status["conditions"] if c["type"] == "Admitted"]
    assert (admitted["status"], admitted["reason"]) == ("False", "Pending")

    space.train("urgent", scripts.QUICK, scheduling={"queue": queue, "priorityClass": URGENT})
    space.phase("urgent", "Succeeded")
    for name in ("patient", "equal"):
        space.phase(name, "Succeeded", timeout=300)

    status = space.status("patient")
    first, second = status["attempts"]
    assert first["cause"] == "Suspended"
    assert second["resumedFrom"].rstrip("/").rpartition("/")[2].startswith("step-")
    assert status["failures"] == {"application": 0, "infrastructure": 0}
    done = next(float(m["value"]) for m in status["metrics"] if m["name"] == "epochs_in_history")
    assert done == 25, "Each epoch once"
    assert audit.created(start, space.name, "rayjobs") == [
        "equal-a1", "patient-a1", "patient-a2", "urgent-a1",
    ]  # fmt: skip
    events = space.kubectl.list("events", space.name)
    assert any(e["reason"] == "Preempted" and "attempt 1" in e["message"] for e in events)
