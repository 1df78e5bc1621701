"""What a window says of a revision: figures, or that there are none. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from loopwright.api.endpoint_report import MonitorConfig, VariantReport, VariantState
from loopwright.drift.chances import binomial_cdf
from loopwright.monitor.windows import Revision, Window

_UNREACHABLE = (
    "{hidden} of {pods} pods are ready but do not answer on /metrics, so part of the traffic cannot"
    " be seen; let network policies admit pods labelled app.kubernetes.io/name: loopwright-monitor"
)
_FOREIGN = (
    "the server has no metrics loopwright_serving_*, so checks of error rate and latency cannot be"
    " made; use Loopwright's own server, or checks by PromQL"
)
_PENDING = (
    "{in_flight} requests are being worked on and only {requests} were answered in {seconds:.0f} s;"
    " see the server's log"
)
# Of the confidence limits.
ALPHA: Final = 0.01
_FEW = "{requests} requests in {seconds:.0f} s; {wanted} are needed"


@dataclass(frozen=True)
class Pods:
    """A revision's pods, as the last scrape found them."""

    all: int = 0
    scraped: int = 0
    """Answered the last time."""
    hidden: int = 0
    """Ready, but have not answered for several scrapes."""
    foreign: int = 0
    """Ready, and answer, but have no metrics that are known."""
    in_flight: int = 0
    """Requests they work on."""


def measure(config: MonitorConfig, one: Revision, pods: Pods, window: Window) -> VariantReport:
    """The report on a revision."""
    counters = window.counters
    state, reason, message = _state(config, pods, window)
    report = VariantReport(
        name=one.variant,
        revision=one.revision,
        state=state,
        reason=reason,
        message=message,
        pods=pods.all,
        pods_scraped=pods.scraped,
        observed_seconds=round(window.seconds, 3),
        requests=round(counters.requests),
        errors=round(counters.errors),
        in_flight=pods.in_flight,
    )
    if state is not VariantState.OK:
        return report
    enough = counters.buckets.get(math.inf, 0) >= config.min_requests
    figures = {
        "rate": counters.requests / window.seconds if window.seconds > 0 else None,
        "error_ratio": min(1.0, counters.errors / counters.requests),
        "p50_seconds": quantile(0.5, counters.buckets) if enough else None,
        "p99_seconds": quantile(0.99, counters.buckets) if enough else None,
        "p50_at_least_seconds": at_least(0.5, counters.buckets) if enough else None,
        "p99_at_least_seconds": at_least(0.99, counters.buckets) if enough else None,
    }
    return report.model_copy(update={k: v and float(f"{v:.6g}") for k, v in figures.items()})


def _state(config: MonitorConfig, pods: Pods, window: Window) -> tuple[VariantState, str, str]:
    requests, wanted = round(window.counters.requests), config.min_requests
    seen = {"requests": requests, "seconds": window.seconds, "wanted": wanted}
    if pods.foreign:
        return VariantState.UNKNOWN, "NoMetrics", _FOREIGN
    if pods.hidden:
        text = _UNREACHABLE.format(hidden=pods.hidden, pods=pods.all)
        return VariantState.UNKNOWN, "PodsUnreachable", text
    if requests >= wanted:
        return VariantState.OK, "", ""
    # Right after the start, busy pods look the same.
    if requests + pods.in_flight >= wanted and 2 * window.seconds >= config.window_seconds:
        text = _PENDING.format(in_flight=pods.in_flight, **seen)
        return VariantState.UNKNOWN, "RequestsPending", text
    if not pods.all:
        return VariantState.NO_DATA, "NoPods", "there are no pods of this revision"
    return VariantState.NO_DATA, "TooFewRequests", _FEW.format(**seen)


def at_least(q: float, buckets: dict[float, float]) -> float | None:
    """The lower confidence limit of the q-quantile in seconds: of any distribution, the true one is
    less in one of a hundred windows at most.

    The values beyond the q-quantile are binomial, so an order statistic is the limit (Hahn and
    Meeker, "Statistical Intervals", 1991, section 5.2). None when nothing was counted.

    Args:
        buckets: As `quantile` takes them.
    """
    total = round(buckets.get(math.inf, 0.0))
    if total <= 0:
        return None
    return quantile(max(0, total - most_beyond(total, 1 - q)) / total, buckets)


def most_beyond(trials: int, p: float) -> int:
    """The least number that a binomial variable exceeds with a probability of `ALPHA` or less."""
    return bisect_left(range(trials), 1 - ALPHA, key=lambda k: binomial_cdf(k, trials, p))


def quantile(q: float, buckets: dict[float, float]) -> float | None:
    """The q-quantile in seconds, assuming that values lie evenly within a bucket.

    As Prometheus' histogram_quantile does: the first bucket begins at 0, and what lies above the
    highest finite bound is told as that bound. None when nothing was counted.

    Args:
        buckets: Upper bound (the last is infinite) to count of values up to it.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank = q * total
    below, lower = 0.0, 0.0
    for upper, count in sorted(buckets.items()):
        if count >= rank and count > below:
            if upper == math.inf:
                return lower
            return lower + (upper - lower) * (rank - below) / (count - below)
        below, lower = max(below, count), upper
    return lower
