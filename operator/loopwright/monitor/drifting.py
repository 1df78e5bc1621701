"""One revision's monitors: windows of what its pods counted, judged against its baseline. Pure.

Windows end at multiples of their length by the wall clock, also after this process was restarted;
what happened while nobody watched is in none. How the newest windows were judged is handed in after
a restart, so that no alarm is raised or lowered by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loopwright.api.baseline import Baseline
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.drift import (
    Finding,
    Hysteresis,
    Reference,
    Replicas,
    State,
    Verdict,
    Window,
    Windows,
    asked,
    evaluate,
)
from loopwright.monitor.windows import Revision
from loopwright.sketch import Counts, Layout, Snapshot


@dataclass
class Judge:
    """One monitor of one revision."""

    monitor: Monitor
    revision: Revision
    windows: Windows
    hysteresis: Hysteresis
    verdict: WindowVerdict | None = None
    judged: Verdict | None = None
    """The newest window's, for the report."""
    window: Window | None = None
    """The newest, for the report."""
    hidden: str = ""
    """Why part of the traffic of this window could not be seen."""

    def ended(self, window: Window, reference: Reference) -> None:
        """Judges a window."""
        found = evaluate(reference, window.counts, asked.rules(self.monitor), unknown=self.hidden)
        self.hidden, self.judged, self.window = "", found, window
        self.verdict = self._told(found, window, self.hysteresis.update(found.state))

    def features(self) -> list[Finding]:
        """The worst that was found of each feature in the newest window, the worst first."""
        return self.judged.by_feature() if self.judged is not None else []

    def _told(self, found: Verdict, window: Window, known: State) -> WindowVerdict:
        message, recent = found.message, self.hysteresis.recent
        if known is not found.state:
            text = (
                f"{sum(recent)} of the newest {len(recent)} windows in violation,"
                f" {self.monitor.violated_windows} of {self.monitor.of_windows} are needed"
            )
            message = f"{message}; {text}" if message else text
        told = asked.told(self.monitor.name, found)
        return WindowVerdict(
            **{**dict(told), "state": known, "message": message[:512]},
            variant=self.revision.variant,
            revision=self.revision.revision,
            window_start=datetime.fromtimestamp(window.start, UTC),
            window_end=datetime.fromtimestamp(window.end, UTC),
            recent=recent,
        )


class Drifting:
    """All monitors of one revision."""

    def __init__(
        self,
        revision: Revision,
        baseline: Baseline,
        monitors: Iterable[Monitor],
        known: Sequence[WindowVerdict],
        since: float,
    ) -> None:
        """
        Args:
            monitors: Those that watch the variant.
            known: Verdicts of before this process began.
            since: When watching began, by the clock of `take`'s `now`.

        Raises:
            ValueError: the baseline contradicts itself.
        """
        self.layout = Layout.of(baseline)
        self.reference = Reference.of(baseline, self.layout)
        self._replicas = Replicas(self.layout, since)
        before = {one.name: one for one in known if _is(one, revision)}
        self.judges = [_judge(one, revision, self.layout, before.get(one.name)) for one in monitors]

    def take(
        self, snapshots: Iterable[Snapshot], now: float, wall: float, hidden: str = ""
    ) -> None:
        """Takes in what the pods have counted, and judges windows that ended.

        Args:
            snapshots: The newest of each pod that answered.
            now: The time, by a clock that never goes back, in seconds.
            wall: Seconds since the epoch.
            hidden: PascalCase reason why requests may have come that are in no snapshot.
        """
        counts = Counts.total(self.layout, [self._replicas.take(one, now) for one in snapshots])
        for judge in self.judges:
            for window in judge.windows.add(wall, counts)[-1:]:
                judge.ended(window, self.reference)
            judge.hidden = hidden or judge.hidden


def _is(one: WindowVerdict, revision: Revision) -> bool:
    return (one.variant, one.revision) == (revision.variant, revision.revision)


def _judge(
    monitor: Monitor, revision: Revision, layout: Layout, before: WindowVerdict | None
) -> Judge:
    recent = before.recent if before is not None else ()
    hysteresis = Hysteresis(monitor.violated_windows, monitor.of_windows, recent)
    windows = Windows(layout, float(monitor.every_seconds))
    return Judge(monitor, revision, windows, hysteresis, before)
