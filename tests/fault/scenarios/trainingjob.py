"""Whole lives of a TrainingJob."""

from __future__ import annotations

from typing import Any, Final

from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

JOB: Final = "job"
ENDS: Final = ("Succeeded", "Failed")

# What every job relies on, besides its RayJobs.
SUPPORT: Final = {
    "configmaps": 1, "networkpolicies": 1, "serviceaccounts": 1, "roles": 1, "rolebindings": 1,
}  # fmt: skip


def claim() -> Object:
    """The claim that the jobs' results go to."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return {**kind, "metadata": {"name": "results"}, "spec": spec}


def training_job(name: str = JOB, **spec: Any) -> Object:
    """A small job that has each kind of child."""
    spec = {"script": {"inline": "print()"}, "output": {"uri": "pvc://results/x"}, **spec}
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": spec,
    }


def phase(job: Object | None) -> str:
    """A job's phase."""
    return str(((job or {}).get("status") or {}).get("phase", ""))


def trains(job: Object | None) -> bool:
    """Whether its pods have reported."""
    return phase(job) == "Running" and "progress" in (job or {})["status"]


def ended(job: Object | None) -> bool:
    """Whether it succeeded or failed."""
    return phase(job) in ENDS


def suspends(value: bool) -> Any:
    """A person sets runPolicy.suspend."""

    async def do(namespace: Namespace, name: str) -> None:
        await namespace.patch("TrainingJob", name, spec={"runPolicy": {"suspend": value}})

    return do


async def raises(namespace: Namespace, name: str) -> None:
    """A person raises the budget."""
    await namespace.patch("TrainingJob", name, spec={"budget": {"maxGpuHours": "100"}})


async def deletes(namespace: Namespace, name: str) -> None:
    """A person deletes the job."""
    await namespace.delete("TrainingJob", name)


def life(
    name: str,
    *outcomes: str,
    steps: tuple[Step, ...] = (),
    rayjobs: int,
    statuses: int,
    **spec: Any,
) -> Scenario:
    """A scenario of one job."""
    over = (lambda job: job is None) if any(s.do is deletes for s in steps) else ended
    return Scenario(
        name,
        (claim(), training_job(**spec)),
        lambda namespace: FakeWorld(namespace, JOB, outcomes, steps),
        over,
        {**SUPPORT, "rayjobs": rayjobs},
        statuses,
    )


RETRY: Final = {"maxApplicationFailures": 1, "backoffSeconds": 1}

SUCCESS: Final = life("success", "succeeds", rayjobs=1, statuses=3)
RETRIED: Final = life("retry", "fails", "lost", "succeeds", rayjobs=3, statuses=9, retry=RETRY)
FAILURE: Final = life("failure", "fails", rayjobs=1, statuses=3)
# Resumed, it may have to say that the first RayJob is still there.
SUSPENDED: Final = life(
    "suspend and resume", "runs", "succeeds", rayjobs=2, statuses=7,
    steps=(
        Step(trains, suspends(True)),
        Step(lambda job: phase(job) == "Suspended", suspends(False)),
    ),
)  # fmt: skip
BUDGET: Final = life(
    "budget", "runs", "succeeds", rayjobs=2, statuses=7,
    # A quarter of a minute of a GPU that is never there; slow machines begin to train in it too.
    numWorkers=0, resourcesPerWorker={"gpu": 1}, budget={"maxGpuHours": "0.0042"},
    steps=(Step(lambda job: phase(job) == "Suspended", raises),),
)  # fmt: skip
DELETED: Final = life(
    "deletion", "runs", rayjobs=1, statuses=2,
    steps=(Step(trains, deletes),),
)  # fmt: skip

# Never over by itself: for what happens in the middle of training.
ENDLESS: Final = life("endless", "runs", rayjobs=1, statuses=2)

SCENARIOS: Final = (SUCCESS, RETRIED, FAILURE, SUSPENDED, BUDGET, DELETED)
