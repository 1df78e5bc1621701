"""From what pods have counted to what happened between two rounds, or that nobody knows.

Variants can be compared only if nothing is missing of one that is not missing of the others. So a
time counts if the same processes answered at its beginning and its end and every variant could be
seen in whole; otherwise it is left out, for all variants alike. That loses some seconds when pods
come, go or restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from loopwright.monitor.experiment.samples import NOTHING, Totals

# Some clients compute a process's start from a clock that is adjusted while it runs.
JITTER: Final = 2.0
# After variants are all there again, a gateway goes on for a while as if they were not.
SETTLE: Final = 10.0


@dataclass(frozen=True)
class Reading:
    """What one process has counted since it began."""

    variant: str
    """Which it serves."""
    arrivals: float
    """Requests that it was given, answered or not."""
    outcomes: Mapping[str, Mapping[str, Totals]]
    """By metric and variant; feedback may be about another variant than its own."""
    started: float | None = None
    """When it began, if that is known, in seconds since the epoch."""
    process: str = ""
    """What tells it from others, if that is known."""

    def follows(self, before: Reading) -> bool:
        """Whether one process may have counted `before` first and this later."""
        began, begins = before.started, self.started
        if began is not None and begins is not None and abs(begins - began) > JITTER:
            return False
        if (self.variant, self.process) != (before.variant, before.process):
            return False
        return self.arrivals >= before.arrivals and all(
            self.of(metric, variant).count >= totals.count
            for metric, variants in before.outcomes.items()
            for variant, totals in variants.items()
        )

    def of(self, metric: str, variant: str) -> Totals:
        """Sums of a metric about a variant."""
        return self.outcomes.get(metric, {}).get(variant, NOTHING)


@dataclass
class Increase:
    """What happened between two rounds."""

    arrivals: dict[str, float] = field(default_factory=dict)
    """By variant."""
    outcomes: dict[str, dict[str, Totals]] = field(default_factory=dict)
    """By metric and variant."""

    def __bool__(self) -> bool:
        """Whether anything happened."""
        return any(self.arrivals.values()) or any(
            totals.count for variants in self.outcomes.values() for totals in variants.values()
        )

    def add(self, before: Reading, after: Reading) -> None:
        """Adds what one process did."""
        name = after.variant
        more = after.arrivals - before.arrivals
        self.arrivals[name] = self.arrivals.get(name, 0.0) + more
        for metric, variants in after.outcomes.items():
            into = self.outcomes.setdefault(metric, {})
            for variant, totals in variants.items():
                new = _less(totals, before.of(metric, variant))
                into[variant] = into.get(variant, NOTHING) + new


def _less(after: Totals, before: Totals) -> Totals:
    """The difference; sums of squares may miss it by a rounding error."""
    return Totals(
        after.count - before.count,
        after.total - before.total,
        max(0.0, after.squares - before.squares),
    )


class Rounds:
    """Takes a reading of all processes every few seconds."""

    def __init__(self) -> None:
        self._before: Mapping[str, Reading] | None = None
        self._whole_since: float | None = None

    def take(self, readings: Mapping[str, Reading] | None, now: float) -> Increase | None:
        """What happened since the last round; None if that is not known in whole.

        Args:
            readings: By pod; None if something cannot be seen.
            now: The time, by a clock that never goes back, in seconds.
        """
        before, self._before = self._before, readings
        if readings is None:
            self._whole_since = None
            return None
        since = self._whole_since
        if since is None:
            self._whole_since = now
        if before is None or since is None or now - since < SETTLE:
            return None
        if readings.keys() != before.keys():
            return None
        if not all(one.follows(before[pod]) for pod, one in readings.items()):
            return None
        increase = Increase()
        for pod, one in readings.items():
            increase.add(before[pod], one)
        return increase
