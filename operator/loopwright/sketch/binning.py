"""Where a feature's bins begin and end."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS: Final = 32
# A little outside the range of the training data is no news: of the range's width, and of the
# greatest absolute value, which float32 keeps to 1.2e-7 of it. The last is for zero.
_SLACK: Final = (1e-3, 2e-6, 1e-30)
# Edges of older profiles are values, of which float32 may be just below.
_ROUNDING: Final = 1e-6


def quantile_edges(ordered: Floats, bins: int = BINS) -> list[float]:
    """Edges that make bins of about as many values each; at most `bins` of them.

    An edge lies between two neighbouring values, as far from both as a short number allows, so that
    the bin of a value does not depend on its being computed in float32 or float64. A value that is
    more frequent than a bin should be has a bin of its own.

    Args:
        ordered: Finite values, sorted; at least one.
        bins: The largest number of bins.
    """
    count = len(ordered)
    picked = ordered[np.arange(1, bins) * count // bins]
    values, times = np.unique(picked, return_counts=True)
    # Before each of the values; and after those that are several quantiles at once.
    places = np.union1d(
        ordered.searchsorted(values, "left"), ordered.searchsorted(values[times > 1], "right")
    )
    places = places[(places > 0) & (places < count)]
    pairs = zip(ordered[places - 1].tolist(), ordered[places].tolist(), strict=True)
    return [_between(low, high) for low, high in pairs]


def _between(low: float, high: float) -> float:
    """A number with few digits in the middle half of an interval."""
    middle, quarter = low / 2 + high / 2, high / 4 - low / 4
    for digits in range(2, 17):
        short = float(f"{middle:.{digits}g}")
        if low + quarter <= short <= high - quarter:
            return short
    # Neighbouring numbers: what is equal to an edge belongs above it.
    return middle if middle > low else high


def limits(low: float, high: float) -> tuple[float, float]:
    """Below and above which a value is out of the range of the training data.

    Args:
        low: The least value in the training data.
        high: The greatest.
    """
    of_range, of_size, least = _SLACK
    slack = of_range * (high - low) + of_size * max(abs(low), abs(high)) + least
    largest = np.finfo(np.float64).max
    return max(low - slack, -largest), min(high + slack, largest)


def cuts(edges: Array, low: float, high: float, *, on_values: bool) -> Floats:
    """All cuts of a numeric feature: the lower limit, its edges and the upper limit.

    Args:
        edges: Inner bin edges, increasing.
        low: The least value in the training data.
        high: The greatest.
        on_values: The edges are values themselves, as in profiles of version 1.
    """
    inner = np.asarray(edges, dtype=np.float64)
    if on_values:
        inner = inner - _ROUNDING * np.abs(inner)
    lower, upper = limits(low, high)
    return np.concatenate([[lower], np.clip(inner, lower, upper), [upper]])
