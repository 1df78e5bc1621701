"""Where an object of ours stands, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from loopwright.view.cluster import Object
from loopwright.view.refs import Found
from loopwright.view.scene import Scene
from loopwright.view.words import clean, duration, number, time

Percent = Callable[[int], str]
"""How to say how much of something is done."""

# What a condition says when there is nothing to tell.
WANTED: Final = {
    "Ready": "True", "ModelResolved": "True", "ModelRegistered": "True", "DataValidated": "True",
    "RecordsComplete": "True", "Admitted": "True", "ReportAccepted": "True",
    "BudgetExceeded": "False", "VariantsReady": "True", "RouteReady": "True",
    "AutoscalingReady": "True", "RoutingDegraded": "False", "RolledBack": "False",
    "DriftDetected": "False", "DataQualityOK": "True", "CaptureHealthy": "True",
}  # fmt: skip
# Longer messages are for `explain`.
MAX_MESSAGE: Final = 200
# Of those the tree itself says more.
ENDED: Final = frozenset({"Succeeded", "Failed"})


def plain(percent: int) -> str:
    """As a number."""
    return f"{percent} %"


def phase_of(obj: Object) -> str:
    """One word for an object of ours; a Model has no phase."""
    status = obj.get("status") or {}
    if phase := status.get("phase"):
        return str(phase)
    ready = {one["type"]: one for one in status.get("conditions") or ()}.get("Ready")
    if ready is None:
        return "Pending"
    return "Ready" if ready["status"] == "True" else str(ready["reason"])


def ended(obj: Object) -> bool:
    """Whether a job is over, so that nothing more is to be watched."""
    return phase_of(obj) in ENDED


def parts(found: Found, percent: Percent = plain) -> list[str]:
    """Where an object stands, in a few words: progress, weights, versions. Some may be empty."""
    status = found.obj.get("status") or {}
    match found.kind.name:
        case "ModelEndpoint":
            rollout = status.get("rollout")
            return [str(status.get("weights") or ""), f"rollout {rollout}" if rollout else ""]
        case "Model":
            return [f"{status.get('versions', 0)} versions"]
        case "ModelVersion":
            return [str(status.get("metric") or ""), ", ".join(status.get("aliases") or ())]
        case _:
            return [] if ended(found.obj) else progress(status, percent)


def progress(status: dict[str, Any], percent: Percent = plain) -> list[str]:
    """How far a job is: in percent, by what the kind counts, and the time left."""
    found = status.get("progress") or {}
    if found.get("percent") is None:
        return []
    told = [percent(found["percent"]), *(_of_sweep(status) or _of_batch(status) or _of_code(found))]
    if found.get("etaSeconds"):
        told.append(f"{duration(found['etaSeconds'])} left")
    return told


def _of_code(found: dict[str, Any]) -> list[str]:
    told = [f"epoch {found['epoch']}"] if "epoch" in found else []
    if "step" in found:
        total = f"/{found['totalSteps']}" if "totalSteps" in found else ""
        told.append(f"step {found['step']}{total}")
    return told


def _of_sweep(status: dict[str, Any]) -> list[str]:
    finished = (status.get("trials") or {}).get("finished")
    return [f"{finished} trials"] if finished else []


def _of_batch(status: dict[str, Any]) -> list[str]:
    finished = (status.get("shards") or {}).get("finished")
    rate = (status.get("progress") or {}).get("recordsPerSecond")
    return [f"{finished} shards", *([f"{number(rate)} rows/s"] if rate else [])] if finished else []


def results(status: dict[str, Any]) -> list[str]:
    """What came of a job, in a few words, for the table."""
    if best := status.get("best"):
        return [f"best {best['name']} {number(best.get('value') or '')}"]
    if written := (status.get("records") or {}).get("written"):
        return [f"{written} records"]
    return [f"{one['name']} {number(one['value'])}" for one in (status.get("metrics") or ())[:2]]


def notable(scene: Scene) -> Iterator[tuple[bool, str]]:
    """Conditions that say something is wrong (True) or waited for, with why."""
    phase = phase_of(scene.found.obj)
    told = ((scene.found.obj.get("status") or {}).get("lastError") or {}).get("reason")
    for name, one in sorted(scene.conditions.items(), key=lambda item: item[0] != "Ready"):
        message = clean(one.get("message", ""))
        if one["status"] == WANTED.get(name, one["status"]) or not message:
            continue
        if name == "Ready" and one["reason"] in (phase, told):
            continue
        bad = one["status"] != "Unknown" and _stalled(scene)
        text = f"{name}: {one['reason']}: {message}" if one["reason"] != name else message
        yield bad, _short(text)


def _stalled(scene: Scene) -> bool:
    return bool(scene.conditions.get("Stalled", {}).get("status") == "True")


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"


def detail(found: Found) -> list[str]:
    """What the table says beside the phase: progress, weights, or what is wrong."""
    if told := [part for part in parts(found) if part]:
        return told
    for one in (found.obj.get("status") or {}).get("conditions") or ():
        if one["type"] == "Ready" and one["status"] != "True":
            return [_first_words(clean(one.get("message", "")))]
    return results(found.obj.get("status") or {})


def _first_words(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def age(obj: Object, now: datetime) -> str:
    """Since when it is there."""
    return duration((now - time(obj["metadata"]["creationTimestamp"])).total_seconds())
