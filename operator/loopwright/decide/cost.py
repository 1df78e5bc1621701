"""What attempts cost."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import Any

from loopwright.api import quantity
from loopwright.api.jobspec import JobSpec
from loopwright.api.shared import Resources
from loopwright.api.trainingjob_status import Attempt, Cost, TrainingCost
from loopwright.decide.outcome import elapsed
from loopwright.decide.prices import HOUR, Prices, added


def with_attempt(
    cost: Cost, spec: JobSpec, attempt: Attempt, end: datetime, prices: Prices | None = None
) -> Cost:
    """The cost so far and that of an attempt that ends now; the status forgets old attempts.

    A running attempt is left out, or its status would be written every second. What was told in
    another currency stays as it is.
    """
    seconds = elapsed(attempt.running_time, end)
    workers, resources = spec.num_workers, spec.resources_per_worker
    cores = _cores(resources) * max(1, workers)
    if workers:
        cores += _cores(spec.head.resources)
    update: dict[str, Any] = {
        "gpu_seconds": cost.gpu_seconds + round(gpus(spec) * seconds),
        "cpu_seconds": cost.cpu_seconds + math.ceil(cores * seconds),
        "billable_seconds": cost.billable_seconds + math.ceil(seconds),
    }
    if prices is not None and cost.currency in (None, prices.currency):
        spent = hourly(prices, spec, attempt) * Decimal(str(seconds)) / HOUR
        update |= {"estimate": added(cost.estimate, spent), "currency": prices.currency}
    return cost.model_copy(update=update)


def with_kept(cost: TrainingCost, attempt: Attempt, kept: int) -> TrainingCost:
    """The cost with seconds of an attempt that has ended, which the next need not do again.

    No more than its cluster ran, whatever its driver says.
    """
    assert attempt.end_time is not None
    saved = min(kept, int(elapsed(attempt.running_time, attempt.end_time)))
    if not saved:
        return cost
    return cost.model_copy(update={"spot_saved_seconds": (cost.spot_saved_seconds or 0) + saved})


def gpus(spec: JobSpec) -> int:
    """GPUs of an attempt."""
    return spec.resources_per_worker.gpu * max(1, spec.num_workers)


def hourly(prices: Prices, spec: JobSpec, attempt: Attempt) -> Decimal:
    """What an hour of an attempt costs."""
    spot = bool(attempt.spot)
    if not spec.num_workers:
        return prices.hour(spec.resources_per_worker)
    workers = prices.hour(spec.resources_per_worker, spot=spot) * spec.num_workers
    return workers + prices.hour(spec.head.resources)


def _cores(resources: Resources) -> float:
    return float(quantity.parse(resources.cpu))
