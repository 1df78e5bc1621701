"""A sweep and its surroundings for tests of decisions; see `worlds`."""

from __future__ import annotations

from typing import Any

from worlds import World

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus
from loopwright.api.sweep_report import SweepReport
from loopwright.decide.job import decide
from loopwright.decide.sweep import SweepRun
from loopwright.decide.types import Decision, Observed

SPEC: dict[str, Any] = {
    "objectives": [{"metric": "loss"}],
    "parameters": [{"name": "lr", "logUniform": {"min": "1e-4", "max": "1e-1"}}],
    "trialTemplate": {"spec": {"function": "a:b"}},
}


def sweep_spec(**spec: Any) -> HyperparameterSweepSpec:
    """A small sweep."""
    return HyperparameterSweepSpec.model_validate({**SPEC, **spec})


class SweepWorld(World):
    """A sweep and what is around it."""

    spec: Any
    status: Any

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.spec, self.status = sweep_spec(**spec), HyperparameterSweepStatus()

    def decide(self, seen: Observed | None = None) -> Decision[Any]:
        return decide(SweepRun(self.spec), self.status, seen or self.seen(), self.now)

    def driver(self, attempt: int, state: str, run_id: str = "r", **more: Any) -> SweepWorld:
        """The driver says something about an attempt."""
        said = {"attempt": attempt, "runId": run_id, "state": state, "time": self.now, **more}
        self.report = SweepReport.model_validate(said)
        return self

    def change(self, **update: Any) -> SweepWorld:
        """A person edits the spec; fields by their Python names."""
        self.spec = self.spec.model_copy(update=update)
        return self

    def limit(self, seconds: int) -> SweepWorld:
        """A person sets runPolicy.maxRuntimeSeconds."""
        policy = self.spec.run_policy.model_copy(update={"max_runtime_seconds": seconds})
        return self.change(run_policy=policy)
