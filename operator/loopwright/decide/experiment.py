"""What becomes of an endpoint's experiment: when it begins, begins anew, ends, and who wins. Pure.

The monitor counts and judges; what it says is about one attempt, which is on record here before the
monitor hears of it. A promotion is on record before traffic moves, and lasts as long as the spec
asks for the same experiment with the same weights and models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from loopwright.api.experiment_report import LONGEST_SILENCE, ExperimentReport
from loopwright.api.experiment_status import (
    Arm,
    ExperimentFinding,
    ExperimentState,
    ExperimentStatus,
)
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus, VariantStatus
from loopwright.decide import routing
from loopwright.decide.conditions import Claim
from loopwright.decide.endpoint_types import Seen, until
from loopwright.decide.types import Happening

CONDITION: Final = "ExperimentConcluded"
SILENT: Final = "Silent"
# A monitor whose report is older is silent; pods may take a while to come back.
PATIENCE: Final = timedelta(seconds=3 * LONGEST_SILENCE + 120)
# Ends that have a winner.
DECIDED: Final = ("Won", "GuardrailFailed")
CHANGED: Final = "spec.experiment, a weight or a model in the spec changed"


class Wait(NamedTuple):
    """Why nothing can be counted now."""

    reason: str
    message: str


@dataclass(frozen=True)
class Course:
    """What an experiment comes to."""

    status: ExperimentStatus | None
    happenings: tuple[Happening, ...] = ()
    requeue: float | None = None


def asked(spec: ModelEndpointSpec) -> str:
    """Names what the spec asks for: settings, weights and models. What follows from a win does not
    count, so that one can still say so when it is known."""
    assert spec.experiment is not None
    wanted = spec.experiment.wire()
    wanted.pop("onWin")
    arms = [[one.name, one.share, one.model.wire()] for one in spec.variants if one.share]
    return _digest([wanted, arms])


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:10]


def advance(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> Course:
    """The experiment, with what its monitor says of it.

    Args:
        status: With the revisions and cut weights that are now.
    """
    if spec.experiment is None:
        return Course(None, tuple(_let_go(status.experiment)))
    known, wanted = status.experiment, asked(spec)
    told: list[Happening] = []
    if known is None:
        known = ExperimentStatus(asked=wanted, reason="Pending")
    elif known.asked != wanted:
        told += _changed(known)
        known = _again(known, wanted, CHANGED)
    if known.state is not ExperimentState.CONCLUDED:
        known, more = _tried(spec, status, known, seen, now)
        told += more
    known, more = _promoted(spec, known)
    return Course(known, (*told, *more), _silence(known, now))


def _changed(known: ExperimentStatus) -> Iterable[Happening]:
    """Says that the spec asks for something else."""
    yield from _let_go(known)
    if known.run and known.state is not ExperimentState.CONCLUDED:
        yield _restarted(CHANGED)


def _let_go(known: ExperimentStatus | None) -> Iterable[Happening]:
    """Says that a promotion ends, if there is one."""
    if known is not None and known.promoted:
        text = f"variant {known.promoted} gets its own weight again, as the spec has changed"
        yield Happening("Normal", "PromotionEnded", text)


def _restarted(why: str) -> Happening:
    return Happening("Normal", "ExperimentRestarted", f"the experiment begins anew: {why}")


def _again(known: ExperimentStatus, wanted: str, why: str) -> ExperimentStatus:
    """Nothing is left of an attempt, but that there was one."""
    begun = bool(known.run) and known.state is not ExperimentState.CONCLUDED
    if not begun:
        return ExperimentStatus(asked=wanted, reason="Pending")
    more = known.restarts + 1
    return ExperimentStatus(asked=wanted, reason="Pending", restarts=more, restarted=why)


def _tried(
    spec: ModelEndpointSpec,
    status: ModelEndpointStatus,
    known: ExperimentStatus,
    seen: Seen,
    now: datetime,
) -> tuple[ExperimentStatus, list[Happening]]:
    """One that has not ended: it waits, begins, or goes on."""
    arms = _arms(spec, status)
    waits = _waits(spec, status, arms, seen)
    if waits is not None:
        text = waits.message[:512]
        update = {"state": ExperimentState.WAITING, "reason": waits.reason, "message": text}
        return known.model_copy(update=update), []
    told = []
    if arms != known.arms:
        why = _difference(known.arms, arms)
        if known.run:
            told.append(_restarted(why))
            known = _again(known, known.asked, why)
        run = _digest([known.asked, [one.wire() for one in arms], now.isoformat()])
        known = known.model_copy(update={"arms": arms, "run": run, "started_at": now})
    known = _heard(known, seen.experiment, now)
    if known.state is ExperimentState.CONCLUDED:
        told.append(_concluded(known))
    return known, told


def _arms(spec: ModelEndpointSpec, status: ModelEndpointStatus) -> list[Arm]:
    """Who takes part, with the weights that monitors leave them; the control first."""
    assert spec.experiment is not None
    by_name = {one.name: one for one in status.variants}
    found = []
    for one in spec.variants:
        variant = by_name.get(one.name)
        if variant is None or variant.serving is None:
            continue
        held = one.share if variant.held is None else variant.held.weight
        weight = min(one.share, held)
        if weight > 0:
            revision = variant.serving.revision
            found.append(Arm(variant=one.name, revision=revision, weight=weight))
    control = spec.experiment.control
    return sorted(found, key=lambda one: one.variant != control)


def _waits(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, arms: list[Arm], seen: Seen
) -> Wait | None:
    """Why nothing can be counted now."""
    if spec.suspend:
        return Wait("Suspended", "spec.suspend is set")
    problem = routing.plan(spec, seen).problem
    if problem is not None:
        return Wait(problem.reason, f"only a Gateway divides traffic: {problem.message}")
    by_name = {one.name: one for one in status.variants}
    for one in spec.variants:
        why = _unsettled(by_name.get(one.name)) if one.share else None
        if why is not None:
            return Wait(why, f"variant {one.name} has no revision yet that gets all its traffic")
    assert spec.experiment is not None
    names = [one.variant for one in arms]
    if len(arms) < 2 or names[0] != spec.experiment.control:
        text = f"monitors have cut weights, and left {', '.join(names) or 'nobody'} to compare"
        return Wait("WeightHeld", text)
    return None


def _unsettled(variant: VariantStatus | None) -> str | None:
    if variant is None or variant.serving is None:
        return "Creating"
    return "RollingOut" if variant.next is not None or variant.rollout is not None else None


def _difference(before: list[Arm], after: list[Arm]) -> str:
    """What is new about the arms."""
    old = {one.variant: one for one in before}
    changes = []
    for one in after:
        known = old.get(one.variant)
        if known is None:
            changes.append(f"variant {one.variant} takes part")
        elif known.revision != one.revision:
            changes.append(f"variant {one.variant} has revision {one.revision}")
        elif known.weight != one.weight:
            changes.append(f"variant {one.variant} has weight {one.weight}")
    left = sorted(old.keys() - {one.variant for one in after})
    changes += [f"variant {name} has left" for name in left]
    return ", ".join(changes)[:512]


def _heard(
    known: ExperimentStatus, report: ExperimentReport | None, now: datetime
) -> ExperimentStatus:
    """The experiment with what its monitor says."""
    known = known.model_copy(update={"state": ExperimentState.RUNNING})
    if report is not None and report.run == known.run and _sound(known, report.finding):
        fields = ExperimentFinding.model_fields
        update = {name: getattr(report.finding, name) for name in fields}
        update["reported_at"] = report.time
        if report.finding.decided_at is not None:
            update["state"] = ExperimentState.CONCLUDED
        known = known.model_copy(update=update)
    elif known.reported_at is None:
        text = "the monitor has not said anything yet"
        known = known.model_copy(update={"reason": "Begun", "message": text})
    last = known.reported_at or known.started_at
    if known.state is ExperimentState.RUNNING and last is not None and now >= last + PATIENCE:
        text = (
            f"the monitor has said nothing since {last:%Y-%m-%d %H:%M} UTC; see its pod, and"
            " whether the API server lets it write its report"
        )
        known = known.model_copy(update={"reason": SILENT, "message": text})
    return known


def _sound(known: ExperimentStatus, found: ExperimentFinding) -> bool:
    """Whether a finding is about who takes part; whoever is in the monitor's pod may write any."""
    names = {one.variant for one in known.arms}
    if found.decided_at is not None and found.reason in DECIDED and not found.winner:
        return False
    return {one.name for one in found.variants} <= names and found.winner in names | {""}


def _concluded(known: ExperimentStatus) -> Happening:
    good = known.reason in ("Won", "NoDifference")
    text = f"{known.reason}: {known.message}"
    return Happening("Normal" if good else "Warning", CONDITION, text)


def _promoted(
    spec: ModelEndpointSpec, known: ExperimentStatus
) -> tuple[ExperimentStatus, list[Happening]]:
    """Whether the winner gets all traffic, which a person may still want when it is known."""
    assert spec.experiment is not None
    over = known.state is ExperimentState.CONCLUDED and known.reason in DECIDED
    wanted = known.winner if over and spec.experiment.on_win == "Promote" else ""
    if wanted == known.promoted:
        return known, []
    if wanted:
        told = Happening("Normal", "ExperimentPromoted", f"variant {wanted} gets all traffic")
    else:
        text = f"variant {known.promoted} gets its own weight again, as onWin says"
        told = Happening("Normal", "PromotionEnded", text)
    return known.model_copy(update={"promoted": wanted}), [told]


def _silence(known: ExperimentStatus, now: datetime) -> float | None:
    """Seconds until a monitor that goes on saying nothing is silent."""
    last = known.reported_at or known.started_at
    if known.state is not ExperimentState.RUNNING or known.reason == SILENT or last is None:
        return None
    return until(last + PATIENCE, now)


def claims(known: ExperimentStatus | None) -> dict[str, Claim]:
    """The condition ExperimentConcluded, if there is an experiment."""
    if known is None:
        return {}
    over = known.state is ExperimentState.CONCLUDED
    holds = None if known.reason == SILENT and not over else over
    return {CONDITION: Claim(holds, known.reason or known.state, known.message)}
