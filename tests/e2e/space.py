"""A namespace of one end-to-end test, and what tests do in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import Kubectl

from eventually import eventually
from seeded import KINDS as LEFT
from seeded import Seeds, told_in

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Pods alone may take minutes to start, once there is room for them.
PATIENCE = 900.0
ENDED = frozenset({"Succeeded", "Failed"})
# Two tests with one such pod each fit into the two cores of a node at the same time.
CPU = "800m"
# Jobs of several pods never run side by side: each might have half of its pods, and wait for ever.
SEVERAL_PODS = pytest.mark.usefixtures("several_pods")


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

    def job(self, name: str, kind: str = "TrainingJob") -> dict[str, Any]:
        """The TrainingJob, or a job of another kind."""
        found = self.kubectl.get(kind, name, self.name)
        assert found is not None, f"{kind} {name} is gone"
        return found

    def status(self, name: str, kind: str = "TrainingJob") -> dict[str, Any]:
        """Its status."""
        status: dict[str, Any] = self.job(name, kind).get("status", {})
        return status

    def wait(
        self,
        name: str,
        until: Callable[[dict[str, Any]], bool],
        timeout: float = PATIENCE,
        kind: str = "TrainingJob",
    ) -> dict[str, Any]:
        """Waits until the job's status satisfies `until`; shows the last one when it never does."""
        deadline = time.monotonic() + timeout
        while not until(status := self.status(name, kind)):
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

    def phase(
        self, name: str, *phases: str, timeout: float = PATIENCE, kind: str = "TrainingJob"
    ) -> dict[str, Any]:
        """Waits until the job is in one of the phases, failing early when it ended in another."""
        status = self.wait(name, lambda s: s.get("phase") in {*phases, *ENDED}, timeout, kind)
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

    def folder(self, claim: str = "results") -> Path | None:
        """Where a claim's files lie on this machine, once a pod made local-path bind it."""
        found = self.kubectl.get("pvc", claim, self.name)
        volume = (found or {}).get("spec", {}).get("volumeName")
        if volume is None:
            return None
        spec = json.loads(self.kubectl.run("get", "pv", volume, "-o", "json"))["spec"]
        return Path((spec.get("hostPath") or spec.get("local"))["path"])

    def let_go(self, file: str = "go") -> None:
        """Lets scripts go on that wait for a file on the claim.

        Whoever disturbs a job must find it at work, however long a status is late.
        """
        folder = eventually("the claim's volume", self.folder, timeout=PATIENCE)
        (folder / file).touch()

    def kill_pod(self, name: str) -> None:
        """SIGKILLs a pod: it gets no time to end."""
        self.kubectl.run("delete", "pod", name, "-n", self.name, "--grace-period=0", "--force")

    def kill_operator(self) -> None:
        """SIGKILLs the operator: its pod is removed without grace, and a new one takes over."""
        self.kubectl.run(
            "-n", "loopwright-system", "delete", "pod", "-l", "app.kubernetes.io/name=loopwright",
            "--grace-period=0", "--force", "--wait=false",
        )  # fmt: skip

    def keys_told(self, credentials: dict[str, str]) -> list[str]:
        """Where the keys of a storage stand that belong into Secrets only."""
        seeds = Seeds({key: text for key, text in credentials.items() if key in KEYS})
        assert len(seeds.values) == len(KEYS)
        # Each call of kubectl is a third of a second.
        kinds = ("get", ",".join(LEFT), "-n", self.name, "-o", "json", "--show-managed-fields")
        places = {"objects": self.kubectl.run(*kinds)}
        for namespace in (self.name, "loopwright-system"):
            places |= dict(told_in(self.kubectl, namespace))
        assert len(places["objects"]) > 1000
        return seeds.found(places)


def training_job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A TrainingJob that trains in its head pod and keeps its results on a claim."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "script": {"inline": script},
            "numWorkers": 0,
            "resourcesPerWorker": {"cpu": CPU, "memory": "2Gi"},
            "output": {"uri": f"pvc://results/{name}"},
            **spec,
        },
    }
