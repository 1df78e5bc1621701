"""Tables of measured quantities: one column a contender, medians and spreads of repeated runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quantity:
    """What is measured, and how to print it."""

    what: str
    unit: str = ""
    digits: int = 1

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


Values = dict[Quantity, float]
"""What one run measured."""


@dataclass
class Figures:
    """What was measured of each contender, run by run."""

    title: str
    values: dict[str, dict[Quantity, list[float]]] = field(default_factory=dict)
    comparisons: list[str] = field(default_factory=list)
    """Sentences that compare, with the bar to reach."""

    def add(self, who: str, values: Mapping[Quantity, float]) -> None:
        """Takes in a run."""
        for quantity, value in values.items():
            self.values.setdefault(who, {}).setdefault(quantity, []).append(value)

    def median(self, who: str, quantity: Quantity) -> float:
        """The median of all runs."""
        return statistics.median(self.values[who][quantity])

    def total(self, who: str, quantity: Quantity) -> float:
        """The sum over all runs."""
        return sum(self.values[who][quantity])

    def measured(self, *who: str) -> bool:
        """Whether all of these have run."""
        return all(one in self.values for one in who)

    def lines(self) -> list[str]:
        """For people at a terminal."""
        lines = [self.title]
        for who in self.values:
            lines += [f"  {who}"]
            lines += [f"    {q.what:<42}{self._cell(who, q)}" for q in self.values[who]]
        return lines + [f"  {text}" for text in self.comparisons]

    def table(self, command: str) -> str:
        """The same in Markdown."""
        who = list(self.values)
        rows = [
            f"| {q.what} | {' | '.join(self._cell(one, q) for one in who)} |"
            for q in dict.fromkeys(q for one in who for q in self.values[one])
        ]
        head = [f"| {self.title} | {' | '.join(who)} |", f"| --- |{' --- |' * len(who)}"]
        notes = [f"- {text}" for text in self.comparisons]
        how = f"`{command}`, {self._runs()}."
        return "\n".join([*head, *rows, "", *notes, *([""] if notes else []), how])

    def _cell(self, who: str, quantity: Quantity) -> str:
        values = self.values[who].get(quantity)
        if not values:
            return "-"
        median = quantity.text(statistics.median(values))
        low, high = (f"{end(values):.{quantity.digits}f}" for end in (min, max))
        return median if low == high else f"{median} ({low}-{high})"

    def _runs(self) -> str:
        counts = {len(v) for quantities in self.values.values() for v in quantities.values()}
        low, high = min(counts), max(counts)
        return f"n={low}" if low == high else f"n={low} to {high}"
