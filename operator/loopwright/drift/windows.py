"""From cumulative snapshots of processes to windows over all of them. Time is given.

A window is a sum of panes, so that a sliding one needs as much memory as panes fit in it, however
often processes are asked (Li et al., "No pane, no gain", SIGMOD Record 2005).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from loopwright.sketch import Counts, Layout, Snapshot


class Replicas:
    """What processes have counted since they were last asked."""

    def __init__(self, layout: Layout, since: float, forget: float = 3600.0) -> None:
        """
        Args:
            layout: Of all snapshots.
            since: When watching began: by a clock that never goes back, in seconds.
            forget: Seconds after which a process that does not answer is forgotten.
        """
        self.layout = layout
        self._since, self._forget = since, forget
        self._last: dict[bytes, tuple[float, Counts]] = {}

    def take(self, snapshot: Snapshot, now: float) -> Counts:
        """What the process has counted since the last snapshot of it.

        Of a new process that began after watching did: all. Of an older one the first snapshot
        says only where to count from.

        Args:
            snapshot: Its newest.
            now: The time, by the clock of `since`.

        Raises:
            ValueError: it has another layout, or has counted less than before.
        """
        if snapshot.counts.layout != self.layout:
            raise ValueError("the snapshot has another layout")
        self._last = {
            one: seen for one, seen in self._last.items() if now - seen[0] <= self._forget
        }
        before = self._last.get(snapshot.process)
        if before is not None and not snapshot.counts.follows(before[1]):
            raise ValueError("a process has counted less than before")
        self._last[snapshot.process] = now, snapshot.counts
        if before is not None:
            return snapshot.counts - before[1]
        # One that was forgotten is older than that.
        if snapshot.age <= min(now - self._since, self._forget):
            return snapshot.counts
        return Counts.zero(self.layout)


@dataclass(frozen=True, eq=False)
class Window:
    """What was counted from `start`, which is not before watching began, to `end`."""

    start: float
    end: float
    counts: Counts


@dataclass
class _Pane:
    end: float
    counts: Counts


class Windows:
    """Tumbling windows, or sliding ones that overlap."""

    def __init__(self, layout: Layout, seconds: float, slide: float | None = None) -> None:
        """
        Args:
            layout: Of all counts.
            seconds: Length of a window.
            slide: From one window's end to the next one's; `seconds` must be a multiple of it.
                None: as long as a window is, so that windows do not overlap.

        Raises:
            ValueError: it is no multiple.
        """
        self._slide = seconds if slide is None else slide
        panes = round(seconds / self._slide) if min(seconds, self._slide) > 0 else 0
        if not panes or abs(panes * self._slide - seconds) > 1e-6 * seconds:
            raise ValueError(f"windows of {seconds} s cannot slide by {slide} s")
        self.seconds = seconds
        self._layout = layout
        self._panes: deque[_Pane] = deque(maxlen=panes)

    def add(self, now: float, counts: Counts) -> list[Window]:
        """Takes in what was counted until now; returns windows that ended before, oldest first.

        Windows end at multiples of `slide`. What is told after the end of one belongs to the next
        one, though part of it may have happened before: ask often.

        Raises:
            ValueError: the counts have another layout.
        """
        ended = self.ended(now)
        pane = self._panes[-1]
        pane.counts = pane.counts + counts
        return ended

    def ended(self, now: float) -> list[Window]:
        """Windows that have ended since the last call, oldest first; of a long silence only those
        that hold anything."""
        if not self._panes:
            self._open(now)
        found = []
        while self._panes[-1].end <= now:
            end = self._panes[-1].end
            found.append(self._window(end))
            if len(found) > len(self._panes):
                # Nobody has called for longer than windows are: what is between is empty.
                self._panes.clear()
                self._open(now)
                break
            self._panes.append(_Pane(end + self._slide, Counts.zero(self._layout)))
        return found

    def _open(self, now: float) -> None:
        self._opened = now
        end = (now // self._slide + 1) * self._slide
        self._panes.append(_Pane(end, Counts.zero(self._layout)))

    def _window(self, end: float) -> Window:
        counts = Counts.total(self._layout, (one.counts for one in self._panes))
        return Window(max(end - self.seconds, self._opened), end, counts)
