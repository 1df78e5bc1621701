"""Which trials go on: Ray Tune's schedulers, fed anew from the history after a driver was lost."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any, Final

from ray.tune.schedulers import (
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.shared import Direction
from loopwright.api.sweep_history import TrialRecord
from loopwright.runtime.tune.halving import STEP, VALUE, Halving
from loopwright.runtime.tune.space import Space

__all__ = [
    "PARAMETERS", "STEP", "VALUE", "StandIn", "measured", "replay", "scheduler", "waits",
]  # fmt: skip

PARAMETERS: Final = "parameters"
# What is no number is as bad as can be; infinities would make quantiles that are no numbers.
WORST: Final = 1e30


class StandIn:
    """A trial as far as schedulers look at it; they keep it as a key."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


class _Median(MedianStoppingRule):  # type: ignore[misc]
    """The rule, which looks only at results that have what it compares."""

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has ended; its last report is known already."""


class _Population(PopulationBasedTraining):  # type: ignore[misc]
    """Population-based training, which is told of nothing but reports."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A report, or a second without one."""
        if STEP not in result:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))


def scheduler(spec: HyperparameterSweepSpec, space: Space, seed: int) -> Any:
    """The scheduler of a sweep."""
    mode = "min" if spec.objectives[0].direction is Direction.MINIMIZE else "max"
    common = {"time_attr": STEP, "metric": VALUE, "mode": mode}
    early, pbt = spec.early_stopping, spec.algorithm.pbt
    if pbt is not None:
        random.seed(seed)  # It draws from there whom to learn from.
        chance = random.Random(seed)  # noqa: S311

        def explore(config: dict[str, Any]) -> dict[str, Any]:
            return {**config, PARAMETERS: space.perturbed(config[PARAMETERS], chance)}

        return _Population(
            **common, perturbation_interval=pbt.interval_steps,
            quantile_fraction=float(pbt.quantile), custom_explore_fn=explore, log_config=False,
        )  # fmt: skip
    if early.kind == "Asha":
        return Halving(
            grace=early.grace_steps, most=early.max_steps or 0, eta=early.eta,
            brackets=early.brackets, sign=-1 if mode == "min" else 1, seed=seed,
        )  # fmt: skip
    if early.kind == "MedianStop":
        # Trials are never paused for want of others to compare with: pausing needs checkpoints.
        return _Median(
            **common, grace_period=early.grace_steps, min_samples_required=early.min_trials,
            min_time_slice=math.inf,
        )  # fmt: skip
    return FIFOScheduler()


def waits(spec: HyperparameterSweepSpec) -> bool:
    """Whether a trial may go on after a report only once it was decided."""
    return spec.early_stopping.kind != "None" or spec.algorithm.pbt is not None


def measured(spec: HyperparameterSweepSpec, metrics: dict[str, float]) -> float | None:
    """What a scheduler compares, of a report that has it."""
    first = spec.objectives[0]
    value = metrics.get(first.metric)
    if value is None or math.isfinite(value):
        return value
    return WORST if first.direction is Direction.MINIMIZE else -WORST


def replay(spec: HyperparameterSweepSpec, target: Any, records: Iterable[TrialRecord]) -> None:
    """Lets a scheduler see what trials that have ended had reported, in the same order."""
    if spec.early_stopping.kind == "None":
        return
    ended = [record for record in records if record.told is not None]
    for record in sorted(ended, key=lambda record: record.told or 0):
        stand_in = StandIn(record.name)
        target.on_trial_add(None, stand_in)
        result: dict[str, Any] = {}
        for point in record.curve:
            value = measured(spec, point.values)
            if value is None:
                continue
            result = {STEP: point.step, VALUE: value}
            decided = target.on_trial_result(None, stand_in, result)
            # Halving would decide otherwise when it knew more or less, but not what it has seen.
            if decided == TrialScheduler.STOP and not isinstance(target, Halving):
                break
        target.on_trial_complete(None, stand_in, result)
