"""What checks of data have found, part by part: parts add up."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

Array = NDArray[Any]
MAX_EXAMPLES: Final = 5


class Example(BaseModel):
    """A value that failed."""

    file: str
    line: int | None
    value: str


class Check(BaseModel):
    """One check so far."""

    column: str
    check: str
    """In words."""
    allowed_percent: float = 0.0
    """Share of values that may fail."""
    total: int = 0
    """Values checked."""
    failed: int = 0
    """Of them."""
    examples: list[Example] = []
    found: str = ""
    """What was measured, of a check that is not about single values."""

    @property
    def passed(self) -> bool:
        """Whether no more failed than may."""
        return self.failed * 100 <= self.allowed_percent * self.total if self.failed else True


class Column(BaseModel):
    """What is known of a column's values."""

    name: str
    count: int = 0
    """Values that are there."""
    missing: int = 0
    numbers: int = 0
    """Values that are numbers."""
    sum: float = 0.0
    squares: float = 0.0
    min: float | None = None
    max: float | None = None

    def add(self, series: pd.Series) -> None:
        """Takes in values."""
        there = series.notna()
        self.count += int(there.sum())
        self.missing += int((~there).sum())
        found = numbers(series[there])
        finite = found[np.isfinite(found)]
        if finite.size:
            self.numbers += int(finite.size)
            self.sum += float(finite.sum())
            self.squares += float(np.square(finite).sum())
            low, high = float(finite.min()), float(finite.max())
            self.min = low if self.min is None else min(self.min, low)
            self.max = high if self.max is None else max(self.max, high)

    def merge(self, other: Column) -> None:
        """Adds another part's."""
        for name in ("count", "missing", "numbers", "sum", "squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, better in (("min", min), ("max", max)):
            both = [v for v in (getattr(self, name), getattr(other, name)) if v is not None]
            setattr(self, name, better(both) if both else None)

    @property
    def mean(self) -> float | None:
        """Of the numbers."""
        return self.sum / self.numbers if self.numbers else None

    @property
    def std(self) -> float | None:
        """Of the numbers."""
        if not self.numbers:
            return None
        mean = self.sum / self.numbers
        return math.sqrt(max(0.0, self.squares / self.numbers - mean * mean))


class Findings(BaseModel):
    """What the checks have found in a part of the data; parts add up."""

    rows: int = 0
    checks: dict[str, Check] = {}
    columns: dict[str, Column] = {}

    def merge(self, other: Findings) -> None:
        """Adds another part's."""
        self.rows += other.rows
        for key, check in other.checks.items():
            mine = self.checks.setdefault(
                key, check.model_copy(update={"total": 0, "failed": 0, "examples": []})
            )
            mine.total += check.total
            mine.failed += check.failed
            mine.examples = [*mine.examples, *check.examples][:MAX_EXAMPLES]
        for name, column in other.columns.items():
            if name in self.columns:
                self.columns[name].merge(column)
            else:
                self.columns[name] = column.model_copy()


def numbers(series: pd.Series) -> Array:
    """Values as numbers, NaN for those that are none."""
    if series.dtype.kind in "iuf":
        return np.asarray(series, np.float64)
    if series.dtype.kind in "bM":
        return np.full(len(series), np.nan)
    plain = series.map(lambda value: None if isinstance(value, bool) else value)
    return np.asarray(pd.to_numeric(plain, errors="coerce"), np.float64)
