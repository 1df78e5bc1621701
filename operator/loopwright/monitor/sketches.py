"""Asks all pods what they have counted, and keeps the monitors of each revision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from loopwright.api.baseline import Baseline
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.monitoring_status import MonitorState, WindowVerdict
from loopwright.api.serving import BASELINE_PATH, SKETCH_PATH
from loopwright.monitor.drifting import Drifting
from loopwright.monitor.slices import Pod
from loopwright.monitor.windows import Revision
from loopwright.sketch import Snapshot, max_bytes

logger = logging.getLogger(__name__)

Get = Callable[[str, int], Awaitable[tuple[int, bytes] | None]]
"""From a URL and the bytes that an answer may have to its status and body; None without one."""

# As much as model.json may have.
MAX_BASELINE: Final = 32 * 1024 * 1024
# Pods are asked so often within the shortest window, though no more than every interval.
PARTS: Final = 20
LONGEST: Final = 60.0
# A ready pod may miss so many turns before its requests count as hidden.
MISSES: Final = 3

_PROBLEMS: Final = {
    "NoSketches": (
        "the server counts nothing; use Loopwright's own, or count with loopwright.sketch in yours"
    ),
    "NoBaseline": (
        "the model has no profile of its training data to compare with; save it with"
        " train.save_model(..., baseline=...)"
    ),
    "BaselineInvalid": "the model's profile of its training data makes no sense; save it again",
    "CountsInvalid": "what the pods count cannot be read; are all of this release?",
}


@dataclass
class _Watch:
    """A revision that is watched."""

    drifting: Drifting | None = None
    problem: str = ""
    """Why it cannot be."""


class Sketches:
    """The monitors of all revisions of an endpoint."""

    def __init__(
        self, config: MonitorConfig, get: Get, known: Sequence[WindowVerdict], now: float
    ) -> None:
        """
        Args:
            known: Verdicts of before this process began.
            now: The time, by the clock of `turn`.
        """
        self._config, self._get, self._known = config, get, known
        self._since = self._turned = now
        self._watches: dict[Revision, _Watch] = {}
        # Whose rows of before are in windows already, so that they must not be counted again.
        self._begun: set[Revision] = set()
        self._silent: dict[str, int] = {}

    @property
    def every(self) -> float:
        """Seconds between two turns."""
        shortest = min(one.every_seconds for one in self._config.monitors)
        return max(self._config.interval_seconds, min(LONGEST, shortest / PARTS))

    async def turn(self, pods: Sequence[Pod], now: float, wall: float) -> None:
        """Asks all pods that are watched, unless that was done a moment ago.

        Args:
            now: The time, by a clock that never goes back, in seconds.
            wall: Seconds since the epoch.
        """
        if not self._config.monitors or now - self._turned < self.every:
            return
        self._turned = now
        by_revision: dict[Revision, list[Pod]] = {}
        for pod in pods:
            if any(one.watches(pod.revision.variant) for one in self._config.monitors):
                by_revision.setdefault(pod.revision, []).append(pod)
        self._watches = {one: self._watches.get(one) or _Watch() for one in by_revision}
        self._silent = {pod.uid: self._silent.get(pod.uid, 0) for pod in pods}
        await asyncio.gather(
            *(self._one(one, found, now, wall) for one, found in by_revision.items())
        )

    def verdicts(self) -> list[WindowVerdict]:
        """The newest of each monitor and revision, ordered."""
        found = []
        for revision, watch in self._watches.items():
            if watch.drifting is not None:
                found += [one.verdict for one in watch.drifting.judges if one.verdict is not None]
            elif watch.problem:
                found += self._unknown(revision, watch.problem)
        return sorted(found, key=lambda one: (one.name, one.variant, one.revision))

    def drifting(self) -> dict[Revision, Drifting]:
        """What is known in full of each revision that can be judged."""
        return {
            one: watch.drifting
            for one, watch in self._watches.items()
            if watch.drifting is not None
        }

    def _unknown(self, revision: Revision, problem: str) -> list[WindowVerdict]:
        return [
            WindowVerdict(
                name=one.name, variant=revision.variant, revision=revision.revision,
                state=MonitorState.UNKNOWN, reason=problem, message=_PROBLEMS[problem],
            )
            for one in self._config.monitors
            if one.watches(revision.variant)
        ]  # fmt: skip

    async def _one(self, revision: Revision, pods: list[Pod], now: float, wall: float) -> None:
        watch = self._watches[revision]
        if watch.drifting is None:
            await self._begin(watch, revision, pods, now)
        if watch.drifting is None:
            return
        limit = max_bytes(watch.drifting.layout)
        answers = await asyncio.gather(*(self._get(p.url + SKETCH_PATH, limit) for p in pods))
        snapshots = []
        for pod, answer in zip(pods, answers, strict=True):
            if answer is None or answer[0] != 200:
                self._silent[pod.uid] += 1
                continue
            self._silent[pod.uid] = 0
            try:
                snapshots.append(Snapshot.parse(answer[1], watch.drifting.layout))
            except ValueError as error:
                logger.warning("%s: %s", pod.url, error)
                watch.drifting, watch.problem = None, "CountsInvalid"
                return
        hidden = any(pod.ready and self._silent[pod.uid] >= MISSES for pod in pods)
        try:
            watch.drifting.take(snapshots, now, wall, "PodsUnreachable" if hidden else "")
        except ValueError as error:
            logger.warning("variant %s: %s", revision.variant, error)
            watch.drifting, watch.problem = None, "CountsInvalid"

    async def _begin(self, watch: _Watch, revision: Revision, pods: list[Pod], now: float) -> None:
        """Gets the baseline from the first pod that answers; all of a revision have the same."""
        for pod in pods:
            answer = await self._get(pod.url + BASELINE_PATH, MAX_BASELINE)
            if answer is None or answer[0] >= 500:
                continue
            status, body = answer
            if status != 200:
                watch.problem = "NoBaseline" if status == 204 else "NoSketches"
                return
            try:
                baseline = Baseline.model_validate_json(body)
                monitors = [o for o in self._config.monitors if o.watches(revision.variant)]
                since = now if revision in self._begun else self._since
                watch.drifting = Drifting(revision, baseline, monitors, self._known, since)
            except (ValidationError, ValueError) as error:
                logger.warning("%s: %s", pod.url, error)
                watch.problem = "BaselineInvalid"
            else:
                watch.problem = ""
                self._begun.add(revision)
            return
