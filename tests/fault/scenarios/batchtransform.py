"""Whole lives of a BatchTransform."""

from __future__ import annotations

from typing import Any, Final

from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

from scenarios.registry import model, version
from scenarios.trainingjob import SUPPORT, claim, ended, phase

KIND: Final = "BatchTransform"
BATCH: Final = "batch"
DIGEST: Final = f"sha256:{'0' * 64}"
LAST: Final = {
    "records": {"read": 40, "written": 37, "failed": 3},
    "shards": {"total": 4, "done": 4},
    "problems": [{"reason": "WrongType", "count": 3, "message": "no number"}],
    "outputs": {
        "uri": "pvc://results/out", "manifestUri": "pvc://results/out/_manifest.json",
        "deadLetterUri": "pvc://results/out/_dead_letter", "digest": DIGEST, "files": 4,
    },
}  # fmt: skip
# It writes no ConfigMap of its own.
MADE: Final = {kind: count for kind, count in SUPPORT.items() if kind != "configmaps"}


def batch(**spec: Any) -> Object:
    """A small batch, with whatever version the alias points to."""
    spec = {
        "model": {"modelRef": {"name": "digits", "alias": "live"}},
        "input": {"uri": "pvc://results/in", "format": "csv"},
        "output": {"uri": "pvc://results/out"},
        "errors": {"maxFailedRecords": 5},
        **spec,
    }
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": KIND}
    return {**head, "metadata": {"name": BATCH}, "spec": spec}


def onnx(name: str) -> Object:
    """A version that can be run."""
    made = version(name)
    return {**made, "spec": {**made["spec"], "format": "onnx", "digest": DIGEST}}


def changes(**spec: Any) -> Any:
    """A person edits the spec."""

    async def do(namespace: Namespace, name: str) -> None:
        await namespace.patch(KIND, name, spec=spec)

    return do


async def approves(namespace: Namespace, _: str) -> None:
    """A person approves the version."""
    approval = {"state": "Approved", "by": "admin"}
    await namespace.patch("ModelVersion", "digits-v1", spec={"approval": approval})


async def moves_and_resumes(namespace: Namespace, name: str) -> None:
    """The alias moves on while the batch is suspended."""
    await namespace.patch("Model", "digits", spec={"aliases": {"live": "v2"}})
    await changes(runPolicy={"suspend": False})(namespace, name)


def works(obj: Object | None) -> bool:
    """Whether its pods have reported."""
    attempts = ((obj or {}).get("status") or {}).get("attempts") or [{}]
    return phase(obj) == "Running" and "runId" in attempts[-1]


def waits(obj: Object | None) -> bool:
    """Whether it says that it needs an approved model."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return any(one["reason"] == "ModelNotApproved" for one in conditions)


def life(
    name: str,
    *outcomes: str,
    steps: tuple[Step, ...] = (),
    rayjobs: int,
    statuses: int,
    approval: bool = False,
    **spec: Any,
) -> Scenario:
    """A scenario of one batch; of the statuses five are those of the Model and its versions."""
    registry = model(aliases={"live": "v1"}, requireApproval=approval)
    return Scenario(
        name,
        (claim(), registry, onnx("v1"), onnx("v2"), batch(**spec)),
        lambda namespace: FakeWorld(namespace, BATCH, outcomes, steps, kind=KIND, last=LAST),
        ended,
        {**MADE, "rayjobs": rayjobs},
        statuses,
    )


RETRIED: Final = life(
    "batch that fails and is lost", "fails", "lost", "succeeds", rayjobs=3, statuses=14,
    retry={"maxApplicationFailures": 1, "backoffSeconds": 1},
)  # fmt: skip
APPROVED: Final = life(
    "batch that waits for approval", "succeeds", rayjobs=1, statuses=10, approval=True,
    steps=(Step(waits, approves),),
)  # fmt: skip
SUSPENDED: Final = life(
    "batch whose alias moves while it is suspended", "runs", "succeeds", rayjobs=2, statuses=14,
    steps=(
        Step(works, changes(runPolicy={"suspend": True})),
        Step(lambda obj: phase(obj) == "Suspended", moves_and_resumes),
    ),
)  # fmt: skip
RESIZED: Final = life(
    "batch with more workers", "runs", "succeeds", rayjobs=2, statuses=12,
    steps=(Step(works, changes(numWorkers=3)),),
)  # fmt: skip

SCENARIOS: Final = (RETRIED, APPROVED, SUSPENDED, RESIZED)
