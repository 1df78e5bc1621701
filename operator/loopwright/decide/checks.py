"""Whether a new revision keeps what it must: one verdict for each check and interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from loopwright.api import names
from loopwright.api.delivery import Check, LatencyCheck, Rollout
from loopwright.api.endpoint_report import EndpointReport, VariantReport, VariantState
from loopwright.api.modelendpoint_status import Baseline, VariantStatus
from loopwright.decide.endpoint_types import Seen

# The name of a check that nobody needs to ask for.
READY = "ready"
# What the monitor calls it when requests are worked on and never answered.
HANGS = "RequestsPending"
# And a server that has no metrics of ours, about which nothing is to be found out.
FOREIGN = "NoMetrics"


class Verdict(Enum):
    """What a check says about an interval."""

    PASSED = "passed"
    FAILED = "failed"
    NO_DATA = "no data"


@dataclass(frozen=True)
class Result:
    """One check, made."""

    check: Check
    verdict: Verdict
    message: str

    @property
    def failed(self) -> bool:
        """Whether it counts against the revision."""
        missing = self.verdict is Verdict.NO_DATA and self.check.on_no_data == "Fail"
        return self.verdict is Verdict.FAILED or missing


def needs_monitor(rollout: Rollout) -> bool:
    """Whether checks ask for what the monitor measures."""
    return any(one.prometheus is None for one in rollout.checks)


def clock(
    rollout: Rollout, variant: VariantStatus, seen: Seen, now: datetime
) -> tuple[datetime | None, str]:
    """Until when the new revision was measured, or None and why it was not.

    A revision that cannot be seen is no reason to go on, nor one to go back.
    """
    assert variant.next is not None
    if not needs_monitor(rollout):
        return now, ""
    if seen.report is None:
        return None, f"the monitor {names.monitor_name(seen.endpoint)} has not reported lately"
    found = seen.report.variant(variant.name, variant.next.revision)
    if found is None:
        # Its report is from before this revision, and nothing is known of it, not even silence.
        return None, "the monitor has not seen the new revision yet"
    if found.state is VariantState.UNKNOWN and found.reason not in (HANGS, FOREIGN):
        return None, found.message or "the monitor cannot see all pods"
    return seen.report.window_end, ""


def answers(variant: VariantStatus, seen: Seen) -> str | None:
    """Why a new revision cannot be said to answer, or None."""
    assert variant.next is not None
    if not seen.serves(variant.next):
        return "its pods are not ready"
    report = seen.report
    found = report.variant(variant.name, variant.next.revision) if report is not None else None
    if found is not None and (found.state, found.reason) == (VariantState.UNKNOWN, HANGS):
        return found.message or "requests are not answered"
    return None


def make(rollout: Rollout, variant: VariantStatus, seen: Seen) -> Iterator[Result]:
    """Makes all checks of the revision that a variant's rollout leads to."""
    assert variant.next is not None
    new = _measured(seen.report, variant.name, variant.next.revision)
    old = baseline(variant, seen)
    for check in rollout.checks:
        if check.prometheus is not None:
            yield _query(check, seen.queries.get((variant.name, check.name)))
        elif new is None:
            yield Result(check, Verdict.NO_DATA, "too few requests to judge by")
        elif check.latency is not None:
            yield _latency(check, check.latency, new, old)
        else:
            yield _errors(check, new)


def baseline(variant: VariantStatus, seen: Seen) -> Baseline | None:
    """Latency of the revision that is being replaced; what was measured last, once it idles."""
    known = variant.rollout.baseline if variant.rollout else None
    if variant.serving is None:
        return known
    found = _measured(seen.report, variant.name, variant.serving.revision)
    if found is None or found.p50_seconds is None or found.p99_seconds is None:
        return known
    return Baseline(
        p50_microseconds=round(found.p50_seconds * 1e6),
        p99_microseconds=round(found.p99_seconds * 1e6),
    )


def _measured(report: EndpointReport | None, variant: str, revision: str) -> VariantReport | None:
    found = report.variant(variant, revision) if report is not None else None
    return found if found is not None and found.state is VariantState.OK else None


def _errors(check: Check, new: VariantReport) -> Result:
    assert check.error_rate is not None
    percent, limit = 100 * (new.error_ratio or 0.0), float(check.error_rate.max_percent)
    text = f"{percent:.3g} % of {new.requests} requests failed; at most {limit:g} % may"
    return Result(check, _within(percent, limit), text)


def _latency(check: Check, asked: LatencyCheck, new: VariantReport, old: Baseline | None) -> Result:
    median = asked.quantile == "p50"
    found = new.p50_seconds if median else new.p99_seconds
    if found is None:
        return Result(check, Verdict.NO_DATA, f"{asked.quantile} was not measured")
    text = f"{asked.quantile} is {1000 * found:.3g} ms"
    if asked.max_milliseconds is not None:
        limit = float(asked.max_milliseconds)
        wanted = f"at most {limit:g} ms"
    elif old is None:
        return Result(check, Verdict.NO_DATA, f"{text}; that of the old revision is not known")
    else:
        before = (old.p50_microseconds if median else old.p99_microseconds) / 1e3
        limit = float(asked.max_ratio or 0) * before
        wanted = f"at most {asked.max_ratio} times the old revision's {before:.3g} ms"
    # One slow request of a few dozen makes a high p99, and says little about the revision.
    proven = new.p50_at_least_seconds if median else new.p99_at_least_seconds
    verdict = _within(1000 * (found if proven is None else proven), limit)
    chance = verdict is Verdict.PASSED and 1000 * found > limit
    few = f", which {new.requests} requests do not prove" if chance else ""
    return Result(check, verdict, f"{text}{few}; {wanted}")


def _query(check: Check, value: float | None) -> Result:
    assert check.prometheus is not None
    if value is None or value != value:
        return Result(check, Verdict.NO_DATA, "the query has no result")
    low, high = check.prometheus.min, check.prometheus.max
    if low is not None and value < float(low):
        return Result(check, Verdict.FAILED, f"the query gives {value:.6g}, below {low}")
    if high is not None and value > float(high):
        return Result(check, Verdict.FAILED, f"the query gives {value:.6g}, above {high}")
    return Result(check, Verdict.PASSED, f"the query gives {value:.6g}")


def _within(value: float, limit: float) -> Verdict:
    return Verdict.PASSED if value <= limit else Verdict.FAILED
