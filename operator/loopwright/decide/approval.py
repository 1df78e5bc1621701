"""Whether a version's metrics are good enough for it to be approved without a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from loopwright.api.autoapprove import AutoApprove, NotWorse
from loopwright.api.modelref import MetricRequirement, unmet
from loopwright.api.shared import Direction


class Incumbent(NamedTuple):
    """The version that an alias points to now."""

    alias: str
    version: str
    metrics: Mapping[str, str]


class Judgement(NamedTuple):
    """What autoApprove says of a version."""

    approved: bool
    reason: str
    """The numbers: those that it keeps, or what it lacks."""


def judge(
    policy: AutoApprove, metrics: Mapping[str, str], incumbent: Incumbent | None
) -> Judgement:
    """Compares a version's metrics with fixed bounds, and with those of the version in use.

    Args:
        metrics: Values by name, as text that code of others has reported.
        incumbent: What `notWorseThan` means; None while its alias points to no version.
    """
    lacks = unmet(policy.require_metrics, metrics)
    kept = [_kept(one, metrics) for one in policy.require_metrics] if not lacks else []
    if policy.not_worse_than is not None and incumbent is not None:
        for holds, text in _compared(policy.not_worse_than.metrics, metrics, incumbent):
            (kept if holds else lacks).append(text)
    return Judgement(False, "; ".join(lacks)) if lacks else Judgement(True, "; ".join(kept))


def _kept(one: MetricRequirement, metrics: Mapping[str, str]) -> str:
    least = f"at least {one.min}" if one.min is not None else ""
    most = f"at most {one.max}" if one.max is not None else ""
    bounds = " and ".join(bound for bound in (least, most) if bound)
    return f"{one.metric} is {metrics[one.metric]}, {bounds} is asked for"


def _compared(
    asked: list[NotWorse], metrics: Mapping[str, str], incumbent: Incumbent
) -> Iterator[tuple[bool, str]]:
    who = f"version {incumbent.version}, which alias '{incumbent.alias}' points to"
    for one in asked:
        mine, other = (_number(known.get(one.metric)) for known in (metrics, incumbent.metrics))
        if mine is None:
            yield False, f"{one.metric} was not reported"
        elif other is None:
            yield False, f"{one.metric} is not known of {who}"
        else:
            worse = mine - other if one.direction is Direction.MINIMIZE else other - mine
            holds = worse <= Decimal(one.tolerance)
            how = "not worse" if holds else "worse"
            text = f"{one.metric} is {metrics[one.metric]}, {how} by more than {one.tolerance} than"
            yield holds, f"{text} {incumbent.metrics[one.metric]} of {who}"


def _number(text: str | None) -> Decimal | None:
    """A finite number; what is not one cannot be compared."""
    try:
        found = Decimal(text or "")
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
