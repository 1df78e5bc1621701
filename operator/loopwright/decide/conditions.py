"""Conditions as kstatus reads them: `Ready`, `Reconciling`, `Stalled`, and the job's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from loopwright.api.conditions import MAX_MESSAGE, Condition, Truth


class Claim(NamedTuple):
    """What a condition should say."""

    holds: bool
    reason: str
    message: str = ""


def merged(
    before: list[Condition], claims: Mapping[str, Claim], generation: int, now: datetime
) -> list[Condition]:
    """The conditions that say `claims`; a time changes only with the status that it is about."""
    known = {condition.type: condition for condition in before}
    result = []
    for name, claim in sorted(claims.items()):
        status = Truth.TRUE if claim.holds else Truth.FALSE
        old = known.get(name)
        result.append(
            Condition(
                type=name,
                status=status,
                reason=claim.reason,
                message=claim.message[:MAX_MESSAGE],
                observed_generation=generation,
                last_transition_time=(
                    old.last_transition_time if old is not None and old.status is status else now
                ),
            )
        )
    return result
