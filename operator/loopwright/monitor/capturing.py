"""What the pods' metrics say of data capture. Pure: time is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loopwright.api.capture_report import VariantCapture
from loopwright.api.monitoring_status import MonitorState
from loopwright.monitor.exposition import Captured, Sample
from loopwright.monitor.slices import Pod
from loopwright.monitor.windows import Revision

# So long a drop counts, or a single one would be told and taken back within a minute.
HOLD: Final = 300.0
# Pods that have missed so many seconds of scrapes count as silent.
PATIENCE: Final = 30.0

_TEXTS: Final = {
    "NoPods": "there are no pods of this revision",
    "PodsUnreachable": (
        "{n} of its pods do not answer on /metrics; let network policies admit pods labelled"
        " app.kubernetes.io/name: loopwright-monitor"
    ),
    "NotCapturing": (
        "{n} of its pods capture nothing: only Loopwright's own model server does; see the guide on"
        " capturing for others"
    ),
    "UploadsFailing": (
        "{n} of its pods cannot store what they capture; their logs say why: check"
        " dataCapture.destination, its Secret and the space there"
    ),
    "RecordsDropped": (
        "{n} of its pods have dropped requests of the sample; lower samplePercent or maxBodyBytes,"
        " or give the pods more CPU"
    ),
}
_STATES: Final = {
    "NoPods": MonitorState.NO_DATA,
    "PodsUnreachable": MonitorState.UNKNOWN,
    "NotCapturing": MonitorState.UNKNOWN,
    "UploadsFailing": MonitorState.VIOLATED,
    "RecordsDropped": MonitorState.VIOLATED,
}


@dataclass
class _Seen:
    first: float
    answered: float | None = None
    captured: Captured | None = None
    dropped: float | None = None
    """When a drop was last seen."""


class Capturing:
    """Data capture of an endpoint, over its pods."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def turn(
        self,
        revisions: Sequence[Revision],
        scraped: Sequence[tuple[Pod, Sample | Exception | None]],
        now: float,
    ) -> list[VariantCapture]:
        """What is known of each revision after a scrape.

        Args:
            scraped: Each pod's sample; None of one that did not answer.
            now: The time, by a clock that never goes back, in seconds.
        """
        self._seen = {pod.uid: self._seen.get(pod.uid, _Seen(now)) for pod, _ in scraped}
        for pod, result in scraped:
            if result is not None:
                _take(self._seen[pod.uid], result, now)
        return [
            _judge(one, [self._seen[pod.uid] for pod, _ in scraped if pod.revision == one], now)
            for one in revisions
        ]


def _take(seen: _Seen, result: Sample | Exception, now: float) -> None:
    before = seen.captured
    seen.answered = now
    seen.captured = result.captured if isinstance(result, Sample) else None
    # A process that was begun anew counts from nothing.
    if before is not None and seen.captured is not None and seen.captured.dropped > before.dropped:
        seen.dropped = now


def _judge(one: Revision, pods: Sequence[_Seen], now: float) -> VariantCapture:
    found = {
        "UploadsFailing": sum(pod.captured is not None and pod.captured.failing for pod in pods),
        "RecordsDropped": sum(pod.dropped is not None and now - pod.dropped < HOLD for pod in pods),
        "PodsUnreachable": sum(now - (pod.answered or pod.first) > PATIENCE for pod in pods),
        "NotCapturing": sum(pod.answered is not None and pod.captured is None for pod in pods),
        "NoPods": not any(pod.answered is not None for pod in pods),
    }
    reason = next((reason for reason, n in found.items() if n), "")
    state = _STATES[reason] if reason else MonitorState.OK
    text = _TEXTS[reason].format(n=found[reason]) if reason else ""
    return VariantCapture(
        name=one.variant, revision=one.revision, state=state, reason=reason, message=text
    )
