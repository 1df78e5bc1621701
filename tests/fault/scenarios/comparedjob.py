"""A TrainingJob whose data is compared with the baseline of a version, which moves meanwhile."""

from __future__ import annotations

from typing import Final

from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

from scenarios.batchtransform import onnx
from scenarios.registry import model
from scenarios.trainingjob import JOB, SUPPORT, claim, ended, phase, suspends, training_job, trains

COMPARED: Final = {
    "name": "rows",
    "source": {"uri": "pvc://results/in"},
    "validation": {"baselineRef": {"modelRef": {"name": "digits", "alias": "live"}}},
}


async def moves_and_resumes(namespace: Namespace, name: str) -> None:
    """The alias moves on while the job is suspended, which means nothing to it any more."""
    await namespace.patch("Model", "digits", spec={"aliases": {"live": "v2"}})
    await suspends(False)(namespace, name)


def suspended(job: Object | None) -> bool:
    """Whether it rests."""
    return phase(job) == "Suspended"


MOVED: Final = Scenario(
    "job whose baseline moves while it is suspended",
    (
        claim(),
        model(aliases={"live": "v1"}),
        onnx("v1"),
        onnx("v2"),
        training_job(inputs=[COMPARED]),
    ),
    lambda namespace: FakeWorld(
        namespace,
        JOB,
        ("runs", "succeeds"),
        (Step(trains, suspends(True)), Step(suspended, moves_and_resumes)),
    ),
    ended,
    {**SUPPORT, "rayjobs": 2},
    statuses=11,
)

SCENARIOS: Final = (MOVED,)
