"""Whether a job has spent what it may, and when it will have."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from loopwright.api.budget import Budget
from loopwright.api.jobspec import JobSpec
from loopwright.api.trainingjob_status import Attempt, Cause, Cost, JobStatus
from loopwright.decide.conditions import Claim
from loopwright.decide.cost import gpus, hourly, with_attempt
from loopwright.decide.kind import Job
from loopwright.decide.prices import HOUR, Prices
from loopwright.decide.types import Outcome, S

CONDITION: Final = "BudgetExceeded"
REASON: Final = "BudgetExceeded"


def paused(spec: JobSpec, status: JobStatus) -> str | None:
    """Why no attempt may run until somebody changes the spec."""
    if spec.run_policy.suspend:
        return "runPolicy.suspend is set"
    over = spent(spec.budget, status.cost)
    if over is None or spec.budget is None or spec.budget.action != "Suspend":
        return None
    return f"{over}; raise it to go on"


def spent(budget: Budget | None, cost: Cost) -> str | None:
    """How a budget is used up, in words; None while it is not."""
    if budget is None:
        return None
    hours = Decimal(cost.gpu_seconds) / HOUR
    if budget.max_gpu_hours is not None and hours >= Decimal(budget.max_gpu_hours):
        return f"{hours:.2f} GPU hours are used of budget.maxGpuHours {budget.max_gpu_hours}"
    if budget.max_cost is None or cost.estimate is None:
        return None
    if Decimal(cost.estimate) >= Decimal(budget.max_cost):
        money = f"{cost.estimate} {cost.currency}"
        return f"{money} are spent of budget.maxCost {budget.max_cost}"
    return None


def ended(spec: JobSpec, over: str) -> Outcome:
    """How an attempt, or the job, ends because of its budget."""
    if spec.budget is not None and spec.budget.action == "Stop":
        return Outcome(Cause.BUDGET, REASON, over, permanent=True)
    return Outcome(Cause.SUSPENDED, REASON, over)


def crossed(
    job: Job[S], status: S, attempt: Attempt, prices: Prices | None, now: datetime
) -> str | None:
    """How the budget is used up if the running attempt ends now."""
    if job.spec.budget is None:
        return None
    cost = with_attempt(status.cost, job.asked(status), attempt, now, prices)
    return spent(job.spec.budget, cost)


def left(
    job: Job[S], status: S, attempt: Attempt, prices: Prices | None, now: datetime
) -> float | None:
    """Seconds until the running attempt will have used up the budget."""
    budget, spec = job.spec.budget, job.asked(status)
    if budget is None or attempt.running_time is None:
        return None
    cost = with_attempt(status.cost, spec, attempt, now, prices)
    waits = []
    if budget.max_gpu_hours is not None and (rate := gpus(spec)):
        waits.append((Decimal(budget.max_gpu_hours) * HOUR - cost.gpu_seconds) / rate)
    if budget.max_cost is not None and prices is not None and cost.currency == prices.currency:
        price = hourly(prices, spec, attempt)
        missing = Decimal(budget.max_cost) - Decimal(cost.estimate or "0")
        waits += [missing / price * HOUR] if price else []
    return float(max(Decimal(1), min(waits))) if waits else None


def claim(budget: Budget, cost: Cost, *, priced: bool) -> Claim:
    """The condition of a job with a budget."""
    over = spent(budget, cost)
    if over is not None:
        return Claim(True, REASON, over)
    if budget.max_cost is not None and not priced and cost.estimate is None:
        text = "budget.maxCost needs the operator's price table (LOOPWRIGHT_PRICES)"
        return Claim(None, "NoPrices", text)
    return Claim(False, "WithinBudget")
