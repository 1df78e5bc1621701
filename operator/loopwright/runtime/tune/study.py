"""What is known of a sweep's trials, and what follows from it: verdicts, the best, when to end.

Pure: it neither runs trials nor stores them, and time is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loopwright.api.hyperparametersweep import HyperparameterSweepSpec, SweepObjective
from loopwright.api.hyperparametersweep_status import (
    MAX_TRIALS_SHOWN,
    StopReason,
    Trial,
    TrialCounts,
    TrialState,
)
from loopwright.api.report import ModelReport
from loopwright.api.shared import Direction
from loopwright.api.sweep_history import (
    MAX_POINTS,
    Point,
    TrialRecord,
    dominates,
    pareto,
    ranked,
)
from loopwright.api.trainingjob_status import Artifacts

MAX_METRICS: Final = 64
# Why a trial is over when only the sweep is.
CUT: Final = "SweepEnded"
# Lost pods are not the trial's fault, but one that loses each of its pods would never end.
MAX_LOSSES: Final = 3


@dataclass(frozen=True)
class Outcome:
    """How a trial's code ended, or why it was stopped."""

    state: TrialState
    """Succeeded: it ended well, and is judged by what it reported."""
    reason: str | None = None
    """Why it did not, PascalCase."""
    message: str | None = None
    """The same for people."""
    artifacts: Artifacts | None = None
    """The model that it left."""
    model: ModelReport | None = None
    """More about it."""


class Study:
    """The trials of a sweep."""

    def __init__(
        self, name: str, spec: HyperparameterSweepSpec, records: Iterable[TrialRecord] = ()
    ) -> None:
        self._name, self._spec = name, spec
        # The sweep goes on after all, since a limit was raised.
        self.records = {one.number: _reopened(one) for one in records}
        self._clock = max((max(r.asked, r.told or 0) for r in self.records.values()), default=0)
        # What a lost driver has left unfinished is begun again, first.
        self._again = [one.number for one in self.records.values() if not one.ended]
        self._losses: dict[int, int] = {}
        self._exhausted = False
        self.stop_reason = self._why_to_stop()

    def next_number(self) -> int | None:
        """The trial to begin next; None when there is none for now."""
        if self.stop_reason is not None:
            return None
        if self._again:
            return self._again[0]
        number = len(self.records) + 1
        return number if number <= self._spec.max_trials and not self._exhausted else None

    def exhausted(self) -> None:
        """There is nothing left to propose."""
        self._exhausted = True
        self.stop_reason = self._why_to_stop()

    def begin(self, number: int, parameters: Mapping[str, str], now: datetime) -> TrialRecord:
        """Takes note of a trial before it is started, or started again."""
        old = self.records.get(number)
        if number in self._again:
            self._again.remove(number)
        if old is None:
            directions = {one.metric: one.direction for one in self._spec.objectives}
            old = TrialRecord(
                sweep=self._name, name=f"t{number}", number=number, parameters=dict(parameters),
                directions=directions, asked=self._tick(), start_time=now,
            )  # fmt: skip
        return self._put(old, state=TrialState.PENDING, tries=old.tries + 1)

    def running(self, number: int, parameters: Mapping[str, str] | None = None) -> TrialRecord:
        """A trial is at work, perhaps with parameters that it has taken over from another."""
        record = self.records[number]
        return self._put(
            record, state=TrialState.RUNNING, parameters=dict(parameters or record.parameters)
        )

    def report(self, number: int, step: int | None, metrics: Mapping[str, float]) -> TrialRecord:
        """A trial has reported. Steps that it had come to before it was lost count anew."""
        record = self.records[number]
        step = step if step is not None else (record.step or 0) + 1
        objectives = dict(record.objectives)
        for one in self._spec.objectives:
            if one.metric in metrics:
                _reach(objectives, one, metrics[one.metric])
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        latest = {k: v for k, v in record.metrics.items() if k not in metrics} | finite
        values = {name: value for name, value in finite.items() if name in record.directions}
        curve = [point for point in record.curve if point.step < step]
        curve.append(Point(step=step, values=values))
        if len(curve) > MAX_POINTS:
            curve = [*curve[:-1:2], curve[-1]]
        return self._put(
            record, step=step, objectives=objectives, curve=curve,
            metrics=dict(list(latest.items())[:MAX_METRICS]),
        )  # fmt: skip

    def end(self, number: int, outcome: Outcome, now: datetime, seconds: float) -> TrialRecord:
        """A trial has ended, once and for all unless it is the first without a result and may be
        tried again."""
        record, state = self.records[number], outcome.state
        changed: dict[str, Any] = {
            "reason": outcome.reason, "message": outcome.message and outcome.message[-1024:],
            "artifacts": outcome.artifacts, "model": outcome.model, "seconds": seconds,
        }  # fmt: skip
        if state is TrialState.SUCCEEDED and record.objectives.keys() < record.directions.keys():
            missing = sorted(record.directions.keys() - record.objectives.keys())
            state = TrialState.METRICS_UNAVAILABLE
            text = f"it ended without a number for {', '.join(missing)}"
            changed |= {"reason": "MetricMissing", "message": text}
        if state is TrialState.METRICS_UNAVAILABLE and self._may_retry(record):
            return self._put(self._renewed(record), seconds=seconds, reason=changed["reason"])
        ended = self._put(record, state=state, told=self._tick(), end_time=now, **changed)
        self.stop_reason = self._why_to_stop()
        return ended

    def lost(self, number: int, message: str, now: datetime, seconds: float) -> TrialRecord:
        """A trial's pod is gone: it is started again, a few times, and goes on if it can."""
        record = self.records[number]
        self._losses[number] = self._losses.get(number, 0) + 1
        if self._losses[number] > MAX_LOSSES:
            outcome = Outcome(TrialState.FAILED, "WorkerLost", message)
            return self.end(number, outcome, now, seconds)
        self._again.append(number)
        return self._put(record, state=TrialState.PENDING, seconds=seconds)

    def forget_model(self, number: int) -> TrialRecord:
        """The model of a trial was removed."""
        return self._put(self.records[number], artifacts=None, model=None)

    def end_all(self, reason: StopReason | None, now: datetime) -> list[TrialRecord]:
        """The sweep is over: trials at work are cut short, unless it goes on after all."""
        self.stop_reason = self.stop_reason or reason
        outcome = Outcome(TrialState.EARLY_STOPPED, CUT, "the sweep ended before it did")
        return [
            self._put(
                record, state=outcome.state, told=self._tick(), end_time=now,
                reason=outcome.reason, message=outcome.message,
            )
            for record in list(self.records.values())
            if not record.ended
        ]  # fmt: skip

    @property
    def counts(self) -> TrialCounts:
        """Trials by state."""
        by = {state: 0 for state in TrialState}
        for record in self.records.values():
            by[record.state] += 1
        ended = sum(record.ended for record in self.records.values())
        return TrialCounts(
            total=len(self.records), pending=by[TrialState.PENDING],
            running=by[TrialState.RUNNING], succeeded=by[TrialState.SUCCEEDED],
            early_stopped=by[TrialState.EARLY_STOPPED], failed=by[TrialState.FAILED],
            metrics_unavailable=by[TrialState.METRICS_UNAVAILABLE],
            finished=f"{ended}/{self._spec.max_trials}",
        )  # fmt: skip

    @property
    def best(self) -> TrialRecord | None:
        """The best of those that ran to their end."""
        top = self.top(1)
        return top[0] if top and top[0].state is TrialState.SUCCEEDED else None

    def top(self, count: int = MAX_TRIALS_SHOWN) -> list[TrialRecord]:
        """The best trials, best first."""
        return ranked(self.records.values())[:count]

    def pareto(self) -> list[TrialRecord]:
        """With several objectives: trials that none is better than in all of them."""
        several = len(self._spec.objectives) > 1
        return pareto(self.records.values())[:MAX_TRIALS_SHOWN] if several else []

    def superfluous(self) -> list[TrialRecord]:
        """Trials whose models nobody will ask for: they are not among the best."""
        kept = {one.number for one in (*self.top(), *self.pareto())}
        return [one for one in self.records.values() if one.artifacts and one.number not in kept]

    def failures(self) -> list[TrialRecord]:
        """Those that count towards maxFailedTrials."""
        bad = {TrialState.FAILED}
        if self._spec.metrics.missing != "Ignore":
            bad.add(TrialState.METRICS_UNAVAILABLE)
        return [record for record in self._in_order() if record.state in bad]

    def _in_order(self) -> list[TrialRecord]:
        """Trials that ended, in the order in which they did."""
        ended = [record for record in self.records.values() if record.ended]
        return sorted(ended, key=lambda record: record.told or 0)

    def _may_retry(self, record: TrialRecord) -> bool:
        return self._spec.metrics.missing == "RetryOnce" and not record.retried

    def _renewed(self, record: TrialRecord) -> TrialRecord:
        self._again.append(record.number)
        update: dict[str, Any] = {"objectives": {}, "metrics": {}, "curve": [], "step": None}
        return record.model_copy(update={"state": TrialState.PENDING, "retried": True, **update})

    def _why_to_stop(self) -> StopReason | None:
        if len(self.failures()) > self._spec.max_failed_trials:
            return StopReason.TOO_MANY_FAILURES
        ended = self._in_order()
        if self._spec.stop_when.goal_reached and any(self._reached(one) for one in ended):
            return StopReason.GOAL_REACHED
        patience = self._spec.stop_when.no_improvement
        if patience is not None and _in_vain(ended) >= patience.trials:
            return StopReason.NO_IMPROVEMENT
        if len(ended) < len(self.records) or self._again:
            return None
        if len(ended) >= self._spec.max_trials:
            return StopReason.MAX_TRIALS
        return StopReason.SPACE_EXHAUSTED if self._exhausted else None

    def _reached(self, record: TrialRecord) -> bool:
        """Whether it has come to the goal of each objective that has one."""
        goals = [one for one in self._spec.objectives if one.goal is not None]
        if not goals or not record.measured or record.state is not TrialState.SUCCEEDED:
            return False
        return all(
            value <= float(one.goal or 0)
            if one.direction is Direction.MINIMIZE
            else value >= float(one.goal or 0)
            for one in goals
            for value in [record.objectives[one.metric]]
        )

    def _put(self, record: TrialRecord, **update: Any) -> TrialRecord:
        changed = record.model_copy(update=update)
        self.records[record.number] = changed
        return changed

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _reopened(record: TrialRecord) -> TrialRecord:
    if record.reason != CUT:
        return record
    update = {"told": None, "end_time": None, "reason": None, "message": None}
    return record.model_copy(update={"state": TrialState.PENDING, **update})


def _reach(objectives: dict[str, float], one: SweepObjective, value: float) -> None:
    """Takes a value in, as the objective's strategy says; one that is no number is no result."""
    old = objectives.get(one.metric)
    if one.strategy == "Last":
        objectives.pop(one.metric, None)
        old = None
    if math.isfinite(value):
        pick = min if one.strategy == "Min" else max
        objectives[one.metric] = value if old is None else pick(old, value)


def _in_vain(ended: list[TrialRecord]) -> int:
    """How many of the last trials with a result were no better than those before them."""
    best: list[TrialRecord] = []
    count = 0
    for one in (record for record in ended if record.measured):
        if one.state is TrialState.SUCCEEDED and not any(
            dominates(other, one) or other.losses == one.losses for other in best
        ):
            best = [other for other in best if not dominates(one, other)] + [one]
            count = 0
        else:
            count += 1
    return count


def shown(record: TrialRecord) -> Trial:
    """A trial as the status shows it."""
    metrics = dict(list((record.objectives | record.metrics).items())[:MAX_METRICS])
    # The strategy's value is what was compared, the latest one may be another.
    metrics |= record.objectives
    texts = {name: format(value, ".6g") for name, value in metrics.items()}
    first = next(iter(record.directions), None)
    return Trial(
        name=record.name, state=record.state, parameters=record.parameters, metrics=texts,
        value=texts.get(first) if first in record.objectives else None, step=record.step,
        seconds=round(record.seconds),
        model_uri=record.artifacts.model_uri if record.artifacts else None,
    )  # fmt: skip
