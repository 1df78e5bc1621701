"""Sweeps for tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.sweep_history import TrialRecord
from loopwright.api.sweepconfig import SweepConfig
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Outcome, Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DONE = Outcome(TrialState.SUCCEEDED)
PARAMETERS = [
    {"name": "x", "uniform": {"min": "0", "max": "1"}},
    {"name": "lr", "logUniform": {"min": "0.0001", "max": "0.1"}},
    {"name": "layers", "int": {"min": 1, "max": 9}},
    {"name": "noise", "normal": {"mean": "5", "std": "2"}},
    {"name": "kind", "categorical": {"choices": ["a", "b", "c"]}},
    {"name": "drop", "uniform": {"min": "0", "max": "0.5", "step": "0.1"}},
]


def spec(algorithm: str = "random", /, **more: Any) -> HyperparameterSweepSpec:
    """A sweep that minimises `loss`."""
    return HyperparameterSweepSpec.model_validate(
        {
            "objectives": [{"metric": "loss"}], "parameters": PARAMETERS,
            "algorithm": {algorithm: {}},
            "trialTemplate": {"spec": {"script": {"inline": "pass"}}}, **more,
        }
    )  # fmt: skip


def config(uid: str = "0123456789-ab", **more: Any) -> SweepConfig:
    """What its driver is told; `more` is of the spec."""
    return SweepConfig.model_validate(
        {
            "name": "digits", "namespace": "team", "uid": uid, "image": "runtime:1", "seed": 7,
            "outputUri": "pvc://models/digits", "remainingSeconds": 600,
            "cpusPerWorker": 1, "gpusPerWorker": 0,
            "checkpointUri": "pvc://models/digits/checkpoints", "spec": spec(**more).wire(),
        }
    )  # fmt: skip


def loss(parameters: dict[str, str]) -> float:
    """Of a trial."""
    return (float(parameters["x"]) - 0.3) ** 2 + float(parameters["drop"])


def play(
    study: Study, proposals: Proposals, until: Callable[[int], bool] = lambda _: False
) -> list[dict[str, str]]:
    """Runs one trial after the other until the study, or the caller, has enough."""
    proposed = []
    while (number := study.next_number()) is not None and not until(number):
        known = study.records.get(number)
        parameters = known.parameters if known else proposals.ask(number)
        if parameters is None:
            study.exhausted()
            break
        proposed.append(parameters)
        study.begin(number, parameters, NOW)
        study.running(number)
        study.report(number, 1, {"loss": loss(parameters), "size": float(parameters["layers"])})
        proposals.tell(study.end(number, DONE, NOW, 1.5))
    return proposed


def trial(study: Study, value: float, outcome: Outcome = DONE) -> TrialRecord:
    """A trial of a study that reports one loss."""
    number = study.next_number()
    assert number is not None
    study.begin(number, {"x": "0.5"}, NOW)
    study.report(number, 1, {"loss": value})
    return study.end(number, outcome, NOW, 1.0)
