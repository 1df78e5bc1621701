"""Metrics from answers and labels, with what chance makes of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from loopwright.api.quality import ERRORS
from loopwright.drift import chances

# Instead of dividing by nothing.
MOST: Final = 99.0


@dataclass(slots=True)
class Tally:
    """What was counted of some rows: of classes the first, of numbers the others."""

    rows: int = 0
    right: int = 0
    """Answers that were the label."""
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    absolute: float = 0.0
    """Sum of absolute errors."""
    squares: float = 0.0
    """Of squared errors."""
    fourths: float = 0.0
    """Of their squares."""

    def label(self, said: str, right: str, positive: str | None) -> None:
        """Counts an answer that is a class."""
        self.rows += 1
        self.right += said == right
        if positive is not None:
            self.true_positives += said == right == positive
            self.false_positives += said == positive != right
            self.false_negatives += right == positive != said

    def number(self, said: float, right: float) -> None:
        """Counts an answer that is a number."""
        error = abs(said - right)
        self.rows += 1
        self.absolute += error
        self.squares += error * error
        self.fourths += error**4

    @property
    def selected(self) -> tuple[int, int]:
        """Rows with the positive answer, of all."""
        return self.true_positives + self.false_positives, self.rows

    @property
    def found(self) -> tuple[int, int]:
        """Rows with the positive answer, of those that should have it."""
        return self.true_positives, self.true_positives + self.false_negatives


class Estimate(NamedTuple):
    """A metric."""

    value: float
    low: float
    high: float
    """From `low` to here it may be: each end is wrong with probability alpha."""
    pvalue: float
    """The probability of so bad a value by chance, if the metric were just at the bound."""
    severity: float
    """The value and the bound as a ratio: above 1 beyond the bound."""


def estimate(tally: Tally, metric: str, bound: float, alpha: float) -> Estimate | None:
    """A metric of some rows; None if they cannot tell, as no rows or no positive ones cannot.

    Rows are taken for independent. Accuracy, precision and recall are shares, and F1 rises with one
    (of rows that are positive by answer or by label, those that are by both), so a binomial test
    is exact given how many such rows there are. Errors are means, by Student's test: large errors
    are rarer than small ones, and so it alarms less than it may.

    Args:
        bound: The least that is allowed, or the greatest error.
    """
    if metric in ERRORS:
        return _error(tally, metric, bound, alpha) if tally.rows > 1 else None
    k, n = _share(tally, metric)
    if n == 0:
        return None
    value, low, high = (_curved(p, metric) for p in (k / n, *chances.proportion(k, n, alpha)))
    limit = bound / (2 - bound) if metric == "F1" else bound
    severity = min(MOST, bound / value) if value else MOST if bound else 0.0
    return Estimate(value, low, high, chances.binomial_cdf(k, n, limit), severity)


def _share(tally: Tally, metric: str) -> tuple[int, int]:
    hits = tally.true_positives
    return {
        "Accuracy": (tally.right, tally.rows),
        "Precision": (hits, hits + tally.false_positives),
        "Recall": tally.found,
        "F1": (hits, hits + tally.false_positives + tally.false_negatives),
    }[metric]


def _curved(share: float, metric: str) -> float:
    return 2 * share / (1 + share) if metric == "F1" else share


def _error(tally: Tally, metric: str, bound: float, alpha: float) -> Estimate:
    root = metric == "RMSE"
    total, squares = (tally.squares, tally.fourths) if root else (tally.absolute, tally.squares)
    limit, n = (bound * bound if root else bound), tally.rows
    mean = total / n
    deviation = math.sqrt(max(0.0, squares / n - mean * mean) / (n - 1))
    reach = chances.student_quantile(alpha, n - 1) * deviation
    if deviation > 0:
        pvalue = chances.student_sf((mean - limit) / deviation, n - 1)
    else:
        pvalue = float(mean <= limit)
    low, value, high = max(0.0, mean - reach), mean, mean + reach
    if root:
        low, value, high = math.sqrt(low), math.sqrt(value), math.sqrt(high)
    severity = min(MOST, value / bound) if bound else MOST if value else 0.0
    return Estimate(value, low, high, pvalue, severity)
