"""Whole lives of a HyperparameterSweep."""

from __future__ import annotations

from typing import Any, Final

from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

from scenarios.registry import live, registered
from scenarios.trainingjob import SUPPORT, claim, ended, phase, trains

KIND: Final = "HyperparameterSweep"
SWEEP: Final = "sweep"
BEST: Final = {"name": "t7", "state": "Succeeded", "metrics": {"accuracy": "0.9"}, "value": "0.9"}
LAST: Final = {
    "stopReason": "MaxTrials", "best": BEST, "topTrials": [BEST],
    "trials": {"total": 8, "succeeded": 8, "finished": "8/8"},
}  # fmt: skip


def sweep(**spec: Any) -> Object:
    """A small sweep that has each kind of child."""
    trial = {"script": {"inline": "print()"}, "output": {"uri": "pvc://results/x"}}
    spec = {
        "objectives": [{"metric": "accuracy", "direction": "Maximize"}],
        "parameters": [{"name": "lr", "logUniform": {"min": "1e-4", "max": "1e-1"}}],
        "algorithm": {"seed": 7, "random": {}},
        "maxTrials": 8,
        "trialTemplate": {"spec": trial},
        **spec,
    }
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": KIND}
    return {**head, "metadata": {"name": SWEEP}, "spec": spec}


def changes(**spec: Any) -> Any:
    """A person edits the spec."""

    async def do(namespace: Namespace, name: str) -> None:
        await namespace.patch(KIND, name, spec=spec)

    return do


def suspended(obj: Object | None) -> bool:
    """Whether it holds nothing."""
    return phase(obj) == "Suspended"


def life(
    name: str, *outcomes: str, steps: tuple[Step, ...] = (), rayjobs: int, **more: Any
) -> Scenario:
    """A scenario of one sweep."""
    spec, made = more.pop("spec", {}), more.pop("made", {})
    return Scenario(
        name,
        (claim(), sweep(**spec)),
        lambda namespace: FakeWorld(namespace, SWEEP, outcomes, steps, kind=KIND, last=LAST),
        more.pop("over", ended),
        {**SUPPORT, "rayjobs": rayjobs, **made},
        **more,
    )


RETRIED: Final = life(
    "sweep whose cluster is lost", "lost", "succeeds", rayjobs=2, statuses=6,
    spec={"retry": {"backoffSeconds": 1}},
)  # fmt: skip
PROMOTED: Final = life(
    "sweep with promotion", "succeeds", rayjobs=1, statuses=6,
    spec={"promote": {"model": "digits", "aliases": ["live"]}},
    made={"models": 1, "modelversions": 1}, over=registered, rest=live,
)  # fmt: skip
RESIZED: Final = life(
    "sweep with more parallel trials", "runs", "succeeds", rayjobs=2, statuses=7,
    steps=(Step(trains, changes(parallelTrials=4)),),
)  # fmt: skip
SUSPENDED: Final = life(
    "sweep that is suspended", "runs", "succeeds", rayjobs=2, statuses=7,
    steps=(
        Step(trains, changes(runPolicy={"suspend": True})),
        Step(suspended, changes(runPolicy={"suspend": False})),
    ),
)  # fmt: skip
EXTENDED: Final = life(
    "sweep with more trials", "waits", "succeeds", rayjobs=2, statuses=8,
    steps=(Step(trains, changes(maxTrials=12)),),
)  # fmt: skip

SCENARIOS: Final = (RETRIED, PROMOTED, RESIZED, SUSPENDED, EXTENDED)
