"""One replica of the operator, and what it does about jobs."""

from __future__ import annotations

import signal
from typing import Any

from fake_kuberay import FakeKubeRay
from kubectl import Kubectl
from replicas import Replicas

from auditlog import AuditLog
from controlplane import crds
from eventually import eventually

# From creation to success: intent, running, result, and what the attempt consists of.
MOST_WRITES = 12


def test_a_whole_life(replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog) -> None:
    # Of all namespaces; the operators of other tests watch one.
    operator = replicas.lead(namespaces="")
    mark = audit.mark()
    kuberay.create("life")
    rayjob = kuberay.rayjob("life-a1")
    assert rayjob["metadata"]["ownerReferences"][0]["kind"] == "TrainingJob"
    kuberay.says("life-a1", "Initializing")
    kuberay.phase("life", "Provisioning")
    kuberay.says("life-a1", "Running", "RUNNING")
    kuberay.phase("life", "Running")
    progress = {"percent": 50, "step": 5, "totalSteps": 10, "updatedAt": "2026-01-01T00:00:00Z"}
    kuberay.reports("life", 1, "Running", progress=progress)
    eventually("progress", lambda: kuberay.status("life").get("progress"))
    kuberay.finish("life")
    assert kuberay.condition("life", "Ready") == ("True", "Completed")
    assert kuberay.status("life")["progress"]["percent"] == 50

    eventually("the counter", lambda: operator.metric(
        'loopwright_trainingjob_attempts_total{cause=""}') == 1)  # fmt: skip
    writes = [w for w in audit.writes(mark) if w["objectRef"]["namespace"] == kuberay.namespace]
    objects = [w for w in writes if w["objectRef"]["resource"] != "events"]
    assert len(objects) <= MOST_WRITES, [(w["verb"], w["objectRef"]["resource"]) for w in objects]
    assert all(w["responseStatus"]["code"] < 300 for w in writes)


def test_a_restart_with_settled_jobs_writes_nothing(
    replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    first = replicas.lead()
    names = [f"settled{number}" for number in range(5)]
    for name in names:
        kuberay.create(name)
    for name in names:
        kuberay.finish(name)
    audit.settled()
    first.end(signal.SIGTERM)
    mark = audit.mark()
    second = replicas.lead(resync_seconds="5")
    seen = 'loopwright_reconcile_seconds_count{kind="TrainingJob"}'
    # Everything was looked at: once at the start, and again by the resync.
    eventually("reconciles", lambda: second.metric(seen) >= 3 * len(names))
    assert audit.writes(mark) == []


def test_killed_at_once_after_creation(
    replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    first = replicas.lead()
    mark = audit.mark()
    kuberay.create("orphan")
    eventually("an intent", lambda: kuberay.status("orphan").get("attempt"))
    first.end(signal.SIGKILL)
    kuberay.api.run("delete", "lease", "--all", "-n", "loopwright-system")
    replicas.lead()
    kuberay.finish("orphan")
    # None when the process died while its request was answered, which the log calls no success.
    assert audit.created(mark, kuberay.namespace, "rayjobs") in (["orphan-a1"], [])
    assert [attempt["rayJob"] for attempt in kuberay.status("orphan")["attempts"]] == ["orphan-a1"]


def test_what_happens_while_nobody_watches_is_noticed(
    replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    first = replicas.lead()
    kuberay.create("away", retry={"backoffSeconds": 1})
    kuberay.says("away-a1", "Running", "RUNNING")
    kuberay.phase("away", "Running")
    first.end(signal.SIGTERM)
    kuberay.api.run("delete", "rayjob", "away-a1", "-n", kuberay.namespace)
    replicas.lead()
    kuberay.finish("away", attempt=2)
    assert kuberay.status("away")["failures"] == {"application": 0, "infrastructure": 1}


def test_a_job_stops_at_its_budget_and_goes_on_when_it_is_raised(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    where = "loopwright-system"
    table = {"currency": "EUR", "cpu-hour": "3600", "memory-gib-hour": "0"}
    words = [f"--from-literal={key}={value}" for key, value in table.items()]
    api.run("create", "configmap", "prices", "-n", where, *words)
    try:
        leader = replicas.lead(prices="prices")
        # A core costs 1 EUR a second.
        kuberay.create(
            "costly", numWorkers=0, resourcesPerWorker={"cpu": "1"}, budget={"maxCost": "3"}
        )
        kuberay.says("costly-a1", "Running", "RUNNING")
        status = kuberay.phase("costly", "Suspended")
        assert kuberay.condition("costly", "BudgetExceeded") == ("True", "BudgetExceeded")
        assert 3 <= float(status["cost"]["estimate"]) < 1000
        assert status["cost"]["currency"] == "EUR"
        counted = f'loopwright_cost_total{{kind="TrainingJob",namespace="{kuberay.namespace}"}}'
        estimate = float(status["cost"]["estimate"])
        eventually("the counter", lambda: leader.metric(counted) == estimate)
        patch = '{"spec": {"budget": {"maxCost": "100000"}}}'
        more = ["-n", kuberay.namespace, "--type=merge", "-p", patch]
        api.run("patch", "tj", "costly", *more)
        kuberay.finish("costly", attempt=2)
        assert kuberay.condition("costly", "BudgetExceeded") == ("False", "WithinBudget")
        # Nonsense is told, and harms nobody.
        broken = ["configmap", "prices", "-n", where, "--type=merge"]
        api.run("patch", *broken, "-p", '{"data": {"cpu-hour": "cheap"}}')

        def told() -> bool:
            events = api.run("get", "events", "-n", where)
            return "key 'cpu-hour' must be a number such as 0.04, not 'cheap'" in events

        eventually("an Event", told)
        kuberay.create("after")
        kuberay.finish("after")
    finally:
        api.run("delete", "configmap", "prices", "-n", where)


MISSING: dict[str, dict[str, Any]] = {
    "ConfigMapNotFound": {"script": {"configMapRef": {"name": "code"}}},
    "SecretNotFound": {"output": {"uri": "s3://b/x", "secretRef": {"name": "keys"}}},
    "PersistentVolumeClaimNotFound": {"output": {"uri": "pvc://disk/x"}},
    "PriorityClassNotFound": {"scheduling": {"priorityClass": "at-once"}},
    "DependencyMissing": {"scheduling": {"queue": "team"}},
}
FIXES: dict[str, dict[str, Any]] = {
    "ConfigMapNotFound": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"},
        "data": {"train.py": ""},
    },
    "SecretNotFound": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}},
    "PersistentVolumeClaimNotFound": {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        },
    },
}  # fmt: skip


def test_what_is_missing_is_named_heals_and_stops_no_other(
    replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    names = {reason: f"needy{number}" for number, reason in enumerate(MISSING)}
    for reason, spec in MISSING.items():
        kuberay.create(names[reason], **spec)
    kuberay.create("other")
    for reason, name in names.items():
        kuberay.expect(name, "Reconciling", "True", reason)
        assert not kuberay.status(name).get("attempts")
    kuberay.finish("other")

    for reason, fix in FIXES.items():
        kuberay.apply(fix)
        kuberay.finish(names[reason])


def test_a_mailbox_with_nonsense_harms_nobody(replicas: Replicas, kuberay: FakeKubeRay) -> None:
    replicas.lead()
    kuberay.create("noisy")
    kuberay.says("noisy-a1", "Running", "RUNNING")
    kuberay.phase("noisy", "Running")
    for text in ("{", '{"attempt": -1}', "x" * 70_000, '"\\ud800"', "[" * 5000):
        kuberay.mail("noisy", text)
        kuberay.expect("noisy", "ReportAccepted", "False", "Malformed")
        kuberay.reports("noisy", 1, "Running")
        kuberay.expect("noisy", "ReportAccepted", "True", "AsExpected")
    kuberay.finish("noisy")


def test_kuberay_may_be_installed_later(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    try:
        api.run("delete", "crd", "rayjobs.ray.io", "rayclusters.ray.io", "--timeout=300s")
        replicas.lead()
        kuberay.create("early")
        kuberay.expect("early", "Reconciling", "True", "DependencyMissing")
        assert "install KubeRay" in str(kuberay.status("early")["conditions"])
    finally:
        api.apply(*crds("kuberay"))
        api.wait_for_crds()
    kuberay.finish("early")
    assert [attempt["number"] for attempt in kuberay.status("early")["attempts"]] == [1]
