"""What a process costs, from /proc, and what the operator's own metrics say."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Usage:
    """Since the process began."""

    cpu: float
    """Seconds of user and system time."""
    peak: float
    """The most memory that was resident, in MiB."""


def usage(pid: int) -> Usage:
    """What a process has used so far."""
    # The name of the program comes before the last parenthesis, and may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert peak is not None
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(peak[1]) / 1024)


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """All samples of a metric in Prometheus' text format, with their labels."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match and match[1] == name:
            found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


@dataclass(frozen=True)
class Latencies:
    """A histogram."""

    buckets: tuple[tuple[float, float], ...]
    """Upper bounds in seconds and how many observations are at most that."""

    @classmethod
    def read(cls, text: str, name: str, **labels: str) -> Latencies:
        """The histogram of a metric."""
        rows = [
            (float(own["le"]), count)
            for own, count in samples(text, f"{name}_bucket")
            if labels.items() <= own.items()
        ]
        return cls(tuple(sorted(rows)))

    @property
    def count(self) -> float:
        """How many observations there are."""
        return self.buckets[-1][1] if self.buckets else 0

    def quantile(self, share: float) -> float:
        """An estimate, straight within a bucket, as Prometheus makes it."""
        low, before = 0.0, 0.0
        for bound, count in self.buckets:
            if count >= share * self.count and count > before:
                part = (share * self.count - before) / (count - before)
                return low if bound == float("inf") else low + (bound - low) * part
            low, before = bound, count
        return low

    def text(self) -> str:
        """How many observations fell into each bucket."""
        parts, before = [], 0.0
        for bound, count in self.buckets:
            if count > before:
                parts.append(f"<={bound:g} s: {count - before:.0f}")
            before = count
        return ", ".join(parts)
