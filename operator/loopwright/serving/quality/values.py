"""Answers and labels as they can be compared. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson

from loopwright.api.quality import Answer

MAX_TEXT: Final = 128


class Unreadable(Exception):
    """There is no prediction in a response."""


def text(value: Any) -> str | None:
    """A class or group as text, the same whatever it was stored as: true is 1, and 1.0 is 1; None
    if there is none."""
    if value is None:
        return None
    number = _number(value)
    if number is not None and number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return (repr(number) if number is not None else str(value).strip())[:MAX_TEXT] or None


def number(value: Any) -> float | None:
    """A finite number; None if it is none."""
    return _number(value)


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def answers(body: str, answer: Answer, *, numbers: bool) -> list[float | str | None]:
    """The predictions of a response of v1 or v2: one for each row, None where it is none.

    Args:
        numbers: Whether they are to be numbers, not classes.

    Raises:
        Unreadable: it holds none.
    """
    try:
        found = orjson.loads(body)
        rows = _rows(found, answer.output)
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise Unreadable from error
    cutoff = float(answer.cutoff) if answer.cutoff is not None else None
    return [_value(row, cutoff, numbers=numbers) for row in rows]


def _rows(found: dict[str, Any], output: str | None) -> Sequence[Any]:
    if "predictions" in found:
        if not isinstance(found["predictions"], list):
            raise ValueError("the predictions are no list")
        return found["predictions"]
    outputs = found["outputs"]
    one = outputs[0] if output is None else next(o for o in outputs if o["name"] == output)
    data, rows = one["data"], int(one["shape"][0])
    if not isinstance(data, list) or rows < 1 or len(data) % rows:
        raise ValueError("the data do not fit the shape")
    width = len(data) // rows
    return [data[at : at + width] for at in range(0, len(data), width)] if width else []


def _value(row: Any, cutoff: float | None, *, numbers: bool) -> float | str | None:
    values = row if isinstance(row, list) else [row]
    if len(values) != 1:
        return None if numbers else _greatest(values)
    if numbers:
        return _number(values[0])
    if cutoff is None:
        return text(values[0]) if not isinstance(values[0], list | dict) else None
    score = _number(values[0])
    return None if score is None else str(int(score >= cutoff))


def _greatest(values: Sequence[Any]) -> str | None:
    scores = [_number(one) for one in values]
    known = [one for one in scores if one is not None]
    return str(scores.index(max(known))) if known and len(known) == len(scores) else None
