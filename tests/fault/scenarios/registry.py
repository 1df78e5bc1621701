"""Lives of a TrainingJob whose model becomes a version of a Model."""

from __future__ import annotations

from typing import Any, Final

from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

from scenarios.trainingjob import JOB, SUPPORT, claim, ended, training_job

REGISTER: Final = {"model": "digits", "aliases": ["live"]}


def told(job: Object | None, status: str) -> bool:
    """Whether the job says this about its model."""
    conditions = ((job or {}).get("status") or {}).get("conditions", [])
    found = {one["type"]: one["status"] for one in conditions}
    return ended(job) and found.get("ModelRegistered") == status


def registered(job: Object | None) -> bool:
    """Whether its model is a version."""
    return told(job, "True")


async def approves(namespace: Namespace, job: str) -> None:
    """A person approves what the job has made."""
    found = await namespace.get("TrainingJob", job) or {}
    approval = {"state": "Approved", "by": "admin"}
    name = found["status"]["modelVersion"]
    await namespace.patch("ModelVersion", name, spec={"approval": approval})


async def live(namespace: Namespace) -> bool:
    """Whether the alias points to the only version, and everybody says so."""
    versions, models = await namespace.list("ModelVersion"), await namespace.list("Model")
    pointed = [(one.get("status") or {}).get("aliases") for one in versions]
    aliases = [(one.get("status") or {}).get("aliases") for one in models]
    return pointed == [["live"]] and aliases == [{"live": versions[0]["spec"]["version"]}]


def model(**spec: Any) -> Object:
    """A Model that a person has written."""
    kind = {"apiVersion": "loopwright.io/v1alpha1", "kind": "Model"}
    return {**kind, "metadata": {"name": "digits"}, "spec": spec}


def version(name: str) -> Object:
    """A version that a person has written, long before the job."""
    spec = {
        "modelRef": {"name": "digits"}, "version": name, "uri": "pvc://results/old",
        "format": "files", "lineage": {"trainedAt": "2020-01-01T00:00:00Z"},
    }  # fmt: skip
    kind = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelVersion"}
    return {**kind, "metadata": {"name": f"digits-{name}"}, "spec": spec}


def life(name: str, *others: Object, steps: tuple[Step, ...] = (), **more: Any) -> Scenario:
    """A scenario of one job that registers its model."""
    register = more.pop("register", REGISTER)
    return Scenario(
        name,
        (claim(), *others, training_job(register=register)),
        lambda namespace: FakeWorld(namespace, JOB, ("succeeds",), steps),
        **more,
    )


REGISTERED: Final = life(
    "registration", over=registered, rest=live, statuses=6,
    creations={**SUPPORT, "rayjobs": 1, "models": 1, "modelversions": 1},
)  # fmt: skip
APPROVED: Final = life(
    "approval and retention", model(requireApproval=True, retention={"keep": 1}), version("old"),
    steps=(Step(registered, approves),), over=registered, rest=live, statuses=8,
    creations={**SUPPORT, "rayjobs": 1, "modelversions": 1},
)  # fmt: skip
UNMET: Final = life(
    "not good enough",
    register={**REGISTER, "requireMetrics": [{"metric": "accuracy", "min": "0.95"}]},
    over=lambda job: told(job, "False"), statuses=4, creations={**SUPPORT, "rayjobs": 1},
)  # fmt: skip
BY_ITSELF: Final = life(
    "approval by itself",
    model(
        requireApproval=True,
        autoApprove={"requireMetrics": [{"metric": "accuracy", "min": "0.5"}]},
    ),
    over=registered, rest=live, statuses=6,
    creations={**SUPPORT, "rayjobs": 1, "modelversions": 1},
)  # fmt: skip

SCENARIOS: Final = (REGISTERED, APPROVED, UNMET, BY_ITSELF)
