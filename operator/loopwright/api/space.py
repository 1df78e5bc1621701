"""The space that a HyperparameterSweep searches, and how."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from loopwright.api.base import NO_NUL, WHOLE, ApiModel, Cel, Flag
from loopwright.api.maps import AS_SET, DISTINCT
from loopwright.api.shared import Number

_ORDERED = "min must be less than max"
_POSITIVE_STEP = "step must be greater than 0"


class Uniform(ApiModel):
    """A number, each as likely as any other."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("double(self.min) < double(self.max)", _ORDERED),
        Cel("!has(self.step) || double(self.step) > 0.0", _POSITIVE_STEP),
    )

    min: Number
    """Least value, as text."""
    max: Number
    """Greatest value, as text."""
    step: Number | None = None
    """Only min and whole steps from it; a grid needs it."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not float(self.min) < float(self.max):
            raise ValueError(_ORDERED)
        if self.step is not None and not float(self.step) > 0:
            raise ValueError(_POSITIVE_STEP)
        return self


class LogUniform(ApiModel):
    """A positive number, whose logarithm is uniform: for learning rates, say."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("double(self.min) < double(self.max)", _ORDERED),
        Cel("double(self.min) > 0.0", "min must be greater than 0, which has no logarithm"),
    )

    min: Number
    """Least value, as text."""
    max: Number
    """Greatest value, as text."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not 0 < float(self.min) < float(self.max):
            raise ValueError(f"{_ORDERED}, and greater than 0")
        return self


class Normal(ApiModel):
    """A number that is normally distributed."""

    cel: ClassVar[tuple[Cel, ...]] = (Cel("double(self.std) > 0.0", "std must be greater than 0"),)

    mean: Number
    """Mean, as text."""
    std: Number
    """Standard deviation, as text."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not float(self.std) > 0:
            raise ValueError("std must be greater than 0")
        return self


class Categorical(ApiModel):
    """One of some texts, in no order."""

    choices: Annotated[
        list[Annotated[str, Field(max_length=256, pattern=NO_NUL)]],
        Field(min_length=1, max_length=64, json_schema_extra=AS_SET),
        DISTINCT,
    ]
    """The texts."""


# CEL reads both ends, and takes no 2.0 for an integer: so no WHOLE here.
_Whole = Annotated[int, Field(strict=True, ge=-(10**15), le=10**15)]


class Int(ApiModel):
    """A whole number."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.min < self.max", _ORDERED),
        Cel("!self.log || self.min > 0", "log needs min greater than 0"),
        Cel("!self.log || self.step == 1", "log goes with step 1 only"),
    )

    min: _Whole
    """Least value."""
    max: _Whole
    """Greatest value."""
    step: Annotated[int, Field(strict=True, ge=1, le=10**15)] = 1
    """Only min and whole steps from it."""
    log: Flag = False
    """Whether its logarithm is uniform."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if not self.min < self.max:
            raise ValueError(_ORDERED)
        if self.log and self.min <= 0:
            raise ValueError("log needs min greater than 0")
        if self.log and self.step != 1:
            raise ValueError("log goes with step 1 only")
        return self


_SPACES = ("uniform", "logUniform", "normal", "categorical", "int")
_ONE_SPACE = "set exactly one of " + ", ".join(_SPACES)


def _exactly_one(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"has(self.{name})" for name in names) + "].filter(x, x).size() == 1"


class Parameter(ApiModel):
    """A hyperparameter that trials differ in, and its values: exactly one kind of space."""

    cel: ClassVar[tuple[Cel, ...]] = (Cel(_exactly_one(_SPACES), _ONE_SPACE),)

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=NO_NUL)]
    """Name of the hyperparameter; trials get it beside trialTemplate.spec.hyperparameters."""
    uniform: Uniform | None = None
    """A number between two."""
    log_uniform: LogUniform | None = None
    """A number between two, by its logarithm."""
    normal: Normal | None = None
    """A normally distributed number."""
    categorical: Categorical | None = None
    """One of some texts."""
    int_: Annotated[Int | None, Field(alias="int")] = None
    """A whole number between two."""

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        spaces = (self.uniform, self.log_uniform, self.normal, self.categorical, self.int_)
        if sum(space is not None for space in spaces) != 1:
            raise ValueError(_ONE_SPACE)
        return self

    @property
    def countable(self) -> bool:
        """Whether a grid has points of it."""
        stepped = self.uniform is not None and self.uniform.step is not None
        return stepped or self.categorical is not None or self.int_ is not None


class Random(ApiModel):
    """Trials that know nothing of each other."""


class Grid(ApiModel):
    """Each combination once, in an order of no meaning; at most maxTrials."""


class Sobol(ApiModel):
    """Quasi-random points, which cover the space more evenly than random ones."""


class Tpe(ApiModel):
    """Tree-structured Parzen estimator: proposes what good trials had in common."""

    startup_trials: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE] = 10
    """Random trials to begin with."""
    multivariate: Flag = False
    """Whether parameters are looked at together, not one by one."""


class Cmaes(ApiModel):
    """CMA-ES, for numbers; categorical parameters are drawn at random."""

    startup_trials: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE] = 1
    """Random trials to begin with."""


class Nsga2(ApiModel):
    """NSGA-II: a population that evolves; also for several objectives."""

    population: Annotated[int, Field(strict=True, ge=2, le=500), WHOLE] = 50
    """Trials of a generation."""


Fraction = Annotated[str, Field(max_length=32, pattern=r"^0(\.[0-9]{1,15})?$")]


class Pbt(ApiModel):
    """Population-based training: every so often poor trials take over the checkpoint of good ones,
    with changed parameters. Trials must load and save checkpoints; maxTrials is the population."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "double(self.quantile) > 0.0 && double(self.quantile) <= 0.5",
            "quantile must be greater than 0 and at most 0.5",
        ),
    )

    interval_steps: Annotated[int, Field(strict=True, ge=1, le=1000000), WHOLE] = 5
    """Steps between looks at the population."""
    quantile: Fraction = "0.25"
    """Share of the population that gives up, and of that whom it learns from; as text."""

    @model_validator(mode="after")
    def _share(self) -> Self:
        if not 0 < float(self.quantile) <= 0.5:
            raise ValueError("quantile must be greater than 0 and at most 0.5")
        return self


_ALGORITHMS = ("random", "grid", "sobol", "tpe", "cmaes", "nsga2", "pbt")
_ONE_ALGORITHM = "set exactly one of " + ", ".join(_ALGORITHMS) + "; for example tpe: {}"


class Algorithm(ApiModel):
    """What proposes trials: exactly one."""

    cel: ClassVar[tuple[Cel, ...]] = (Cel(_exactly_one(_ALGORITHMS), _ONE_ALGORITHM),)

    seed: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), WHOLE] | None = None
    """Where randomness begins: the same seed and the same results give the same proposals. By
    default it comes from the sweep's UID."""
    random: Random | None = None
    """At random."""
    grid: Grid | None = None
    """All combinations."""
    sobol: Sobol | None = None
    """Quasi-random."""
    tpe: Tpe | None = None
    """Tree-structured Parzen estimator."""
    cmaes: Cmaes | None = None
    """CMA-ES."""
    nsga2: Nsga2 | None = None
    """NSGA-II."""
    pbt: Pbt | None = None
    """Population-based training."""

    @model_validator(mode="after")
    def _one_algorithm(self) -> Self:
        if sum(getattr(self, name) is not None for name in _ALGORITHMS) != 1:
            raise ValueError(_ONE_ALGORITHM)
        return self

    @property
    def name(self) -> str:
        """Which one it is."""
        return next(name for name in _ALGORITHMS if getattr(self, name) is not None)
