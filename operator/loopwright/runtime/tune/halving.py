"""Asynchronous successive halving, for trials that cannot be paused.

At each rung, that is after graceSteps * eta^k steps, a trial goes on if it is among the best 1/eta
of those that have come there (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
2020). The paper lets none go on before there are eta of them, and pauses those that wait, which
needs checkpoints. Ray Tune's scheduler lets the first ones go on, for good: with few trials at a
time a sweep begins with whole runs of what happened to come first. Here they go on as well, but
once eta have come to the rung where they were last, they are judged there again, for good.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

# Of results, as schedulers see them.
STEP: Final = "loopwright_step"
VALUE: Final = "loopwright_value"


@dataclass
class _Rung:
    step: int
    eta: int
    values: dict[str, float] = field(default_factory=dict)
    """Of each trial when it came here; larger is better."""
    judged: set[str] = field(default_factory=set)
    """Those that were compared with enough others."""

    def lets_go_on(self, trial: str, value: float) -> bool:
        """Whether a trial that has come here, now or before, may go on."""
        self.values.setdefault(trial, value)
        if trial in self.judged:
            return True
        known = list(self.values.values())
        if len(known) >= self.eta:
            self.judged.add(trial)
        return bool(self.values[trial] >= np.percentile(known, 100 - 100 / self.eta))


class Halving(FIFOScheduler):  # type: ignore[misc]
    """The scheduler.

    A trial on its last step is let end: it has cost all that it can, and is about to save what it
    has learnt.

    Args:
        sign: 1 where large values are good, -1 where small ones are.
        brackets: Groups of trials, each of which has its first rung one further than the one
            before. A trial's group follows from `seed` and its name.
    """

    def __init__(
        self, *, grace: int, most: int, eta: int, brackets: int, sign: int, seed: int
    ) -> None:
        super().__init__()
        self._most, self._sign, self._seed = most, sign, seed
        steps = []
        while grace < most:
            steps.append(grace)
            grace *= eta
        self._brackets = [[_Rung(step, eta) for step in steps[n:]] for n in range(brackets)]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A report, or a second without one."""
        if VALUE not in result or result[STEP] >= self._most:
            return str(TrialScheduler.CONTINUE)
        # Its id is another one when it is started again.
        name = str(trial.trial_id).partition("-")[0]
        for rung in reversed(self._bracket(name)):
            if result[STEP] >= rung.step:
                good = rung.lets_go_on(name, self._sign * result[VALUE])
                return str(TrialScheduler.CONTINUE if good else TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def _bracket(self, name: str) -> list[_Rung]:
        chance = random.Random(f"{self._seed} {name}")  # noqa: S311
        # As Hyperband does, most trials begin low.
        weights = [np.e ** len(rungs) for rungs in self._brackets]
        [chosen] = chance.choices(self._brackets, weights)
        return chosen
