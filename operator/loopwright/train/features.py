"""Profiles of single features: where their bins are, and how full."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loopwright.api.baseline import CATEGORICAL, CATEGORY_LENGTH, MAX_HASHES, FeatureProfile
from loopwright.sketch.binning import Array, Floats, quantile_edges
from loopwright.sketch.categories import NUMBERS, as_numbers, is_missing, ranked, text_hash

# Categories that have a bin of their own. A monitor's tests lose power with each.
TOP: Final = 64
_NAME: Final = 128
_SEED: Final = 5_489


def numeric(name: str, column: Array) -> FeatureProfile:
    """The profile of numbers.

    Args:
        name: Of the feature.
        column: Of shape (rows,).
    """
    values = column if column.dtype.kind in "fiub" else as_numbers(column.tolist())[0]
    values = values.astype(np.float64)
    ordered = np.sort(values[np.isfinite(values)])
    missing = len(values) - len(ordered)
    if not len(ordered):
        return FeatureProfile(name=name[:_NAME], edges=[], counts=[0], count=0, missing=missing)
    edges = quantile_edges(ordered)
    below = [0, *ordered.searchsorted(edges).tolist(), len(ordered)]
    mean, std = _moments(ordered)
    return FeatureProfile(
        name=name[:_NAME], edges=edges, counts=np.diff(below).tolist(), count=len(ordered),
        missing=missing, mean=mean, std=std, min=float(ordered[0]), max=float(ordered[-1]),
    )  # fmt: skip


def _moments(values: Floats) -> tuple[float | None, float | None]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(values.mean()), float(values.std())
    # JSON has no infinity.
    return (mean if math.isfinite(mean) else None), (std if math.isfinite(std) else None)


def categorical(name: str, column: Array) -> FeatureProfile:
    """The profile of categories: of texts if there are any, else of numbers.

    If there are more categories than bins, the most frequent ones of half of the rows have bins,
    and the other half is counted: those that are chosen for being frequent in a sample are less so
    in all others, and what is counted later must be compared with one of those.

    Args:
        name: Of the feature.
        column: Of shape (rows,); texts in an object array, or numbers.
    """
    values = [_category(one) for one in column.tolist()]
    if any(isinstance(one, str) for one in values):
        values = [one if one is None or isinstance(one, str) else str(one) for one in values]
    frequent = [one for one, _ in ranked(one for one in values if one is not None)]
    top, rest = frequent, []
    if len(frequent) > TOP:
        choosing = halves(len(values))
        chosen = (one for one, own in zip(values, choosing, strict=True) if own)
        top = [one for one, _ in ranked(one for one in chosen if one is not None)[:TOP]]
        rest = [one for one in frequent if one not in set(top)]
        values = [one for one, own in zip(values, choosing, strict=True) if not own]
    known = Counter(one for one in values if one is not None)
    times = Counter(known.values())
    counts = [known[one] for one in top]
    rare = [_hashed(one) for one in rest[:MAX_HASHES]]
    return FeatureProfile(
        name=name[:_NAME], kind=CATEGORICAL, edges=[],
        counts=[*counts, known.total() - sum(counts)], count=known.total(),
        missing=len(values) - known.total(), categories=top, rare=rare,
        complete=len(rare) == len(rest), singletons=times[1], doubletons=times[2],
    )  # fmt: skip


def halves(rows: int) -> NDArray[np.bool_]:
    """Which rows belong to the first of two halves; always the same ones."""
    raw = np.random.PCG64(_SEED).random_raw(rows)
    found: NDArray[np.bool_] = (raw >> np.uint64(63)) == 0
    return found


def _category(value: Any) -> str | int | float | None:
    if isinstance(value, str):
        return value[:CATEGORY_LENGTH]
    if is_missing(value) or not isinstance(value, NUMBERS):
        return None
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _hashed(value: str | int | float) -> int | float:
    return text_hash(value) if isinstance(value, str) else value
