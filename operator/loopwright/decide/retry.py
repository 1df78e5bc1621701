"""Whether a failure is forgiven, and how long to wait before the next attempt."""

from __future__ import annotations

from datetime import timedelta

from loopwright.api.jobspec import JobSpec
from loopwright.api.policy import Retry
from loopwright.api.trainingjob_status import Cause, Failures
from loopwright.decide.types import Outcome


def counted(failures: Failures, cause: Cause) -> Failures:
    """The failures with one more."""
    return Failures(
        application=failures.application + (cause is Cause.APPLICATION),
        infrastructure=failures.infrastructure + (cause is Cause.INFRASTRUCTURE),
    )


def forgiven(policy: Retry, failures: Failures, outcome: Outcome) -> bool:
    """Whether another attempt may follow, after `failures` that include this one."""
    return (
        not outcome.permanent
        and outcome.cause in (Cause.APPLICATION, Cause.INFRASTRUCTURE)
        # Both: an attempt that lost heads, which are counted at once, may end for another cause.
        and failures.application <= policy.max_application_failures
        and failures.infrastructure <= policy.max_infrastructure_failures
    )


def on_spot(spec: JobSpec, failures: Failures) -> bool:
    """Whether the workers of the next attempt are asked for on interruptible nodes."""
    if spec.spot is None or not spec.spot.enabled or not spec.num_workers:
        return False
    limit = spec.spot.fallback_on_demand_after
    return limit is None or failures.infrastructure < limit


def backoff(policy: Retry, failures: Failures) -> timedelta:
    """The wait before the next attempt: doubles with each failure of either kind."""
    count = failures.application + failures.infrastructure
    seconds = policy.backoff_seconds * 2 ** max(0, min(count, 20) - 1)
    return timedelta(seconds=min(seconds, policy.backoff_max_seconds))
