"""How things look on a terminal of 80 columns, and without one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from loopwright.view.words import Tone, clean, tone

BAR_WIDTH: Final = 20
COLOURS: Final[Mapping[Tone, str]] = {
    Tone.GOOD: "green", Tone.BAD: "red", Tone.WAITING: "yellow", Tone.BUSY: "cyan",
}  # fmt: skip


class Format(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


def console(*, stderr: bool = False) -> Console:
    """A new console; made late, so that it writes where output goes now."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def print_json(data: Any) -> None:
    """For programs: no colour, no width."""
    sys.stdout.write(f"{json.dumps(data, indent=2, default=str)}\n")


def state(word: object) -> Text:
    """A phase or state in its colour."""
    return Text(clean(word), COLOURS[tone(str(word))])


def dim(text: object) -> Text:
    """What is less important."""
    return Text(clean(text), "dim")


def line(*parts: str | Text | None) -> Text:
    """Parts that are not empty, two spaces apart."""
    kept = [Text(clean(one)) if isinstance(one, str) else one for one in parts if one]
    return Text("  ").join(kept)


def bar(percent: int) -> str:
    """A progress bar of fixed width, and the number."""
    percent = max(0, min(percent, 100))
    full = round(BAR_WIDTH * percent / 100)
    return "█" * full + "░" * (BAR_WIDTH - full) + f" {percent} %"
