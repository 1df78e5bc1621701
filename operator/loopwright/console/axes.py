"""Axes of pictures: where on one a value lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A range over more than this many times its least value is shown by its logarithm.
WIDE: Final = 100.0
# Words that an axis can hold; more of them share its end.
MOST_WORDS: Final = 8


def figure(value: float) -> str:
    """A number, short enough for an axis."""
    return f"{value:.3g}"


@dataclass(frozen=True)
class Axis:
    """From a least value to a greatest, or words in their order."""

    low: float
    high: float
    log: bool = False
    words: tuple[str, ...] = ()

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1; in the middle where all are the same."""
        if not self.high > self.low:
            return 0.5
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        # Divided first: the difference of two great numbers may be infinite.
        place = (at / 2 - low / 2) / (high / 2 - low / 2)
        return place if math.isfinite(place) else 0.5

    def place_of(self, text: str) -> float:
        """The same of a value as text."""
        if not self.words:
            return self.place(float(text))
        if len(self.words) == 1:
            return 0.5
        found = self.words.index(text) if text in self.words else len(self.words) - 1
        return found / (len(self.words) - 1)

    def ticks(self) -> list[float]:
        """Values to be named: both ends and the middle."""
        if not self.high > self.low:
            return [self.low]
        return [self.low, self.low / 2 + self.high / 2, self.high]


def axis_of(texts: Sequence[str]) -> Axis:
    """The axis of values as text: numbers where all are, else words."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = []
    if not values or not all(map(math.isfinite, values)):
        return Axis(0, 1, words=tuple(sorted(set(texts)))[:MOST_WORDS])
    low, high = min(values), max(values)
    return Axis(low, high, log=low > 0 and high / low > WIDE)
