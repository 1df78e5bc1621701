"""What an endpoint's pods cost, put on record when its status changes anyway, or once an hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import EndpointCost, ModelEndpointStatus
from loopwright.decide.prices import HOUR, Prices, added

AT_LEAST: Final = timedelta(hours=1)


def accrued(
    spec: ModelEndpointSpec,
    before: ModelEndpointStatus,
    after: ModelEndpointStatus,
    prices: Prices | None,
    now: datetime,
) -> ModelEndpointStatus:
    """The new status with the cost until now.

    Numbers of pods are part of the status, so they were what the stored one says until now.
    """
    old = before.cost
    after = after.model_copy(update={"cost": old})
    if prices is None:
        return after
    if old is None:
        first = EndpointCost(currency=prices.currency, until=now)
        return after.model_copy(update={"cost": first})
    if after == before and now - old.until < AT_LEAST:
        return after
    return after.model_copy(update={"cost": _later(spec, before, old, prices, now)})


def _later(
    spec: ModelEndpointSpec,
    before: ModelEndpointStatus,
    old: EndpointCost,
    prices: Prices,
    now: datetime,
) -> EndpointCost:
    seconds = Decimal(str(max(0.0, (now - old.until).total_seconds())))
    resources = {one.name: one.resources for one in spec.variants}
    pods, gpus, hourly = 0, 0, Decimal(0)
    for variant in before.variants:
        if (asked := resources.get(variant.name)) is not None:
            pods += variant.replicas
            gpus += variant.replicas * asked.gpu
            hourly += variant.replicas * prices.hour(asked)
    # What was told in another currency stays as it is.
    spent = hourly * seconds / HOUR if old.currency == prices.currency else Decimal(0)
    return EndpointCost(
        replica_seconds=old.replica_seconds + round(pods * seconds),
        gpu_seconds=old.gpu_seconds + round(gpus * seconds),
        estimate=added(old.estimate, spent),
        currency=old.currency,
        until=max(now, old.until),
    )
