"""Proposes parameters, by Optuna. The same seed and the same results give the same proposals.

Optuna's samplers draw from generators whose state is lost with the driver. So each proposal has a
sampler of its own, whose seed is made of the sweep's and the trial's number; everything else that
samplers know they read from the study, which `Proposals` makes anew from a history.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState, create_trial

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import TrialState as State
from loopwright.api.space import Algorithm
from loopwright.api.sweep_history import TrialRecord
from loopwright.runtime.tune.space import Space

# A prime, so that two sweeps with neighbouring seeds share no trial's seed.
STRIDE: Final = 1_000_003
SEEDS: Final = 2**31

Known = tuple[Mapping[str, str], list[float]]
"""Parameters and objectives of a trial that somebody else has run."""


class Proposals:
    """A study of Optuna's."""

    def __init__(
        self, spec: HyperparameterSweepSpec, seed: int, known: Iterable[Known] = ()
    ) -> None:
        self._seed, self._space = seed, Space(spec.parameters)
        self._make = _SAMPLERS[spec.algorithm.name]
        self._algorithm = spec.algorithm
        self._grid = self._space.grid(seed) if spec.algorithm.grid is not None else None
        self._trials: dict[int, Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [StudyDirection[one.direction.value.upper()] for one in spec.objectives]
        self._study = optuna.create_study(directions=directions)
        for parameters, objectives in known:
            self._add(parameters, objectives)

    @property
    def space(self) -> Space:
        """All parameters."""
        return self._space

    def replay(self, records: Iterable[TrialRecord]) -> None:
        """Takes in what a lost driver has proposed and heard, in the same order."""
        events: list[tuple[int, TrialRecord, bool]] = []
        for record in records:
            events.append((record.asked, record, False))
            if record.told is not None:
                events.append((record.told, record, True))
        for _, record, ended in sorted(events, key=lambda event: event[0]):
            if ended:
                self.tell(record)
            else:
                self._again(record)

    def ask(self, number: int) -> dict[str, str] | None:
        """Parameters of the trial of that number; None when a grid has no more."""
        if self._grid is None:
            return self._space.texts(self._ask(number).params)
        if number > len(self._grid):
            return None
        return self._given(number, self._grid[number - 1])

    def _ask(self, number: int) -> Trial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.sampler = self._make(self._algorithm, self._seed, self._of(number))
            self._trials[number] = self._study.ask(self._space.distributions)
        return self._trials[number]

    def _given(self, number: int, parameters: Mapping[str, str]) -> dict[str, str]:
        values = self._space.values(parameters)
        if values is not None:
            self._study.enqueue_trial(values)
        self._ask(number)
        return dict(parameters)

    def _again(self, record: TrialRecord) -> None:
        """Samplers keep what they need in the study when they are asked, so they are."""
        if self.ask(record.number) != record.parameters:
            # Another version of Optuna, or population-based training has changed them since.
            self._study.tell(self._trials[record.number], state=TrialState.FAIL)
            self._given(record.number, record.parameters)

    def tell(self, record: TrialRecord) -> None:
        """How a trial ended."""
        trial = self._trials.pop(record.number)
        if not record.measured:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        values = [record.objectives[name] for name in record.directions]
        if record.state is State.EARLY_STOPPED:
            trial.report(values[0], record.step or 1)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, values)

    def _of(self, number: int) -> int:
        return (self._seed * STRIDE + number) % SEEDS

    def _add(self, parameters: Mapping[str, str], objectives: list[float]) -> None:
        values = self._space.values(parameters)
        if values is not None:
            trial = create_trial(
                params=values, distributions=self._space.distributions, values=objectives
            )
            self._study.add_trial(trial)


def _random(_: Algorithm, seed: int, own: int) -> BaseSampler:
    return RandomSampler(seed=own)


def _sobol(_: Algorithm, seed: int, own: int) -> BaseSampler:
    # One sequence for all trials; how far it is, the study knows.
    return QMCSampler(
        qmc_type="sobol", scramble=True, seed=seed, independent_sampler=RandomSampler(seed=own),
        warn_asynchronous_seeding=False, warn_independent_sampling=False,
    )  # fmt: skip


def _tpe(algorithm: Algorithm, seed: int, own: int) -> BaseSampler:
    assert algorithm.tpe is not None
    # The liar: trials at work count as bad, or those beside them would be sent to the same place.
    return TPESampler(
        n_startup_trials=algorithm.tpe.startup_trials, multivariate=algorithm.tpe.multivariate,
        constant_liar=True, seed=own,
    )  # fmt: skip


def _cmaes(algorithm: Algorithm, seed: int, own: int) -> BaseSampler:
    assert algorithm.cmaes is not None
    return CmaEsSampler(
        n_startup_trials=algorithm.cmaes.startup_trials, seed=own,
        independent_sampler=RandomSampler(seed=own), warn_independent_sampling=False,
    )  # fmt: skip


def _nsga2(algorithm: Algorithm, seed: int, own: int) -> BaseSampler:
    assert algorithm.nsga2 is not None
    return NSGAIISampler(population_size=algorithm.nsga2.population, seed=own)


_SAMPLERS: Final[dict[str, Callable[[Algorithm, int, int], BaseSampler]]] = {
    "random": _random, "grid": _random, "sobol": _sobol, "tpe": _tpe, "cmaes": _cmaes,
    "nsga2": _nsga2, "pbt": _random,
}  # fmt: skip
"""By the algorithm, the sweep's seed and the trial's."""
