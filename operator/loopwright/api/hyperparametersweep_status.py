"""The status of a HyperparameterSweep."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loopwright.api.base import MetricName, StatusModel
from loopwright.api.conditions import Condition
from loopwright.api.shared import by_key
from loopwright.api.trainingjob_status import Progress, TrainedStatus

MAX_TRIALS_SHOWN = 20


class TrialState(StrEnum):
    """Where a trial is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    EARLY_STOPPED = "EarlyStopped"
    """By spec.earlyStopping; what it reported counts."""
    FAILED = "Failed"
    """Its code failed."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """It ended, or was stopped, without a number for an objective."""


class StopReason(StrEnum):
    """Why a sweep proposes no more trials."""

    GOAL_REACHED = "GoalReached"
    """A trial reached the goal of each objective that has one."""
    MAX_TRIALS = "MaxTrials"
    """spec.maxTrials have ended."""
    SPACE_EXHAUSTED = "SpaceExhausted"
    """The grid has no more points."""
    NO_IMPROVEMENT = "NoImprovement"
    """The last spec.stopWhen.noImprovement.trials were no better."""
    MAX_RUNTIME = "MaxRuntime"
    """runPolicy.maxRuntimeSeconds passed."""
    TOO_MANY_FAILURES = "TooManyFailures"
    """More than spec.maxFailedTrials failed. The only one that is a failure."""


class Trial(StatusModel):
    """A trial, and what came of it; numbers as text."""

    name: Annotated[str, Field(max_length=63)]
    """Its id, for example t7; trials count from 1."""
    state: TrialState = TrialState.PENDING
    """Where it is."""
    parameters: Annotated[
        dict[
            Annotated[str, Field(max_length=64)],
            Annotated[str, Field(max_length=256)],
        ],
        Field(max_length=100),
    ] = {}
    """What it was given."""
    metrics: Annotated[
        dict[MetricName, Annotated[str, Field(max_length=32)]], Field(max_length=64)
    ] = {}
    """Each objective, as its strategy says, and the latest of its other metrics."""
    value: Annotated[str, Field(max_length=32)] | None = None
    """The first objective."""
    step: int | None = None
    """Steps it reported."""
    seconds: int | None = None
    """How long it ran."""
    model_uri: Annotated[str, Field(max_length=2048)] | None = None
    """The model directory it left."""


class TrialCounts(StatusModel):
    """Trials by state."""

    total: int = 0
    """Begun, over all attempts."""
    pending: int = 0
    """Proposed, and waiting for room."""
    running: int = 0
    """At work."""
    succeeded: int = 0
    """Ran to their end."""
    early_stopped: int = 0
    """Stopped by spec.earlyStopping."""
    failed: int = 0
    """Whose code failed."""
    metrics_unavailable: int = 0
    """Without a number for an objective."""
    finished: Annotated[str, Field(max_length=32)] | None = None
    """Those that ended, of spec.maxTrials: 12/20."""


class Limits(StatusModel):
    """What may change while a sweep runs, as the newest attempt was told."""

    max_trials: int
    """spec.maxTrials."""
    parallel_trials: int
    """spec.parallelTrials."""
    max_runtime_seconds: int
    """runPolicy.maxRuntimeSeconds."""


class HyperparameterSweepStatus(TrainedStatus):
    """What the operator knows about the sweep."""

    conditions: Annotated[
        list[Condition], Field(max_length=32, json_schema_extra=by_key("type"))
    ] = []
    """Ready, Reconciling and Stalled as kstatus knows them, and ClusterReady, Running, Succeeded,
    Failed, Suspended, Admitted, ModelRegistered, and why it ended: GoalReached, Exhausted,
    BudgetExceeded."""
    algorithm: Annotated[str, Field(max_length=32)] | None = None
    """What proposes trials."""
    limits: Limits | None = None
    """What the newest attempt was told; it is stopped for other parallelTrials, or less time, and
    the next one goes on."""
    progress: Progress | None = None
    """How far it is; a step is a trial that ended."""
    trials: TrialCounts = TrialCounts()
    """Trials by state."""
    best: Trial | None = None
    """The best trial so far, by the first objective."""
    pareto: Annotated[list[Trial], Field(max_length=MAX_TRIALS_SHOWN)] = []
    """With several objectives: trials that none is better than in all of them."""
    top_trials: Annotated[list[Trial], Field(max_length=MAX_TRIALS_SHOWN)] = []
    """The best trials, best first."""
    stop_reason: StopReason | None = None
    """Why no more trials are proposed."""
    history_uri: Annotated[str, Field(max_length=2048)] | None = None
    """All trials, as JSON lines."""
    report_uri: Annotated[str, Field(max_length=2048)] | None = None
    """The same for people: one HTML file with charts."""
