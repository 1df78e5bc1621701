"""Categories as numbers: the frequent ones by rank, then all others that were seen, then new ones.

A code is a place: of k categories, 0 to k - 1 are those, k is any other of the training data, and
k + 1 one that the training data did not have.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from loopwright.api.baseline import CATEGORY_LENGTH, FeatureProfile
from loopwright.sketch.binning import Array, Floats

# float32 keeps a number to 6e-8 of it.
_ROUNDING: Final = 1e-6
NUMBERS: Final = (int, float, np.integer, np.floating, np.bool_)


def text_hash(text: str) -> int:
    """CRC-32: the same in every process, and computed in C."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def is_missing(value: object) -> bool:
    """Whether a value of an object array stands for none."""
    return value is None or value != value


class Encoder:
    """From a categorical feature's values to codes."""

    def __init__(self, profile: FeatureProfile) -> None:
        """
        Raises:
            ValueError: categories are of two types, or are there twice.
        """
        known = profile.categories
        self._other = len(known)
        # As far as is known, what is in no list is rare.
        self._unseen = len(known) + bool(profile.complete)
        self.text = any(isinstance(one, str) for one in known)
        if any(isinstance(one, str) != self.text for one in known):
            raise ValueError(f"categories of {profile.name} are texts and numbers")
        if len(set(known)) < len(known):
            raise ValueError(f"categories of {profile.name} are there twice")
        self._codes = {str(one): code for code, one in enumerate(known)} if self.text else {}
        self._rare = frozenset(profile.rare)
        self._prepare_numbers(profile)

    def _prepare_numbers(self, profile: FeatureProfile) -> None:
        numbers = [] if self.text else [float(one) for one in (*profile.categories, *profile.rare)]
        codes = np.minimum(np.arange(len(numbers)), self._other)
        order = np.argsort(numbers, kind="stable")
        self._numbers = np.asarray(numbers, dtype=np.float64)[order]
        self._number_codes = codes[order]
        self._middles = self._numbers[1:] / 2 + self._numbers[:-1] / 2

    def numbers(self, column: Array) -> tuple[Floats, int]:
        """Codes of an array of numbers, NaN for what is missing, and how many are of a wrong type.

        A number is a category if it is as close to it as float32 keeps it.
        """
        values = column.astype(np.float64)
        missing = ~np.isfinite(values)
        if self.text:
            wrong = len(values) - int(missing.sum())
            return np.full(len(values), np.nan), wrong
        codes = np.full(len(values), float(self._unseen))
        if len(self._numbers):
            nearest = self._middles.searchsorted(values, "right")
            found = self._numbers[nearest]
            with np.errstate(invalid="ignore"):
                same = np.abs(values - found) <= _ROUNDING * np.abs(found)
            codes[same] = self._number_codes[nearest[same]]
        codes[missing] = np.nan
        return codes, 0

    def objects(self, column: Iterable[Any]) -> tuple[Floats, int]:
        """The same of any Python values."""
        values = list(column)
        if not self.text:
            numbers, wrong = as_numbers(values)
            return self.numbers(numbers)[0], wrong
        codes, wrong = [], 0
        for value in values:
            if isinstance(value, str):
                codes.append(self._text_code(value))
            else:
                codes.append(np.nan)
                wrong += not is_missing(value)
        return np.asarray(codes, dtype=np.float64), wrong

    def _text_code(self, value: str) -> float:
        value = value[:CATEGORY_LENGTH]
        code = self._codes.get(value)
        if code is not None:
            return code
        return self._other if text_hash(value) in self._rare else self._unseen


def as_numbers(values: Iterable[Any]) -> tuple[Floats, int]:
    """Python values as numbers, NaN for others; and how many others are not just missing."""
    numbers, wrong = [], 0
    for value in values:
        if isinstance(value, NUMBERS):
            numbers.append(_float(value))
        else:
            numbers.append(np.nan)
            wrong += not is_missing(value)
    return np.asarray(numbers, dtype=np.float64), wrong


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def ranked(values: Iterable[Any]) -> list[tuple[Any, int]]:
    """Each value and how often it is there, most frequent first; equals in their own order."""
    found = Counter(values)
    return sorted(found.items(), key=lambda one: (-one[1], one[0]))
