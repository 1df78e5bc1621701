"""From a finished job to a version in use: registration, aliases, approval and retention."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from fake_kuberay import FakeKubeRay
from kubectl import Kubectl
from replicas import Replicas

from auditlog import AuditLog
from eventually import eventually

DIGEST = "sha256:" + "0" * 64
OBJECTS = ("models", "modelversions")


class Registry:
    """Models and versions in the namespace of a test."""

    def __init__(self, api: Kubectl, kuberay: FakeKubeRay) -> None:
        self.api, self.kuberay, self.namespace = api, kuberay, kuberay.namespace

    def train(self, name: str, accuracy: str = "0.9", **register: Any) -> str:
        """A job runs and succeeds; returns the version that its model becomes."""
        self.kuberay.create(name, register={"model": "digits", **register})
        self.kuberay.says(f"{name}-a1", "Running", "RUNNING")
        uid = self.api.get("trainingjob", name, self.namespace)["metadata"]["uid"]  # type: ignore[index]
        version = uid.replace("-", "")[:10]
        model = {"modelUri": f"pvc://results/x/models/{version}", "digest": DIGEST}
        metrics = [{"name": "accuracy", "value": accuracy}]
        artifacts = {**model, "format": "onnx"}
        self.kuberay.reports(name, 1, "Succeeded", artifacts=artifacts, metrics=metrics)
        self.kuberay.says(f"{name}-a1", "Complete", "SUCCEEDED")
        self.kuberay.phase(name, "Succeeded")
        return version

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """The status of a Model or a ModelVersion."""
        found = self.api.get(kind, name, self.namespace) or {}
        status: dict[str, Any] = found.get("status") or {}
        return status

    def stage(self, version: str) -> str:
        """What a version is said to be."""
        return str(self.status("mv", f"digits-{version}").get("phase", ""))

    def aliases(self) -> dict[str, str]:
        """Where the aliases of the model point."""
        found: dict[str, str] = self.status("mdl", "digits").get("aliases", {})
        return found

    def decides(self, version: str, state: str) -> None:
        """The administrator decides about a version, which comes after the end of its job."""
        eventually("the version", lambda: self.stage(version))
        approval = {"spec": {"approval": {"state": state, "by": "admin"}}}
        self.patch("mv", f"digits-{version}", approval)

    def patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        """Somebody changes an object."""
        words = ["patch", kind, name, "-n", self.namespace, "--type=merge", "-p"]
        self.api.run(*words, json.dumps(patch))


def test_a_good_model_is_registered_once(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    replicas.lead()
    registry, mark = Registry(api, kuberay), audit.mark()
    version = registry.train("good", requireMetrics=[{"metric": "accuracy", "min": "0.8"}])
    kuberay.expect("good", "ModelRegistered", "True", "Registered")
    assert kuberay.status("good")["modelVersion"] == f"digits-{version}"
    eventually("the stage", lambda: registry.stage(version) == "Registered")
    printed = api.run("get", "mv", "-n", kuberay.namespace)
    assert printed.split()[:6] == ["NAME", "MODEL", "VERSION", "STAGE", "ALIASES", "METRIC"]
    assert f"digits-{version}   digits   {version}   Registered" in printed
    assert "accuracy=0.9" in printed
    assert "modelversion.loopwright.io/digits-" in api.run("get", "ml", "-n", kuberay.namespace)
    # It outlives the job.
    api.run("delete", "tj", "good", "-n", kuberay.namespace)
    made = {kind: audit.created(mark, kuberay.namespace, kind) for kind in OBJECTS}
    assert made == {"models": ["digits"], "modelversions": [f"digits-{version}"]}
    assert registry.status("mv", f"digits-{version}")


def test_a_model_that_is_not_good_enough_is_not_registered(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    registry = Registry(api, kuberay)
    registry.train("poor", requireMetrics=[{"metric": "accuracy", "min": "0.95"}])
    kuberay.expect("poor", "ModelRegistered", "False", "MetricsUnmet")
    assert kuberay.condition("poor", "Ready") == ("True", "Completed")
    assert "accuracy is 0.9, below 0.95" in json.dumps(kuberay.status("poor"))
    assert api.run("get", "mv", "-n", kuberay.namespace, "-o", "name") == ""


def test_an_alias_follows_approval_and_the_spec_wins(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    registry = Registry(api, kuberay)
    model = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    spec = {"requireApproval": True, "description": "reads digits"}
    kuberay.apply({**model, "metadata": {"name": "digits"}, "spec": spec})
    first = registry.train("first", aliases=["live"])
    eventually("to wait", lambda: registry.stage(first) == "PendingApproval")
    assert registry.aliases() == {}
    registry.decides(first, "Approved")
    eventually("the alias", lambda: registry.aliases() == {"live": first})
    second = registry.train("second", aliases=["live"])
    eventually("the second", lambda: registry.stage(second) == "PendingApproval")
    assert registry.aliases() == {"live": first}
    registry.decides(second, "Approved")
    eventually("the alias to move", lambda: registry.aliases() == {"live": second})
    told = registry.status("mv", f"digits-{second}")
    assert (told["approvedBy"], told["aliases"]) == ("admin", ["live"])
    # Back, as in a Git repository.
    registry.patch("mdl", "digits", {"spec": {"aliases": {"live": first}}})
    eventually("the alias to move back", lambda: registry.aliases() == {"live": first})
    registry.patch("mdl", "digits", {"spec": {"aliases": {"live": None}}})
    registry.decides(second, "Rejected")
    eventually("the stage", lambda: registry.stage(second) == "Rejected")
    assert registry.aliases() == {"live": first}
    # The spec is what people wrote.
    found = api.get("mdl", "digits", kuberay.namespace) or {}
    assert found["spec"] == {**spec, "aliases": {}}


def test_a_good_version_is_approved_by_itself_until_a_person_says_no(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    registry = Registry(api, kuberay)
    compared = [{"metric": "accuracy", "direction": "Maximize", "tolerance": "0.05"}]
    policy = {
        "requireMetrics": [{"metric": "accuracy", "min": "0.8"}],
        "notWorseThan": {"alias": "live", "metrics": compared},
    }
    model = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    spec = {"requireApproval": True, "autoApprove": policy}
    kuberay.apply({**model, "metadata": {"name": "digits"}, "spec": spec})
    first = registry.train("first", "0.95", aliases=["live"])
    eventually("the alias", lambda: registry.aliases() == {"live": first})
    operator = "system:serviceaccount:loopwright-system:loopwright"
    told = eventually("who", lambda: registry.status("mv", f"digits-{first}").get("approvedBy"))
    assert told == operator
    worse = registry.train("worse", "0.85", aliases=["live"])
    eventually("to wait", lambda: registry.stage(worse) == "PendingApproval")
    text = json.dumps(registry.status("mv", f"digits-{worse}"))
    assert f"accuracy is 0.85, worse by more than 0.05 than 0.95 of version {first}" in text
    better = registry.train("better", "0.97", aliases=["live"])
    eventually("the alias to move", lambda: registry.aliases() == {"live": better})
    registry.decides(better, "Rejected")
    eventually("the alias to move back", lambda: registry.aliases() == {"live": first})
    # Taken back too: it is for people now.
    undone = {"spec": {"approval": {"state": "Pending", "by": None, "reason": None}}}
    registry.patch("mv", f"digits-{better}", undone)
    eventually("to wait", lambda: registry.stage(better) == "PendingApproval")
    assert registry.aliases() == {"live": first}


def test_a_version_waits_for_its_model(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    registry = Registry(api, kuberay)
    version = registry.train("early")
    eventually("the stage", lambda: registry.stage(version) == "Registered")
    api.run("delete", "mdl", "digits", "-n", kuberay.namespace)

    def ready() -> tuple[str, str]:
        told = registry.status("mv", f"digits-{version}")["conditions"]
        [found] = [one for one in told if one["type"] == "Ready"]
        return found["status"], found["reason"]

    eventually("to miss it", lambda: ready() == ("False", "ModelNotFound"))
    model = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    kuberay.apply({**model, "metadata": {"name": "digits"}})
    eventually("to find it", lambda: ready() == ("True", "Registered"))


def test_retention_deletes_what_nobody_needs(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay
) -> None:
    replicas.lead()
    registry = Registry(api, kuberay)
    first = registry.train("one")
    registry.decides(first, "Approved")
    second, third = registry.train("two"), registry.train("three", aliases=["live"])
    time.sleep(1)  # Versions are ordered by the second.
    fourth = registry.train("four")
    registry.patch("mdl", "digits", {"spec": {"retention": {"keep": 1}}})
    names = {f"modelversion.loopwright.io/digits-{one}" for one in (first, third, fourth)}

    def left() -> set[str]:
        return set(api.run("get", "mv", "-n", kuberay.namespace, "-o", "name").split())

    eventually("the second to go", lambda: left() == names)
    words = ["get", "events", "-n", kuberay.namespace]
    eventually("an Event", lambda: f"digits-{second}" in api.run(*words))
    # Its job does not make it again.
    assert kuberay.condition("two", "ModelRegistered") == ("True", "Registered")


def test_a_restart_with_settled_models_writes_nothing(
    api: Kubectl, replicas: Replicas, kuberay: FakeKubeRay, audit: AuditLog
) -> None:
    first = replicas.lead()
    registry = Registry(api, kuberay)
    version = registry.train("settled", aliases=["live"])
    eventually("the alias", lambda: registry.status("mv", f"digits-{version}").get("aliases"))
    eventually("the model", lambda: registry.aliases() == {"live": version})
    audit.settled()
    first.end(signal.SIGTERM)
    mark = audit.mark()
    second = replicas.lead(resync_seconds="5")
    seen = 'loopwright_reconcile_seconds_count{kind="Model"}'
    eventually("reconciles", lambda: second.metric(seen) >= 3)
    assert audit.writes(mark) == []
