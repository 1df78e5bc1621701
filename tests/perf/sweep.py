"""What early stopping saves.

The search logic of sweeps, proposals and schedulers, over learning curves that were really trained,
two trials at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from tests.perf.figures import Figures, Quantity

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec

TRIALS: Final = 30
SLOTS: Final = 2
EPOCHS: Final = 27
ENOUGH: Final = 0.95
REPEATS: Final = 10
# What somebody would write who knows nothing of the problem.
PARAMETERS: Final = [
    {"name": "lr", "logUniform": {"min": "0.00001", "max": "1"}},
    {"name": "alpha", "logUniform": {"min": "0.000001", "max": "1"}},
    {"name": "hidden", "int": {"min": 4, "max": 64, "log": True}},
    {"name": "batch", "int": {"min": 16, "max": 256, "log": True}},
]
ASHA: Final = {"kind": "Asha", "maxSteps": EPOCHS}
UNTIL, ALL = Quantity("epochs until then", digits=0), Quantity("epochs in all", digits=0)
FINAL = Quantity("best score in the end", digits=3)


EARLY: Final = "ASHA"
RAYS: Final = "Ray Tune's ASHA"
RANDOM: Final = "random search"


def search(repeats: int) -> list[Figures]:
    """Epochs until a trial is within 5 % of the best that the whole random search finds."""
    figures = Figures(
        f"Search: epochs until {ENOUGH:.0%} of the best score, {TRIALS} trials of {EPOCHS} epochs "
        f"on digits, {SLOTS} at a time"
    )
    sides = {RANDOM: _scheduler({}), EARLY: _scheduler({"earlyStopping": ASHA}), RAYS: _rays}
    ratios = []
    for seed in range(max(repeats, REPEATS)):
        _, _, best = _searched(seed, sides[RANDOM](seed), None)
        found = {who: _searched(seed, make(seed), ENOUGH * best) for who, make in sides.items()}
        for who, (until, epochs, score) in found.items():
            figures.add(who, {UNTIL: until, ALL: epochs, FINAL: score})
        ratios.append(found[EARLY][0] / found[RANDOM][0])
        told = ", ".join(f"{who} {until}" for who, (until, _, _) in found.items())
        print(f"  seed {seed}: {told} epochs", flush=True)
    for who in (EARLY, RAYS):
        of_all = figures.total(who, UNTIL) / figures.total(RANDOM, UNTIL)
        bar = f", median {np.median(ratios):.2f}x; bar 0.5x" if who == EARLY else ""
        figures.comparisons.append(f"{who} needs {of_all:.2f}x the epochs in sum{bar}")
    return [figures]


def _spec(more: dict[str, Any]) -> HyperparameterSweepSpec:
    return HyperparameterSweepSpec.model_validate(
        {
            "objectives": [{"metric": "accuracy", "direction": "Maximize"}], **more,
            "parameters": PARAMETERS, "algorithm": {"random": {}}, "maxTrials": TRIALS,
            "trialTemplate": {"spec": {"script": {"inline": "#"}}},
        }
    )  # fmt: skip


def _scheduler(more: dict[str, Any]) -> Callable[[int], Any]:
    from loopwright.runtime.tune import schedulers
    from loopwright.runtime.tune.space import Space

    spec = _spec(more)
    return lambda seed: schedulers.scheduler(spec, Space(spec.parameters), seed)


def _rays(seed: int) -> Any:
    """The peer, set up the same."""
    from ray.tune.schedulers import ASHAScheduler

    from loopwright.runtime.tune.halving import STEP, VALUE

    np.random.seed(seed)
    early = _spec({"earlyStopping": ASHA}).early_stopping
    return ASHAScheduler(
        time_attr=STEP, metric=VALUE, mode="max", max_t=EPOCHS, grace_period=early.grace_steps,
        reduction_factor=early.eta, brackets=early.brackets,
    )  # fmt: skip


def _searched(seed: int, scheduler: Any, goal: float | None) -> tuple[int, int, float]:
    """Epochs until the goal and in all, and the best score; trials advance in step."""
    from loopwright.runtime.tune.halving import STEP, VALUE
    from loopwright.runtime.tune.proposals import Proposals

    proposals = Proposals(_spec({}), seed)
    waiting = iter(range(1, TRIALS + 1))
    at_work: list[tuple[SimpleNamespace, Iterator[float]]] = []
    epochs, until, best = 0, 0, 0.0
    while True:
        while len(at_work) < SLOTS and (number := next(waiting, None)) is not None:
            parameters = proposals.ask(number)
            assert parameters is not None
            trial = SimpleNamespace(trial_id=f"t{number}", epoch=0)
            scheduler.on_trial_add(None, trial)
            at_work.append((trial, iter(curve(tuple(parameters.items())))))
        if not at_work:
            return until or epochs, epochs, best
        for one in list(at_work):
            trial, scores = one
            score, trial.epoch, epochs = next(scores), trial.epoch + 1, epochs + 1
            best = max(best, score)
            if goal is not None and not until and score >= goal:
                until = epochs
            decision = scheduler.on_trial_result(None, trial, {STEP: trial.epoch, VALUE: score})
            if decision == "STOP" or trial.epoch == EPOCHS:
                at_work.remove(one)


@cache
def _digits() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    split: tuple[Any, Any, Any, Any] = train_test_split(x / 16, y, test_size=0.5, random_state=0)
    return split


@cache
def curve(parameters: tuple[tuple[str, str], ...]) -> tuple[float, ...]:
    """Accuracy after each epoch of a small network; really trained, once."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, x_test, y, y_test = _digits()
    given = dict(parameters)
    model = MLPClassifier(
        (int(given["hidden"]),), learning_rate_init=float(given["lr"]), solver="sgd",
        alpha=float(given["alpha"]), batch_size=int(given["batch"]), random_state=0,
    )  # fmt: skip
    scores = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(EPOCHS):
            try:
                model.partial_fit(x, y, classes=range(10))
                scores.append(float(model.score(x_test, y_test)))
            except ValueError:
                scores.append(0.0)  # It has diverged.
    return tuple(scores)
