"""What is known of data capture: the condition CaptureHealthy, and Events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from loopwright.api.capture_report import STALE, CaptureReport
from loopwright.api.conditions import Condition, Truth
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.decide import monitoring
from loopwright.decide.conditions import Claim
from loopwright.decide.endpoint_types import Seen, until
from loopwright.decide.types import Happening

CONDITION = "CaptureHealthy"


def claims(
    spec: ModelEndpointSpec, status: ModelEndpointStatus, seen: Seen, now: datetime
) -> dict[str, Claim]:
    """The condition, where something is to be captured."""
    if spec.data_capture is None:
        return {}
    if spec.suspend:
        return {CONDITION: Claim(None, "Suspended", "nothing is served, and so nothing captured")}
    return {CONDITION: _claim(status, seen.capture, now)}


def _claim(status: ModelEndpointStatus, report: CaptureReport | None, now: datetime) -> Claim:
    if report is None:
        return Claim(None, "NotWatched", "the endpoint's monitor has not said anything yet")
    if now >= report.time + STALE:
        text = f"the monitor has said nothing since {report.time:%Y-%m-%d %H:%M} UTC; see its pod"
        return Claim(None, "Silent", text)
    found = [
        (f"variant {one.name}", report.variant(one.name, revision))
        for one in status.variants
        for revision in monitoring.revisions(one)
    ]
    if claim := monitoring.worst([(who, one) for who, one in found if one is not None], bad=False):
        return claim
    for who, one in found:
        if one is None:
            return Claim(None, "NotWatched", f"{who}: its pods have not been seen yet")
    return Claim(True, "AsExpected")


def silence(spec: ModelEndpointSpec, seen: Seen, now: datetime) -> float | None:
    """Seconds until a monitor that goes on saying nothing is silent."""
    report = seen.capture
    if spec.data_capture is None or spec.suspend or report is None or now >= report.time + STALE:
        return None
    return until(report.time + STALE, now)


def news(before: list[Condition], after: list[Condition]) -> Iterator[Happening]:
    """Events: that it does not work, and that it does again."""
    was, now = _found(before), _found(after)
    if now is None:
        return
    if now.status is Truth.FALSE and (was is None or was.status is not Truth.FALSE):
        yield Happening("Warning", "CaptureDegraded", f"{now.reason}: {now.message}")
    if now.status is Truth.TRUE and was is not None and was.status is Truth.FALSE:
        yield Happening("Normal", "CaptureRecovered", "captured requests are stored again")


def _found(conditions: list[Condition]) -> Condition | None:
    return next((one for one in conditions if one.type == CONDITION), None)
