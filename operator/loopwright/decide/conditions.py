"""Conditions as kstatus reads them: `Ready`, `Reconciling`, `Stalled`, and the job's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from loopwright.api.conditions import MAX_MESSAGE, Condition, Truth
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.registry import ModelStatus
from loopwright.api.trainingjob_status import JobStatus

_TRUTHS: Final = {True: Truth.TRUE, False: Truth.FALSE, None: Truth.UNKNOWN}
Status = TypeVar("Status", JobStatus, ModelStatus, ModelEndpointStatus)


class Claim(NamedTuple):
    """What a condition should say."""

    holds: bool | None
    """None: nobody knows."""
    reason: str
    message: str = ""


def refused(status: Status, generation: int, message: str, now: datetime) -> Status:
    """The status of an object whose spec makes no sense; an older CRD has let it in."""
    claims = {
        "Ready": Claim(False, "InvalidSpec", message),
        "Reconciling": Claim(False, "InvalidSpec"),
        "Stalled": Claim(True, "InvalidSpec", message),
    }
    conditions = merged(status.conditions, claims, generation, now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def says(told: Sequence[Mapping[str, Any]], claims: Mapping[str, Claim]) -> bool:
    """Whether stored conditions say just this."""
    known = {"True": True, "False": False}
    found = {
        one["type"]: Claim(known.get(one["status"]), one["reason"], one.get("message", ""))
        for one in told
    }
    wanted = {
        name: claim._replace(message=claim.message[:MAX_MESSAGE]) for name, claim in claims.items()
    }
    return found == wanted


def merged(
    before: list[Condition], claims: Mapping[str, Claim], generation: int, now: datetime
) -> list[Condition]:
    """The conditions that say `claims`; a time changes only with the status that it is about."""
    known = {condition.type: condition for condition in before}
    result = []
    for name, claim in sorted(claims.items()):
        status = _TRUTHS[claim.holds]
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
