"""A fake: the test itself writes what KubeRay and the drivers would write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml
from kubectl import Kubectl

from eventually import eventually
from loopwright.api import names


@dataclass
class FakeKubeRay:
    """Plays KubeRay and the drivers in a namespace of its own: writes what they would write."""

    api: Kubectl
    namespace: str
    kind: str = "TrainingJob"

    def create(self, name: str, **spec: Any) -> None:
        """Creates a TrainingJob that calls a function, unless it is given something else to do."""
        code = {} if {"script", "command"} & spec.keys() else {"function": "a:b"}
        job = {
            "apiVersion": "loopwright.io/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name},
            "spec": {**code, "output": {"uri": "pvc://results/x"}, **spec},
        }
        self.apply(job)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Applies objects."""
        self.api.apply(text=yaml.safe_dump_all(objects), namespace=self.namespace)

    def status(self, name: str) -> dict[str, Any]:
        """A job's status."""
        job = self.api.get(self.kind, name, self.namespace) or {}
        status: dict[str, Any] = job.get("status") or {}
        return status

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        conditions = {c["type"]: c for c in self.status(name).get("conditions", [])}
        found = conditions.get(kind, {})
        return found.get("status", ""), found.get("reason", "")

    def expect(self, name: str, kind: str, status: str, reason: str) -> None:
        """Waits for a condition."""
        want = (status, reason)
        eventually(f"{kind} of {name}", lambda: self.condition(name, kind) == want)

    def phase(self, name: str, phase: str) -> dict[str, Any]:
        """Waits for a phase."""
        try:
            eventually(f"{name} to be {phase}", lambda: self.status(name).get("phase") == phase)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(self.status(name), indent=1)}") from error
        return self.status(name)

    def rayjob(self, name: str) -> dict[str, Any]:
        """Waits for a RayJob."""
        return eventually(
            f"RayJob {name}", lambda: self.api.get("rayjob", name, self.namespace) or {}
        )

    def says(self, rayjob: str, deployment: str, job: str = "") -> None:
        """KubeRay writes a RayJob's status."""
        self.rayjob(rayjob)
        status = {"jobDeploymentStatus": deployment, "rayClusterName": f"{rayjob}-x"}
        status |= {"jobStatus": job} if job else {}
        self._patch("rayjob", rayjob, {"status": status}, "--subresource=status")

    def reports(self, name: str, attempt: int, state: str, **more: Any) -> None:
        """The driver writes into the mailbox."""
        report = {
            "attempt": attempt,
            "runId": f"run{attempt}",
            "state": state,
            "time": "2026-01-01T00:00:00Z",
            **more,
        }
        self.mail(name, json.dumps(report))

    def mail(self, name: str, text: str) -> None:
        """Somebody writes anything into the mailbox."""
        job = self.api.get(self.kind, name, self.namespace) or {}
        meta = {
            "name": names.report_name(self.kind, name),
            "labels": names.child_labels(self.kind, name),
            "ownerReferences": [names.owner_reference(self.kind, name, job["metadata"]["uid"])],
        }  # fmt: skip
        head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        self.apply({**head, "data": {names.REPORT_KEY: text}})

    def finish(self, name: str, attempt: int = 1, **report: Any) -> None:
        """An attempt runs and succeeds."""
        rayjob = names.rayjob_name(self.kind, name, attempt)
        self.says(rayjob, "Running", "RUNNING")
        self.reports(name, attempt, "Succeeded", **report)
        self.says(rayjob, "Complete", "SUCCEEDED")
        self.phase(name, "Succeeded")

    def _patch(self, kind: str, name: str, patch: dict[str, Any], *options: str) -> None:
        words = ["patch", kind, name, "-n", self.namespace, "--type=merge", *options]
        self.api.run(*words, "-p", json.dumps(patch))
