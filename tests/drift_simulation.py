"""Simulated windows, with and without drift: how often alarms are raised, and what is seen.

Rows are drawn with replacement from data sets that scikit-learn ships, the baseline's and the
windows' alike: so without a change nothing has drifted, exactly, and yet distributions are real.
Data sets of some hundred rows have gaps that the world has not: continuous columns are smoothed as
a kernel estimate of their density would be (Silverman and Young, "The bootstrap: to smooth or not
to smooth?", Biometrika 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from scipy import stats
from sklearn import datasets

from loopwright.drift import Hysteresis, Limits, Reference, Rules, State, Verdict, evaluate
from loopwright.sketch import Counts, Layout, Sketch
from loopwright.train.profile import Kind, profile

Change = Callable[[Any, np.random.Generator], None]
"""Of the rows of a window, in place."""

# Tests decide alone, however small a difference is.
TESTS_ALONE: Final = Limits(distance=0, missing=-1, out_of_range=-1, unseen=-1, invalid=-1)
NORMAL_FEATURES: Final = 20
ZIPF_FEATURES, ZIPF_CATEGORIES = 3, 1000


@dataclass(frozen=True)
class Population:
    """What rows are drawn from."""

    name: str
    draw: Callable[[int, np.random.Generator], Any]
    """So many rows."""
    names: tuple[str, ...] | None
    categories: tuple[str, ...] = ()
    kind: Kind = "columns"

    def place(self, name: str) -> int:
        """Of a column."""
        assert self.names is not None
        return self.names.index(name)


def _normal(count: int, rng: np.random.Generator) -> Any:
    return rng.normal(size=(count, NORMAL_FEATURES))


def _zipf(count: int, rng: np.random.Generator) -> Any:
    """Categories as frequent as words: every sample has some that others lack."""
    weights = 1 / np.arange(1, ZIPF_CATEGORIES + 1)
    shape = (count, ZIPF_FEATURES)
    return rng.choice(ZIPF_CATEGORIES, size=shape, p=weights / weights.sum()).astype(np.float64)


@dataclass(frozen=True)
class _Resampled:
    """Rows of a data set."""

    rows: Any
    smooth: bool = False
    """Whether continuous columns are smoothed."""

    def __call__(self, count: int, rng: np.random.Generator) -> Any:
        rows = self.rows[rng.integers(0, len(self.rows), count)]
        if not self.smooth:
            return rows
        mean, std = self.rows.mean(axis=0), self.rows.std(axis=0)
        # Silverman's rule; not of columns with few values.
        few = np.array([len(np.unique(one)) < len(self.rows) / 5 for one in self.rows.T])
        width = np.where(few, 0.0, 0.9 * len(self.rows) ** -0.2)
        noise = rng.normal(size=rows.shape) * std * width
        # Variances stay what they are.
        return np.where(few, rows, mean + (rows - mean + noise) / np.sqrt(1 + width**2))


@cache
def populations() -> dict[str, Population]:
    """By name."""
    wine, digits = datasets.load_wine(), datasets.load_digits()
    diabetes = datasets.load_diabetes(scaled=False)
    wines = np.column_stack([wine.data, wine.target])
    written = np.column_stack([digits.data, digits.target])
    zipf = tuple(f"word{n}" for n in range(ZIPF_FEATURES))
    found = [
        Population("normal", _normal, tuple(f"x{n}" for n in range(NORMAL_FEATURES))),
        Population("zipf", _zipf, zipf, zipf),
        Population(
            "wine", _Resampled(wines, True), (*wine.feature_names, "cultivar"), ("cultivar",)
        ),
        Population(
            "diabetes", _Resampled(diabetes.data, True), tuple(diabetes.feature_names), ("sex",)
        ),
        Population("digits", _Resampled(written), (*digits.feature_names, "digit"), ("digit",)),
        Population("images of digits", _Resampled(digits.images), None, kind="image"),
    ]
    return {one.name: one for one in found}


@dataclass(frozen=True)
class Trained:
    """A baseline, and the rows it was made from."""

    population: Population
    rows: Any
    reference: Reference

    @classmethod
    def draw(cls, population: Population, count: int, rng: np.random.Generator) -> Trained:
        """Of so many rows."""
        rows = population.draw(count, rng)
        baseline = profile(
            rows, population.names, categories=population.categories, kinds={"": population.kind}
        )
        return cls(population, rows, Reference.of(baseline))

    def counted(self, rows: Any) -> Counts:
        """What a process counts of rows."""
        return count(self.reference.layout, rows)


def count(layout: Layout, rows: Any) -> Counts:
    """What a new process counts."""
    sketch = Sketch(layout)
    sketch.add({"": rows})
    return sketch.snapshot().counts


def windows(
    population: Population, rows: int, trained: int, baselines: int, each: int, seed: int
) -> Iterator[tuple[Trained, list[Any]]]:
    """Baselines, and windows without drift for each."""
    rng = np.random.default_rng(seed)
    for _ in range(baselines):
        base = Trained.draw(population, trained, rng)
        yield base, [population.draw(rows, rng) for _ in range(each)]


@dataclass
class Alarms:
    """How many windows without drift violate something."""

    windows: int = 0
    tests_at_5: int = 0
    """Tests alone, alpha 0.05."""
    tests_at_1: int = 0
    """Tests alone, alpha 0.01."""
    default: int = 0
    """Default rules."""
    held: int = 0
    """Windows in which an alarm is raised, by default rules and hysteresis."""
    uncorrected: int = 0
    """scipy.stats.ks_2samp below 0.05 for any feature."""

    def rate(self, count: int) -> float:
        """Share of the windows, in percent."""
        return 100 * count / self.windows


def alarms(
    population: Population, rows: int, trained: int, baselines: int, each: int, seed: int = 0,
    *, peer: bool = False,
) -> Alarms:  # fmt: skip
    """False alarms, of `baselines` times `each` windows."""
    found = Alarms()
    strict = [Rules(limits=TESTS_ALONE, alpha=alpha) for alpha in (0.05, 0.01)]
    for base, drawn in windows(population, rows, trained, baselines, each, seed):
        hysteresis = Hysteresis()
        for one in drawn:
            counts = base.counted(one)
            at_5, at_1, default = (
                evaluate(base.reference, counts, rules) for rules in (*strict, Rules())
            )
            found.windows += 1
            found.tests_at_5 += _violated(at_5)
            found.tests_at_1 += _violated(at_1)
            found.default += _violated(default)
            found.held += hysteresis.update(default.state) is State.VIOLATED
            if peer:
                found.uncorrected += any_ks(base.rows, one)
    return found


def _violated(verdict: Verdict) -> bool:
    return verdict.state is State.VIOLATED


def any_ks(before: Any, now: Any, alpha: float = 0.05) -> bool:
    """Whether any column's Kolmogorov-Smirnov test alone is below alpha."""
    pairs = zip(*(one.reshape(len(one), -1).T for one in (before, now)), strict=True)
    return any(stats.ks_2samp(*one, method="asymp").pvalue < alpha for one in pairs)


def power(
    population: Population, column: str, change: Change, rows: int, trained: int, baselines: int,
    each: int, seed: int = 1,
) -> float:  # fmt: skip
    """The share of windows with a change of one column in which that column violates something."""
    seen = total = 0
    rng = np.random.default_rng(seed)
    place = population.place(column)
    for base, drawn in windows(population, rows, trained, baselines, each, seed):
        for one in drawn:
            data = one.copy()
            change(data[:, place], rng)
            verdict = evaluate(base.reference, base.counted(data))
            seen += any(found.feature == column for found in verdict.violations)
            total += 1
    return seen / total


def shifted(by: float) -> Change:
    """All values larger by so many standard deviations."""

    def change(values: Any, rng: np.random.Generator) -> None:
        values += by * values.std()

    return change


def scaled(by: float) -> Change:
    """All values so many times as far from their mean."""

    def change(values: Any, rng: np.random.Generator) -> None:
        values[:] = values.mean() + by * (values - values.mean())

    return change


def emptied(share: float) -> Change:
    """So many values missing."""

    def change(values: Any, rng: np.random.Generator) -> None:
        values[rng.random(len(values)) < share] = np.nan

    return change


def swapped(share: float) -> Change:
    """Of so many values the category is the other of the two most frequent ones."""

    def change(values: Any, rng: np.random.Generator) -> None:
        known, times = np.unique(values, return_counts=True)
        first, second = known[np.argsort(-times, kind="stable")[:2]]
        picked = rng.random(len(values)) < share
        # Only one way: both ways would leave the shares as they are.
        values[picked & (values == second)] = first

    return change
