"""Several replicas: one acts, and another takes over."""

from __future__ import annotations

import signal

import httpx
from fake_kuberay import FakeKubeRay
from kubectl import Kubectl
from replicas import Replicas

from auditlog import AuditLog
from eventually import eventually


def holder(api: Kubectl) -> str:
    """Whom the Lease names."""
    lease = api.get("lease", "loopwright-operator", "loopwright-system") or {}
    return str(lease["spec"].get("holderIdentity") or "")


def test_a_stand_by_takes_over_from_a_leader_that_leaves(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    leader, stand_by = replicas.lead(), replicas.start()
    assert not stand_by.leads()
    before = holder(api)
    assert before
    assert leader.end(signal.SIGTERM) == 0
    # The Lease was given back, so nobody waits for it to expire.
    assert holder(api) != before
    eventually("a new leader", stand_by.leads)
    kuberay.create("handed-over")
    kuberay.finish("handed-over")


def test_a_stand_by_takes_over_from_a_leader_that_died(
    replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    leader, stand_by = replicas.lead(), replicas.start()
    mark = audit.mark()
    kuberay.create("inherited")
    kuberay.says("inherited-a1", "Running", "RUNNING")
    leader.end(signal.SIGKILL)
    eventually("a new leader", stand_by.leads)
    kuberay.finish("inherited")
    assert audit.created(mark, kuberay.namespace, "rayjobs") == ["inherited-a1"]


def test_a_frozen_leader_steps_down_when_it_wakes(
    replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    leader, stand_by = replicas.lead(), replicas.start()
    mark = audit.mark()
    leader.process.send_signal(signal.SIGSTOP)
    try:
        eventually("a new leader", stand_by.leads)
        kuberay.create("contested")
        kuberay.rayjob("contested-a1")
    finally:
        leader.process.send_signal(signal.SIGCONT)
    eventually("the former leader to step down", lambda: not leader.leads())
    assert stand_by.leads()
    kuberay.finish("contested")
    assert audit.created(mark, kuberay.namespace, "rayjobs") == ["contested-a1"]


def test_health_says_what_it_knows(replicas: Replicas) -> None:
    operator = replicas.lead()
    answer = httpx.get(f"http://127.0.0.1:{operator.health_port}/healthz", timeout=60)
    assert answer.status_code == 200
    assert "last watch event" in answer.text
    assert {"time", "level", "logger", "message"} <= operator.lines()[0].keys()
