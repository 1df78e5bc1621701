"""Phases, times, numbers and texts of others, in words for people."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

GOOD: Final = frozenset(
    {"Succeeded", "Ready", "Approved", "Registered", "OK", "Complete", "True", "Won", "Completed"}
)
BAD: Final = frozenset(
    {
        "Failed",
        "Rejected",
        "Degraded",
        "Violated",
        "False",
        "Stalled",
        "GuardrailFailed",
        "Unschedulable",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "OOMKilled",
        "Error",
        "Evicted",
        "Missing",
        "Lost",
    }
)
WAITING: Final = frozenset(
    {"Pending", "Queued", "Provisioning", "Retrying", "Suspended", "Creating", "PendingApproval",
     "Unknown", "NoData", "Waiting", "RollingOut", "NotReady", "ContainerCreating", "Initializing"}
)  # fmt: skip


class Tone(StrEnum):
    """What a phase or state means to people."""

    GOOD = "good"
    BAD = "bad"
    WAITING = "waiting"
    BUSY = "busy"
    """At work, or anything else."""


def tone(word: str) -> Tone:
    """What a phase or state means."""
    if word in GOOD:
        return Tone.GOOD
    if word in BAD:
        return Tone.BAD
    return Tone.WAITING if word in WAITING else Tone.BUSY


def clean(text: object) -> str:
    """Text of others in one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def time(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text)


def duration(seconds: float) -> str:
    """A time span in one or two units: 45 s, 12 min, 3 h 5 min, 2 d 4 h."""
    seconds = max(0, int(seconds))
    if seconds < 100:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def between(start: datetime | None, end: datetime | None) -> str:
    """How long it took; nothing when it has not begun."""
    return duration((end - start).total_seconds()) if start and end else ""


def number(text: str) -> str:
    """A number as text, short enough to be read."""
    try:
        return f"{float(text):.5g}"
    except ValueError:
        return clean(text)


def size(count: int) -> str:
    """Bytes for people."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, _ = value / 1000, units.pop(0)
    return f"{value:.3g} {units[0]}"
