"""Reads what is wanted from a server's Prometheus text, and skips the rest.

A pod's whole text has hundreds of lines, of which a few count here; a general parser makes objects
of all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from loopwright.api.serving import (
    METRIC_CAPTURE_DROPPED,
    METRIC_CAPTURE_FAILING,
    METRIC_IN_FLIGHT,
    METRIC_REQUESTS,
    METRIC_SECONDS,
)

# A standard metric of Prometheus clients, and the only way to know a restart for sure.
METRIC_START: Final = "process_start_time_seconds"

_SAMPLE: Final = re.compile(
    rf"^({METRIC_REQUESTS}|{METRIC_SECONDS}_bucket|{METRIC_IN_FLIGHT}|{METRIC_START}"
    rf"|{METRIC_CAPTURE_DROPPED}|{METRIC_CAPTURE_FAILING})"
    r'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*+)\})?[ \t]+(\S+)',
    re.MULTILINE,
)
LARGEST: Final = 2.0**63
_CAPTURE: Final = frozenset({METRIC_CAPTURE_DROPPED, METRIC_CAPTURE_FAILING})
_CODE: Final = re.compile(r'(?:^|,)\s*code="(\d{3})"')
_BOUND: Final = re.compile(r'(?:^|,)\s*le="([^"]+)"')


@dataclass(frozen=True)
class Counters:
    """What has been counted, by one process or in one window."""

    requests: float = 0.0
    errors: float = 0.0
    """Of the requests, those answered with code 500 or more."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Of the latency histogram: upper bound in seconds to count of requests up to it."""

    def __add__(self, other: Counters) -> Counters:
        """Both together. Where bounds differ, the common ones remain, at which both are exact."""
        return Counters(
            self.requests + other.requests,
            self.errors + other.errors,
            {bound: self.buckets[bound] + other.buckets[bound]
             for bound in self.buckets.keys() & other.buckets.keys()}
            if self.buckets and other.buckets else self.buckets or other.buckets,
        )  # fmt: skip

    def __sub__(self, before: Counters) -> Counters:
        """What the same process has counted since."""
        return Counters(
            self.requests - before.requests,
            self.errors - before.errors,
            {bound: count - before.buckets.get(bound, 0.0)
             for bound, count in self.buckets.items()},
        )  # fmt: skip

    def follows(self, before: Counters) -> bool:
        """Whether one process may have counted `before` first and this later."""
        return (
            self.requests >= before.requests
            and self.errors >= before.errors
            and (not before.buckets or self.buckets.keys() == before.buckets.keys())
            and all(self.buckets[bound] >= count for bound, count in before.buckets.items())
        )


@dataclass(frozen=True)
class Captured:
    """What a process says of data capture."""

    dropped: float = 0.0
    """Requests that were to be stored and were not."""
    failing: bool = False


@dataclass(frozen=True)
class Sample:
    """One scrape of a pod."""

    counters: Counters
    in_flight: float = 0.0
    """Requests being worked on."""
    started: float | None = None
    """When the process began, in seconds since the epoch by the clock of its node."""
    captured: Captured | None = None
    """None if it captures nothing."""


def parse(text: str) -> Sample | None:
    """The sample, or None when this is not a server whose metrics are known.

    Raises:
        ValueError: the text is malformed.
    """
    # A server that was asked nothing yet has no samples, but comments that name them.
    if METRIC_REQUESTS not in text:
        return None
    requests = errors = in_flight = 0.0
    started = None
    buckets: dict[float, float] = {}
    captured: dict[str, float] = {}
    for name, labels, number in _SAMPLE.findall(text):
        value = _finite(number)
        if name == METRIC_REQUESTS:
            requests += value
            code = _CODE.search(labels)
            errors += value if code and int(code[1]) >= 500 else 0.0
        elif name == METRIC_IN_FLIGHT:
            in_flight += value
        elif name == METRIC_START:
            started = value
        elif name in _CAPTURE:
            captured[name] = captured.get(name, 0.0) + value
        elif bound := _BOUND.search(labels):
            upper = float(bound[1])
            buckets[upper] = buckets.get(upper, 0.0) + value
    return Sample(Counters(requests, errors, buckets), in_flight, started, _captured(captured))


def _captured(found: dict[str, float]) -> Captured | None:
    if METRIC_CAPTURE_FAILING not in found:
        return None
    return Captured(found.get(METRIC_CAPTURE_DROPPED, 0.0), found[METRIC_CAPTURE_FAILING] > 0)


def _finite(text: str) -> float:
    value = float(text)
    # Nobody counts to more, and sums of it stay finite.
    if not 0 <= value < LARGEST:
        raise ValueError(f"a counter cannot be {text[:20]}")
    return value
