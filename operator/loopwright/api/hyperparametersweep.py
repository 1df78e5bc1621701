"""HyperparameterSweep: find good hyperparameters by many trials on one Ray cluster."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from loopwright.api import quantity
from loopwright.api.base import WHOLE, ApiModel, Cel, DnsName, Flag
from loopwright.api.budget import Budget
from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus
from loopwright.api.maps import AS_SET, DISTINCT, WITHOUT_NULLS, distinct
from loopwright.api.modelref import Register
from loopwright.api.policy import ClusterRetry, Retry, RunPolicy, Scheduling, Spot
from loopwright.api.shared import (
    EnvFrom,
    EnvVar,
    MetricSource,
    Number,
    Objective,
    PodOverrides,
    Resources,
    by_key,
)
from loopwright.api.space import Algorithm, Parameter, Random
from loopwright.api.trainingjob import HYPERPARAMETER, Head, Hyperparameters, Training

KIND = "HyperparameterSweep"
PLURAL = "hyperparametersweeps"

MAX_PODS = 1024


class SweepObjective(Objective):
    """A metric that trials are compared by."""

    goal: Number | None = None
    """A value that is good enough, as text; see stopWhen.goalReached."""
    strategy: Literal["Last", "Min", "Max"] = "Last"
    """Which of the values that a trial reports stands for it."""


class EarlyStopping(ApiModel):
    """Which trials are not run to their end."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.kind != 'Asha' || (has(self.maxSteps) && self.maxSteps > self.graceSteps)",
            "kind Asha needs maxSteps greater than graceSteps: the steps of a whole trial",
        ),
        Cel("self.kind == 'Asha' || !has(self.maxSteps)", "maxSteps goes with kind Asha"),
    )

    kind: Literal["None", "MedianStop", "Asha"] = "None"
    """MedianStop: those that are worse than the median of the others were at the same step. Asha:
    all but the best of those that have come as far, at ever wider steps."""
    # CEL reads both numbers of steps, and takes no 2.0 for an integer: so no WHOLE here.
    grace_steps: Annotated[int, Field(strict=True, ge=1, le=1000000)] = 1
    """Steps that every trial may take."""
    max_steps: Annotated[int, Field(strict=True, ge=2, le=1000000)] | None = None
    """For Asha: steps of a whole trial, which ends there."""
    eta: Annotated[int, Field(strict=True, ge=2, le=16), WHOLE] = 4
    """For Asha: one of so many trials goes on; so many times further."""
    brackets: Annotated[int, Field(strict=True, ge=1, le=8), WHOLE] = 1
    """For Asha: groups of trials, each with more grace than the one before."""
    min_trials: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE] = 3
    """For MedianStop: how many others must have come as far."""

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if (self.kind == "Asha") != (self.max_steps is not None):
            raise ValueError("kind Asha needs maxSteps, and only Asha takes it")
        if self.max_steps is not None and self.max_steps <= self.grace_steps:
            raise ValueError("kind Asha needs maxSteps greater than graceSteps")
        return self


class NoImprovement(ApiModel):
    """A number of trials without a new best one."""

    trials: Annotated[int, Field(strict=True, ge=1, le=1000), WHOLE]
    """How many."""


class StopWhen(ApiModel):
    """When to end before maxTrials."""

    goal_reached: Flag = True
    """Once a trial has reached the goal of each objective that has one."""
    no_improvement: NoImprovement | None = None
    """Once so many trials in a row were no better than the best one before them. With several
    objectives: than all of the Pareto front."""


class SweepMetrics(ApiModel):
    """How trials are measured."""

    source: MetricSource = MetricSource()
    """How metrics leave the training code."""
    missing: Literal["Fail", "RetryOnce", "Ignore"] = "Fail"
    """What to do about a trial that ends without a number for an objective. Fail: it counts towards
    maxFailedTrials. RetryOnce: it is run once more, then as Fail. Ignore: it does not count."""
    timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=2419200), WHOLE] = 3600
    """A trial that reports nothing for so long is stopped, and counts as `missing` says."""


class TrialResult(ApiModel):
    """A trial that somebody else has run."""

    parameters: Hyperparameters
    """What it was given: a value for each of spec.parameters."""
    metrics: Annotated[
        dict[str, Number],
        Field(min_length=1, max_length=16, json_schema_extra=HYPERPARAMETER.rule()),
        AfterValidator(HYPERPARAMETER.check),
        WITHOUT_NULLS,
    ]
    """What it reached: a value for each objective, as text."""


class WarmStart(ApiModel):
    """What is known before the first trial. It counts for none of the limits."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("has(self.sweeps) || has(self.results)", "set sweeps, results or both"),
    )

    sweeps: (
        Annotated[
            list[DnsName],
            Field(min_length=1, max_length=5, json_schema_extra=AS_SET),
            DISTINCT,
        ]
        | None
    ) = None
    """Sweeps of this namespace that have ended. Their trials count as far as they lie in this
    space and have the same objectives."""
    results: Annotated[list[TrialResult], Field(min_length=1, max_length=200)] | None = None
    """Results from elsewhere."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.sweeps is None and self.results is None:
            raise ValueError("set sweeps, results or both")
        return self


class TrialSpec(Training):
    """What a trial runs: a TrainingJob's spec without what belongs to the sweep as a whole (head,
    metrics, register, retry, runPolicy, scheduling) and without spot. Immutable but for pod."""

    num_workers: Annotated[int, Field(strict=True, ge=0, le=MAX_PODS)] = 1
    """Worker pods of each trial at work. 0: trials run in the head pod, which then has
    resourcesPerWorker for each of them."""


class TrialTemplate(ApiModel):
    """What is tried."""

    spec: TrialSpec
    """What each trial runs, with its parameters as hyperparameters."""


_MULTI = ("random", "grid", "sobol", "nsga2")
_OBJECTIVES = "several objectives need one of the algorithms " + ", ".join(_MULTI)
_ONE_STOPPED = (
    "earlyStopping compares by one objective, and pbt stops trials itself; set earlyStopping.kind"
    " None"
)
_GRID = "grid needs points to count: give uniform a step, or use int or categorical"
_TAKEN = "a parameter has the name of one of trialTemplate.spec.hyperparameters; remove it there"
_SHARED = "trialsPerGpu needs trialTemplate.spec.resourcesPerWorker.gpu 1, of which each has a part"
_PODS = f"parallelTrials times trialTemplate.spec.numWorkers must be at most {MAX_PODS}"
_PARALLEL = "parallelTrials must not exceed maxTrials"


class SweepPolicy(RunPolicy):
    """Limits on the sweep's life."""

    immutable: ClassVar[frozenset[str]] = frozenset({"maxPendingSeconds"})

    max_runtime_seconds: Annotated[int, Field(strict=True, ge=60, le=2419200), WHOLE] = 604800
    """How long the attempts may run in sum. Then the sweep ends with the best trial so far."""


class HyperparameterSweepSpec(ApiModel):
    """What to search, by which trials, within which limits. Immutable but for parallelTrials,
    maxTrials (which can only be raised), budget, runPolicy, and the pods' details (head, pod)."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.parallelTrials <= self.maxTrials", _PARALLEL),
        Cel("self.maxTrials >= oldSelf.maxTrials", "maxTrials can only be raised"),
        Cel(
            "self.objectives.size() == 1 || "
            + " || ".join(f"has(self.algorithm.{name})" for name in _MULTI),
            _OBJECTIVES,
        ),
        Cel(
            "self.earlyStopping.kind == 'None'"
            " || (self.objectives.size() == 1 && !has(self.algorithm.pbt))",
            _ONE_STOPPED,
        ),
        Cel(
            "!has(self.algorithm.grid) || self.parameters.all(p, has(p.categorical) || has(p.int)"
            " || (has(p.uniform) && has(p.uniform.step)))",
            _GRID,
        ),
        Cel(
            "!has(self.trialTemplate.spec.hyperparameters) ||"
            " self.parameters.all(p, !(p.name in self.trialTemplate.spec.hyperparameters))",
            _TAKEN,
        ),
        Cel(
            "self.trialsPerGpu == 1 || self.trialTemplate.spec.resourcesPerWorker.gpu == 1",
            _SHARED,
        ),
        Cel(
            f"self.parallelTrials * self.trialTemplate.spec.numWorkers <= {MAX_PODS}",
            _PODS,
        ),
    )
    immutable: ClassVar[frozenset[str]] = frozenset(
        {
            "objectives", "parameters", "algorithm", "maxFailedTrials", "trialsPerGpu", "stopWhen",
            "earlyStopping", "metrics", "warmStart", "promote", "retry", "scheduling",
        }
    )  # fmt: skip

    objectives: Annotated[
        list[SweepObjective],
        Field(min_length=1, max_length=3, json_schema_extra=by_key("metric")),
        distinct("metric"),
    ]
    """What is to be small or large; with several, a Pareto front is found."""
    parameters: Annotated[
        list[Parameter],
        Field(min_length=1, max_length=100, json_schema_extra=by_key("name")),
        distinct("name"),
    ]
    """The space."""
    algorithm: Algorithm = Algorithm(random=Random())
    """What proposes trials."""
    # CEL reads these numbers, and takes no 2.0 for an integer: so no WHOLE here.
    max_trials: Annotated[int, Field(strict=True, ge=1, le=1000)] = 20
    """How many trials are run. It can be raised while the sweep runs."""
    parallel_trials: Annotated[int, Field(strict=True, ge=1, le=1000)] = 2
    """How many at the same time. Another number stops the attempt, and the next one goes on with
    a cluster of another size; trials at work continue from their checkpoints."""
    max_failed_trials: Annotated[int, Field(strict=True, ge=0, le=1000), WHOLE] = 3
    """The sweep fails when more have failed."""
    trials_per_gpu: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    """How many trials share a GPU."""
    stop_when: StopWhen = StopWhen()
    """When to end before maxTrials."""
    early_stopping: EarlyStopping = EarlyStopping()
    """Which trials are cut short."""
    metrics: SweepMetrics = SweepMetrics()
    """How trials are measured."""
    warm_start: WarmStart | None = None
    """What is known already."""
    trial_template: TrialTemplate
    """What is tried."""
    promote: Register | None = None
    """Make the model of the best trial a version of a Model, when its metrics are good enough."""
    head: Head = Head()
    """The coordinating pod."""
    retry: ClusterRetry = ClusterRetry()
    """How many lost clusters are forgiven; trials that fail are counted by maxFailedTrials."""
    budget: Budget | None = None
    """What it may cost; by default all it takes."""
    run_policy: SweepPolicy = SweepPolicy()
    """Limits, suspension and clean-up."""
    scheduling: Scheduling | None = None
    """Queue and priority."""

    @model_validator(mode="after")
    def _rules(self) -> Self:
        trial, several = self.trial_template.spec, len(self.objectives) > 1
        wrong = {
            _PARALLEL: self.parallel_trials > self.max_trials,
            _OBJECTIVES: several and self.algorithm.name not in _MULTI,
            _ONE_STOPPED: self.early_stopping.kind != "None"
            and (several or self.algorithm.pbt is not None),
            _GRID: self.algorithm.grid is not None
            and not all(one.countable for one in self.parameters),
            _TAKEN: any(one.name in trial.hyperparameters for one in self.parameters),
            _SHARED: self.trials_per_gpu > 1 and trial.resources_per_worker.gpu != 1,
            _PODS: self.parallel_trials * trial.num_workers > MAX_PODS,
        }
        for message, broken in wrong.items():
            if broken:
                raise ValueError(message)
        return self

    # How the core sees it; see JobSpec.

    @property
    def budgets(self) -> Retry:
        """Failures of attempts that are forgiven. What a trial does wrong ends no attempt."""
        return Retry(**self.retry.model_dump())

    @property
    def image(self) -> str | None:
        """Container image, unless it is the operator's."""
        return self.trial_template.spec.image

    @property
    def ray_version(self) -> str | None:
        """Version of Ray in it, unless it is the operator's."""
        return self.trial_template.spec.ray_version

    @property
    def num_workers(self) -> int:
        """Worker pods of all trials at work."""
        pods = self.parallel_trials * self.trial_template.spec.num_workers
        return -(-pods // self.trials_per_gpu)

    @property
    def shares(self) -> int:
        """Workers of trials that have a place in each pod that works."""
        return self.trials_per_gpu if self.trial_template.spec.num_workers else self.parallel_trials

    @property
    def resources_per_worker(self) -> Resources:
        """Resources of each pod that works, with room for all who share it."""
        one, shares = self.trial_template.spec.resources_per_worker, self.shares
        room = {
            name: quantity.times(amount, shares)
            for name in ("cpu", "memory", "ephemeral_storage", "shm_size")
            if (amount := getattr(one, name)) is not None
        }
        return one.model_copy(update={**room, "gpu": -(-one.gpu * shares // self.trials_per_gpu)})

    @property
    def spot(self) -> Spot | None:
        """Not yet."""
        return None

    @property
    def env(self) -> list[EnvVar]:
        """Variables of the Ray containers."""
        return self.trial_template.spec.env

    @property
    def env_from(self) -> list[EnvFrom]:
        """Secrets and ConfigMaps whose keys become variables."""
        return self.trial_template.spec.env_from

    @property
    def pod(self) -> PodOverrides:
        """Additions to all pods."""
        return self.trial_template.spec.pod


class HyperparameterSweep(ApiModel):
    """Finds good hyperparameters by many trials on one Ray cluster."""

    model_config = ConfigDict(extra="ignore")

    spec: HyperparameterSweepSpec
    """What to search."""
    status: HyperparameterSweepStatus = HyperparameterSweepStatus()
    """What the operator knows."""
