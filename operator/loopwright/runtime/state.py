"""What the driver knows about the run, kept as the report that it will write."""

from __future__ import annotations

import math
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from loopwright.api.base import MetricName
from loopwright.api.report import MAX_CURVES, MAX_POINTS, Curve, ModelReport, Report, RunState
from loopwright.api.trainingjob_status import (
    Artifacts,
    CheckpointStatus,
    DataLineage,
    MetricValue,
    Progress,
)
from loopwright.api.validation import MAX_RESULTS, ValidationResult
from loopwright.runtime.console import say

MAX_METRICS = 64
MAX_INPUTS = 20
MAX_SECONDS = 10**9


# The API server stores integers of 64 bits.
Count = Annotated[int, Field(ge=-(2**62), le=2**62)]


class _Measured(BaseModel):
    """A message of train.report, or of a pattern in the output."""

    metrics: dict[MetricName, float] = {}
    step: Count | None = None
    total_steps: Count | None = None
    epoch: Count | None = None


class _Stored(BaseModel):
    """A message of train.checkpoint."""

    uri: Annotated[str, Field(max_length=2048)]
    step: Count


class _Trace:
    """A metric over steps, in few enough points: beyond that every other one is left out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._points: list[tuple[int, float]] = []
        self._newest: tuple[int, float] | None = None
        self._every, self._seen = 1, 0

    def add(self, step: int | None, value: float) -> None:
        """A measurement; without a step it counts as one."""
        if not math.isfinite(value):
            return
        self._newest = (self._seen if step is None else step, value)
        if self._seen % self._every == 0:
            self._points.append(self._newest)
            # One place is for the newest.
            if len(self._points) >= MAX_POINTS:
                self._points, self._every = self._points[::2], self._every * 2
        self._seen += 1

    def curve(self) -> Curve:
        """What there is, up to the newest."""
        last = [self._newest] if self._newest and self._newest != self._points[-1] else []
        points = [*self._points, *last]
        return Curve(
            name=self.name,
            steps=[step for step, _ in points],
            values=[float(format(value, ".5g")) for _, value in points],
        )


class RunProgress:
    """Takes in messages of the training code, and gives out reports."""

    def __init__(self, attempt: int) -> None:
        self._attempt, self._run_id = attempt, uuid.uuid4().hex[:16]
        self._metrics: dict[str, MetricValue] = {}
        self._traces: dict[str, _Trace] = {}
        self._progress: Progress | None = None
        self._first: tuple[int, float] | None = None
        self._begun, self._kept_seconds = time.monotonic(), 0
        self.checkpoint: CheckpointStatus | None = None
        self.resumed_from: str | None = None
        self.inputs: list[DataLineage] = []
        self._validations: dict[str, ValidationResult] = {}
        self.artifacts: Artifacts | None = None
        self.model: ModelReport | None = None

    @property
    def metrics(self) -> list[MetricValue]:
        """Latest values."""
        return list(self._metrics.values())

    def begins(self) -> None:
        """Training begins now, as far as is known; what comes before, every attempt does."""
        self._begun = time.monotonic()

    def receive(self, message: Any) -> None:
        """One message; one that makes no sense is dropped, since code of others sent it."""
        try:
            kind = message["type"]
            if kind == "report":
                self._report(_Measured.model_validate(message))
            elif kind == "checkpoint":
                self._checkpoint(_Stored.model_validate(message))
            elif kind == "input":
                self._input(DataLineage.model_validate(message))
                self.begins()
            elif kind == "validation":
                found = ValidationResult.model_validate(message)
                self._validations[found.name] = found
                self.begins()
        except (KeyError, TypeError, ValueError) as error:
            say(f"loopwright: a message was ignored: {error}")

    def report(self, state: RunState, **more: Any) -> Report:
        """The report of now."""
        return Report(
            attempt=self._attempt, run_id=self._run_id, state=state, time=_now(),
            progress=self._progress, metrics=self.metrics,
            curves=[one.curve() for one in self._traces.values()], checkpoint=self.checkpoint,
            resumed_from=self.resumed_from, inputs=self.inputs, artifacts=self.artifacts,
            kept_seconds=self._kept_seconds,
            validations=list(self._validations.values())[:MAX_RESULTS], model=self.model, **more,
        )  # fmt: skip

    def _checkpoint(self, stored: _Stored) -> None:
        count = self.checkpoint.count + 1 if self.checkpoint else 1
        self.checkpoint = CheckpointStatus(
            uri=stored.uri, step=stored.step, time=_now(), count=count
        )
        # Not from that time: clocks of nodes differ, and are set.
        self._kept_seconds = int(time.monotonic() - self._begun)

    def _input(self, one: DataLineage) -> None:
        if len(self.inputs) < MAX_INPUTS and one.name not in {i.name for i in self.inputs}:
            self.inputs.append(one)

    def _report(self, new: _Measured) -> None:
        for name, value in new.metrics.items():
            if name in self._metrics or len(self._metrics) < MAX_METRICS:
                self._metrics[name] = _merged(self._metrics.get(name), name, value, new.step)
            if name in self._traces or len(self._traces) < MAX_CURVES:
                self._traces.setdefault(name, _Trace(name)).add(new.step, value)
        if new.step is None and self._progress is not None:
            # Metrics alone say nothing about how far training is.
            self._progress = self._progress.model_copy(update={"updated_at": _now()})
            return
        percent = eta = None
        if new.step is not None and new.total_steps:
            percent = max(0, min(100, 100 * new.step // new.total_steps))
            eta = self._eta(new.step, new.total_steps)
        self._progress = Progress(
            percent=percent, step=new.step, total_steps=new.total_steps, epoch=new.epoch,
            eta_seconds=eta, updated_at=_now(),
        )  # fmt: skip

    def _eta(self, step: int, total: int) -> int | None:
        """From the pace of this run: what an earlier attempt did took another time."""
        now = time.monotonic()
        if self._first is None or step < self._first[0]:
            self._first = (step, now)
        done = step - self._first[0]
        left = max(0, total - step)
        return min(MAX_SECONDS, math.ceil((now - self._first[1]) / done * left)) if done else None


def _merged(old: MetricValue | None, name: str, value: float, step: int | None) -> MetricValue:
    text = format(value, ".6g")
    if math.isfinite(value):
        low = value if old is None or old.min is None else min(value, float(old.min))
        high = value if old is None or old.max is None else max(value, float(old.max))
        return MetricValue(
            name=name, value=text, step=step, min=format(low, ".6g"), max=format(high, ".6g")
        )
    return MetricValue(
        name=name, value=text, step=step, min=old.min if old else None, max=old.max if old else None
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def fewer(report: Report) -> Report | None:
    """A smaller report, when the mailbox is full; None when nothing can be left out any more.

    Curves go, which are for the eye, then the signature, which model.json has too, then metrics,
    then inputs and their checks.
    """
    if report.curves:
        return report.model_copy(update={"curves": report.curves[: len(report.curves) // 2]})
    if report.model is not None:
        return report.model_copy(update={"model": None})
    if report.metrics:
        return report.model_copy(update={"metrics": report.metrics[: len(report.metrics) // 2]})
    if report.inputs:
        return report.model_copy(update={"inputs": report.inputs[: len(report.inputs) // 2]})
    if report.validations:
        # Those that failed are told by the error too.
        half = report.validations[: len(report.validations) // 2]
        return report.model_copy(update={"validations": half})
    return None
