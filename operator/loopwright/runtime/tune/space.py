"""The space of a sweep: as Optuna knows it, as text for trials, and as the points of a grid."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from loopwright.api.space import Int, LogUniform, Normal, Parameter, Uniform

# Optuna knows no normal distribution: such a parameter is searched by its quantile.
TAIL: Final = 1e-6
# What people write as 0.3 shall not become 0.30000000000000004.
STEPPED: Final = ".12g"
MAX_GRID: Final = 1000
# In a larger grid two draws hardly ever meet.
MAX_LISTED: Final = 10**6


@dataclass(frozen=True)
class Axis:
    """One parameter."""

    distribution: BaseDistribution
    """Optuna's."""
    text: Callable[[Any], str]
    """Of a value of that distribution."""
    value: Callable[[str], Any]
    """Back; raises ValueError."""
    count: int = 0
    """Points of a grid."""
    point: Callable[[int], str] = str
    """One of them, from 0."""


class Space:
    """All parameters."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._axes = {one.name: _axis(one) for one in parameters}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Of all parameters, for Optuna."""
        return {name: axis.distribution for name, axis in self._axes.items()}

    def texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What a trial is given, of Optuna's values."""
        return {name: axis.text(values[name]) for name, axis in self._axes.items()}

    def values(self, texts: Mapping[str, str]) -> dict[str, Any] | None:
        """Optuna's values; None when one is missing, or lies outside of the space."""
        values = {}
        for name, axis in self._axes.items():
            try:
                values[name] = axis.value(texts[name])
            except (KeyError, ValueError):
                return None
            if not _inside(axis.distribution, values[name]):
                return None
        return values

    def grid(self, seed: int) -> list[dict[str, str]]:
        """Combinations, in an order that the seed decides: all, or as many as there are trials."""
        total, chance = math.prod(axis.count for axis in self._axes.values()), random.Random(seed)  # noqa: S311
        if total <= MAX_LISTED:
            order = chance.sample(range(total), min(total, MAX_GRID))
        else:
            drawn: dict[int, None] = {}
            while len(drawn) < MAX_GRID:
                drawn[chance.randrange(total)] = None
            order = list(drawn)
        return [self._combination(index) for index in order]

    def _combination(self, index: int) -> dict[str, str]:
        texts = {}
        for name, axis in self._axes.items():
            index, place = divmod(index, axis.count)
            texts[name] = axis.point(place)
        return texts

    def perturbed(self, texts: Mapping[str, str], chance: random.Random) -> dict[str, str]:
        """Parameters near others, as population-based training explores: a fifth up or down, or
        the next choice; one in four is drawn anew."""
        return {
            name: _drawn(axis, chance)
            if chance.random() < 0.25
            else _nudged(axis, texts[name], chance)
            for name, axis in self._axes.items()
        }


def _inside(one: BaseDistribution, value: Any) -> bool:
    if isinstance(one, CategoricalDistribution):
        return value in one.choices
    assert isinstance(one, FloatDistribution | IntDistribution)
    return bool(one.low <= value <= one.high)


def _axis(parameter: Parameter) -> Axis:
    if parameter.uniform is not None:
        return _uniform(parameter.uniform)
    if parameter.log_uniform is not None:
        return _log(parameter.log_uniform)
    if parameter.int_ is not None:
        return _int(parameter.int_)
    if parameter.normal is not None:
        return _normal(parameter.normal)
    assert parameter.categorical is not None
    choices = parameter.categorical.choices
    return Axis(CategoricalDistribution(choices), str, str, len(choices), lambda i: choices[i])


def _uniform(space: Uniform) -> Axis:
    low, high = float(space.min), float(space.max)
    if space.step is None:
        return Axis(FloatDistribution(low, high), repr, float)
    step = float(space.step)
    # The tolerance is for steps like 0.1, of which ten are less than 1.
    count = math.floor((high - low) / step + 1e-9) + 1

    def point(index: int) -> str:
        return format(low + index * step, STEPPED)

    return Axis(
        FloatDistribution(low, float(point(count - 1)), step=step),
        lambda value: point(round((value - low) / step)),
        lambda text: float(point(round((float(text) - low) / step))),
        count,
        point,
    )


def _log(space: LogUniform) -> Axis:
    return Axis(FloatDistribution(float(space.min), float(space.max), log=True), repr, float)


def _int(space: Int) -> Axis:
    points = range(space.min, space.max + 1, space.step)
    distribution = IntDistribution(points[0], points[-1], log=space.log, step=space.step)
    return Axis(distribution, str, int, len(points), lambda index: str(points[index]))


def _normal(space: Normal) -> Axis:
    curve = NormalDist(float(space.mean), float(space.std))
    return Axis(
        FloatDistribution(TAIL, 1 - TAIL),
        lambda quantile: repr(curve.inv_cdf(quantile)),
        lambda text: min(1 - TAIL, max(TAIL, curve.cdf(float(text)))),
    )


def _drawn(axis: Axis, chance: random.Random) -> str:
    one = axis.distribution
    if isinstance(one, CategoricalDistribution):
        return str(chance.choice(one.choices))
    assert isinstance(one, FloatDistribution | IntDistribution)
    if one.log:
        return _within(axis, math.exp(chance.uniform(math.log(one.low), math.log(one.high))))
    return _within(axis, chance.uniform(one.low, one.high))


def _nudged(axis: Axis, text: str, chance: random.Random) -> str:
    one, up = axis.distribution, chance.random() < 0.5
    if isinstance(one, CategoricalDistribution):
        index = one.choices.index(text) + (1 if up else -1)
        return str(one.choices[min(len(one.choices) - 1, max(0, index))])
    assert isinstance(one, FloatDistribution | IntDistribution)
    value = axis.value(text)
    moved = value + abs(value) * (0.2 if up else -0.2)
    if one.step is not None and abs(moved - value) < one.step:
        moved = value + (one.step if up else -one.step)
    return _within(axis, moved)


def _within(axis: Axis, value: float) -> str:
    one = axis.distribution
    assert isinstance(one, FloatDistribution | IntDistribution)
    if one.step is not None:
        value = one.low + round((value - one.low) / one.step) * one.step
    return axis.text(min(one.high, max(one.low, value)))
