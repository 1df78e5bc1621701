"""The whole embedded cluster with Loopwright on it, and a fresh restricted namespace per test."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from install import install
from kubectl import HOME, ROOT, Kubectl

OPERATOR = "system:serviceaccount:loopwright-system:loopwright"
ENDED = frozenset({"Succeeded", "Failed"})


def cluster_tool(*args: str) -> str:
    """Runs the cluster's own tool; what it prints on stdout is returned."""
    done = subprocess.run(
        ["python3", "cluster/cli.py", *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """kubectl on the embedded cluster, which is started, with Loopwright installed."""
    cluster_tool("up")
    cluster_tool("images")
    client = Kubectl()
    install(client)
    return client


@dataclass
class Space:
    """A namespace of one test, and what tests do in it."""

    kubectl: Kubectl
    name: str

    def apply(self, *objects: dict[str, Any]) -> None:
        """Applies objects into the namespace."""
        self.kubectl.apply(text=yaml.safe_dump_all(objects), namespace=self.name)

    def train(self, name: str, script: str, **spec: Any) -> None:
        """Starts a small head-only TrainingJob that runs an inline script."""
        self.apply(training_job(name, script, **spec))

    def job(self, name: str) -> dict[str, Any]:
        """The TrainingJob."""
        found = self.kubectl.get("trainingjob", name, self.name)
        assert found is not None, f"TrainingJob {name} is gone"
        return found

    def status(self, name: str) -> dict[str, Any]:
        """Its status."""
        status: dict[str, Any] = self.job(name).get("status", {})
        return status

    def wait(
        self, name: str, until: Callable[[dict[str, Any]], bool], timeout: float = 300
    ) -> dict[str, Any]:
        """Waits until the job's status satisfies `until`; shows the last one when it never does."""
        deadline = time.monotonic() + timeout
        while not until(status := self.status(name)):
            assert time.monotonic() < deadline, f"gave up waiting: {self.explain(name, status)}"
            time.sleep(0.5)
        return status

    def explain(self, name: str, status: dict[str, Any]) -> str:
        """What a person would look at when a job does not do what it should."""
        seen = [
            self.kubectl.run("get", "rayjobs,pods", "-n", self.name, "-o", "wide", check=False),
            self.kubectl.run(
                "get", "events", "-n", self.name, "--sort-by=.lastTimestamp", check=False
            ),
        ]
        return "\n".join([name, json.dumps(status, indent=1), *seen])

    def phase(self, name: str, *phases: str, timeout: float = 300) -> dict[str, Any]:
        """Waits until the job is in one of the phases, failing early when it ended in another."""
        status = self.wait(name, lambda s: s.get("phase") in {*phases, *ENDED}, timeout)
        assert status["phase"] in phases, self.explain(name, status)
        return status

    def rayjobs(self, job: str) -> list[str]:
        """Names of all RayJobs of a job."""
        found = self.kubectl.list("rayjobs", self.name, f"loopwright.io/name={job}")
        return sorted(item["metadata"]["name"] for item in found)

    def pods(self, job: str, role: str) -> list[dict[str, Any]]:
        """Ray pods of a job; role is head or worker."""
        selector = f"loopwright.io/name={job},ray.io/node-type={role}"
        return list(self.kubectl.list("pods", self.name, selector))


def training_job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A TrainingJob that trains in its head pod and keeps its results on a claim."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "script": {"inline": script},
            "numWorkers": 0,
            "resourcesPerWorker": {"cpu": "500m", "memory": "2Gi"},
            "output": {"uri": f"pvc://results/{name}"},
            **spec,
        },
    }


@pytest.fixture
def space(kubectl: Kubectl) -> Iterator[Space]:
    """A namespace that enforces restricted Pod Security, with a claim named results."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kubectl.apply(
        text=yaml.safe_dump_all(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": labels},
                },
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "results", "namespace": name},
                    "spec": claim,
                },
            ]
        )
    )
    yield Space(kubectl, name)
    kubectl.run("delete", "namespace", name, "--wait=true", "--timeout=120s")


@dataclass
class AuditLog:
    """Writes that reached the API server, from its own audit log."""

    path: Path

    def mark(self) -> int:
        """The present end, to read from later."""
        return self.path.stat().st_size

    def writes(self, since: int, user: str = OPERATOR) -> list[dict[str, Any]]:
        """Completed writes of a user after a mark. Lease renewals are not counted."""
        with self.path.open() as log:
            log.seek(since)
            events = [json.loads(line) for line in log if line.endswith("\n")]
        return [
            event
            for event in events
            if event["stage"] == "ResponseComplete"
            and event["user"]["username"] == user
            and event["verb"] in {"create", "update", "patch", "delete", "deletecollection"}
            and event["objectRef"]["resource"] != "leases"
        ]

    def created(self, since: int, namespace: str, resource: str) -> list[str]:
        """Names of all objects that the operator ever created, those deleted again included."""
        return sorted(
            event["objectRef"]["name"]
            for event in self.writes(since)
            if event["objectRef"]["resource"] == resource
            and event["objectRef"]["namespace"] == namespace
            and event["responseStatus"]["code"] == 201
        )


@pytest.fixture(scope="session")
def audit(kubectl: Kubectl) -> AuditLog:
    """The API server's audit log."""
    return AuditLog(HOME / "run" / "logs" / "audit.log")
