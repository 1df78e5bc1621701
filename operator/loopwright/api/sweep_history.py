"""A sweep's history: one JSON line for each trial.

It is what a sweep is continued from after its driver was lost, what later sweeps learn from, and
what the HTML report is made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, ValidationError

from loopwright.api.base import StatusModel
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.report import Curve, ModelReport
from loopwright.api.shared import Direction
from loopwright.api.trainingjob_status import Artifacts

FILE: Final = "history.jsonl"
REPORT: Final = "report.html"
# Of a curve; beyond that every other point is left out.
MAX_POINTS: Final = 256
ENDED: Final = frozenset(set(TrialState) - {TrialState.PENDING, TrialState.RUNNING})

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Point(StatusModel):
    """What a trial reported at a step."""

    step: int
    """Step, or else how many reports there have been."""
    values: dict[str, Finite]
    """Objectives, as far as they were numbers."""


class TrialRecord(StatusModel):
    """One trial."""

    sweep: Annotated[str, Field(max_length=63)]
    """Name of the sweep."""
    name: Annotated[str, Field(max_length=63)]
    """Its id: t and its number."""
    number: Annotated[int, Field(ge=1)]
    """From 1, in the order of proposal."""
    state: TrialState = TrialState.PENDING
    """Where it is."""
    parameters: dict[str, str] = {}
    """What it was given."""
    directions: dict[str, Direction] = {}
    """The objectives, in the order of the sweep's spec."""
    objectives: dict[str, Finite] = {}
    """What it reached, as each objective's strategy says; no number, no entry."""
    metrics: dict[str, Finite] = {}
    """The latest of all that it reported."""
    curve: list[Point] = []
    """Objectives over its steps."""
    step: int | None = None
    """The last that it reported."""
    seconds: Finite = 0
    """How long it ran, over all tries."""
    tries: int = 0
    """How often it was started. More than once: its pod was lost, or metrics.missing says so."""
    retried: bool = False
    """Whether it was run once more for want of a result."""
    asked: int = 0
    """When it was proposed, in the order of proposals and ends."""
    told: int | None = None
    """When it ended, in the same order."""
    start_time: datetime | None = None
    """When it was first started."""
    end_time: datetime | None = None
    """When it ended."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    """Why it has no result, PascalCase."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """The same for people, with the tail of its log."""
    artifacts: Artifacts | None = None
    """The model that it left, unless that was removed since: only those of the best are kept."""
    model: ModelReport | None = None
    """More about it."""

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ENDED

    @property
    def measured(self) -> bool:
        """Whether it can be compared with others."""
        good = self.state in (TrialState.SUCCEEDED, TrialState.EARLY_STOPPED)
        return good and self.objectives.keys() >= self.directions.keys()

    @property
    def losses(self) -> tuple[float, ...]:
        """Objectives in their order, of which less is better."""
        return tuple(
            self.objectives[name] if direction is Direction.MINIMIZE else -self.objectives[name]
            for name, direction in self.directions.items()
        )


def parse(text: str) -> list[TrialRecord]:
    """The trials of a history, by number; a line that a full disk cut off is left out."""
    found: dict[int, TrialRecord] = {}
    for line in text.splitlines():
        try:
            record = TrialRecord.model_validate_json(line)
        except ValidationError:
            continue
        found[record.number] = record
    return [found[number] for number in sorted(found)]


def lines(records: Iterable[TrialRecord]) -> str:
    """The text of a history."""
    texts = (one.model_dump_json(by_alias=True, exclude_none=True) for one in records)
    return "".join(f"{text}\n" for text in texts)


def dominates(one: TrialRecord, other: TrialRecord) -> bool:
    """Whether a trial is no worse in any objective, and better in one."""
    pairs = list(zip(one.losses, other.losses, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials that ran to their end and that no other of them dominates, by the first objective."""
    whole = [one for one in records if one.measured and one.state is TrialState.SUCCEEDED]
    front: list[TrialRecord] = []
    # In this order none is dominated by one that comes later.
    for one in sorted(whole, key=lambda one: (one.losses, one.number)):
        if not any(dominates(other, one) for other in front):
            front.append(one)
    return front


def ranked(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials with a result, best first by the first objective.

    Those that were stopped early come last: a value half-way compares with nothing.
    """
    return sorted(
        (one for one in records if one.measured),
        key=lambda one: (one.state is not TrialState.SUCCEEDED, one.losses, one.number),
    )


def results(records: Iterable[TrialRecord]) -> Curve | None:
    """The first objective of trials that ran to their end, by number; of many, every other.

    What was better than all before it always stays.
    """
    whole = sorted(
        (one for one in records if one.measured and one.state is TrialState.SUCCEEDED),
        key=lambda one: one.number,
    )
    best: list[TrialRecord] = []
    for one in whole:
        if not best or one.losses[0] < best[-1].losses[0]:
            best.append(one)
    rest = whole
    while len({one.number for one in (*best, *rest)}) > MAX_POINTS and rest:
        rest = rest[1::2]
    kept = {one.number: one for one in (*rest, *best[-MAX_POINTS:])}
    if not kept:
        return None
    points = [kept[number] for number in sorted(kept)]
    name = next(iter(points[0].directions))
    return Curve(
        name=name,
        steps=[one.number for one in points],
        values=[float(format(one.objectives[name], ".5g")) for one in points],
    )
