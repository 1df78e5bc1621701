"""From counters of processes, which begin anew with each, to what happened in a window.

Pure: time is given. Differences belong to the pod that counted, and are put to the revision's
account when a scrape shows them; so what a pod has answered stays in the window when it is gone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Final, NamedTuple

from loopwright.monitor.exposition import Counters, Sample

NOTHING: Final = Counters()
# Some clients compute a process's start from a clock that is adjusted while it runs.
JITTER: Final = 2.0


class Revision(NamedTuple):
    """A revision of a variant; ordered as reports are."""

    variant: str
    revision: str


class _Seen(NamedTuple):
    time: float
    sample: Sample


@dataclass
class _Account:
    since: float
    """From when on nothing of the revision was missed."""
    changes: deque[tuple[float, Counters]] = field(default_factory=deque)


@dataclass(frozen=True)
class Window:
    """What a revision did in the window."""

    counters: Counters
    seconds: float
    """Part of the window in which it was watched."""


class History:
    """What the last `seconds` brought. Times are of a clock that never goes back, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._now = 0.0
        # By the UID of pods. Nothing here is older than the window.
        self._last: dict[str, _Seen] = {}
        self._accounts: dict[Revision, _Account] = {}

    def advance(self, now: float) -> None:
        """Moves the window's end, and drops what is older: no difference ever spans more."""
        self._now, start = now, now - self.seconds
        self._last = {pod: seen for pod, seen in self._last.items() if seen.time > start}
        for account in self._accounts.values():
            while account.changes and account.changes[0][0] <= start:
                account.changes.popleft()
        self._accounts = {
            one: account for one, account in self._accounts.items() if account.changes
        }

    def take(self, revision: Revision, pod: str, sample: Sample, age: float | None) -> None:
        """Takes in a scrape of now.

        Args:
            pod: UID of the pod.
            age: Seconds since the pod's process began, if that is known.
        """
        last = self._last.get(pod)
        self._last[pod] = _Seen(self._now, sample)
        if last is not None and _same_process(last.sample, sample):
            before, since = last.sample.counters, last.time
        elif last is not None or (age is not None and age < self.seconds):
            # Another process than the last time, or one that began in the window: all that it
            # counts happened in it.
            before, since = NOTHING, self._now - min(max(age or 0.0, 0.0), self.seconds)
        else:
            before, since = sample.counters, self._now
        self._add(self._accounts.setdefault(revision, _Account(since)), sample.counters - before)

    def _add(self, account: _Account, counters: Counters) -> None:
        if account.changes and account.changes[-1][0] == self._now:
            counters += account.changes.pop()[1]
        account.changes.append((self._now, counters))

    def window(self, revision: Revision) -> Window:
        """What a revision did in the window that ends now."""
        account = self._accounts.get(revision)
        if account is None:
            return Window(NOTHING, 0.0)
        total = reduce(add, (counters for _, counters in account.changes), NOTHING)
        return Window(total, min(self._now - account.since, self.seconds))

    def scraped(self, pod: str, within: float) -> bool:
        """Whether a pod has answered within the last seconds."""
        last = self._last.get(pod)
        return last is not None and self._now - last.time <= within


def _same_process(before: Sample, now: Sample) -> bool:
    began, begins = before.started, now.started
    if began is not None and begins is not None and abs(begins - began) > JITTER:
        return False
    return now.counters.follows(before.counters)
