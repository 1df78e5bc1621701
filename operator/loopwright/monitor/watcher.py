"""The monitor's round: scrape all pods, take the differences, report what changed."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.capture_report import REPEAT, CaptureReport
from loopwright.api.endpoint_report import (
    MAX_REVISIONS,
    EndpointReport,
    MonitorConfig,
    VariantReport,
    VariantState,
    VerdictsReport,
)
from loopwright.api.experiment_report import ExperimentReport
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.monitor import experimenting
from loopwright.monitor.capturing import Capturing
from loopwright.monitor.cluster import Cluster, Refused
from loopwright.monitor.experimenting import Experimenting
from loopwright.monitor.exposition import Sample
from loopwright.monitor.measure import Pods, measure
from loopwright.monitor.quality import Quality
from loopwright.monitor.scrape import Foreign, Scraper
from loopwright.monitor.sketches import Sketches
from loopwright.monitor.slices import Pod, pods, revisions
from loopwright.monitor.windows import History, Revision

logger = logging.getLogger(__name__)

# A ready pod may miss so many scrapes before it counts as hidden.
MISSES: Final = 3
# Between attempts to read what was found before.
PAUSE: Final = 5.0

Result = Sample | Foreign | None
M = TypeVar("M", VerdictsReport, ExperimentReport)


class Watcher:
    """Watches one endpoint."""

    def __init__(self, config: MonitorConfig, cluster: Cluster, scraper: Scraper) -> None:
        self.config, self._cluster, self._scraper = config, cluster, scraper
        self._history = History(config.window_seconds)
        # When a pod was first seen, by its UID: it may not have had the time to answer.
        self._known: dict[str, float] = {}
        self._started = self.turned = time.monotonic()
        self._turned = asyncio.Event()
        self.report: EndpointReport | None = None
        """The newest."""
        self._written: EndpointReport | None = None
        self._told: list[WindowVerdict] = []
        self._go_on(self._started)
        self._capturing = Capturing()
        self.capture: CaptureReport | None = None
        """The newest, if anything is captured."""
        self._capture_written: CaptureReport | None = None
        self.experiment = self._experiment(None)
        self._judged: ExperimentReport | None = None
        """The experiment's report that was last written."""

    async def run(self) -> None:
        """Turns a round every interval, for ever."""
        await self._cluster.synced.wait()
        mailbox = await self._remembered()
        verdicts = self._left(mailbox, names.VERDICTS_KEY, VerdictsReport)
        self._told = verdicts.verdicts if verdicts is not None else []
        judged = self._left(mailbox, names.EXPERIMENT_KEY, ExperimentReport)
        self.experiment = self._experiment(judged)
        if self.experiment is not None and self.experiment.report is judged:
            self._judged = judged
        self._started = then = time.monotonic()
        self._go_on(then)
        while True:
            await self.turn()
            # A round that took too long is not made up for.
            then = max(then + self.config.interval_seconds, time.monotonic())
            await asyncio.sleep(then - time.monotonic())

    async def turn(self) -> None:
        """One round."""
        slices = self._cluster.slices
        found, there = pods(slices, self.config.port), revisions(slices)
        scraped = list(zip(found, await self._scraper.scrape(found), strict=True))
        now = time.monotonic()
        self._known = {pod.uid: self._known.get(pod.uid, now) for pod in found}
        self._history.advance(now)
        for pod, result in scraped:
            if isinstance(result, Sample):
                self._history.take(pod.revision, pod.uid, result, _age(result))
        self.report = self._make(there, scraped, now)
        if self.config.capture:
            known = self._capturing.turn(there[:MAX_REVISIONS], scraped, now)
            self.capture = CaptureReport(
                uid=self.config.uid, time=datetime.now(UTC), variants=known
            )
        await self.sketches.turn(found, now, time.time())
        self.quality.turn(there, datetime.now(UTC))
        if self.experiment is not None:
            await self.experiment.turn(scraped, now, time.time())
        self._turned.set()
        self.turned = now

    def _make(
        self, found: list[Revision], scraped: list[tuple[Pod, Result]], now: float
    ) -> EndpointReport:
        if len(found) > MAX_REVISIONS:
            logger.warning("%d revisions are too many to report", len(found))
        end = datetime.now(UTC)
        seconds = min(now - self._started, self.config.window_seconds)
        variants = []
        for one in found[:MAX_REVISIONS]:
            own = [(pod, result) for pod, result in scraped if pod.revision == one]
            variants.append(self._measure(one, own, now))
        return EndpointReport(
            uid=self.config.uid,
            time=end,
            active=max(Counter(one.variant for one in found).values(), default=0) > 1,
            report_seconds=self.config.report_seconds,
            window_start=end - timedelta(seconds=seconds),
            window_end=end,
            variants=variants,
        )

    def _measure(self, one: Revision, own: list[tuple[Pod, Result]], now: float) -> VariantReport:
        samples = [result for _, result in own if isinstance(result, Sample)]
        patience = MISSES * self.config.interval_seconds
        hidden = [
            pod
            for pod, result in own
            if result is None and pod.ready and now - self._known[pod.uid] > patience
            and not self._history.scraped(pod.uid, patience)
        ]  # fmt: skip
        seen = Pods(
            all=len(own),
            scraped=len(samples),
            hidden=len(hidden),
            foreign=sum(pod.ready and isinstance(result, Foreign) for pod, result in own),
            in_flight=round(sum(sample.in_flight for sample in samples)),
        )
        return measure(self.config, one, seen, self._history.window(one))

    async def write(self) -> None:
        """Writes reports that are due, for ever; rounds do not wait for the API server."""
        while True:
            await self._turned.wait()
            self._turned.clear()
            try:
                await self._write()
            except Refused as refused:
                # The next round tries again.
                logger.warning("the report was not stored: %s", refused)

    async def _write(self) -> None:
        report, verdicts = self.report, self.verdicts()
        if verdicts != self._told:
            now = datetime.now(UTC)
            made = VerdictsReport(uid=self.config.uid, time=now, verdicts=verdicts)
            await self._cluster.write(names.VERDICTS_KEY, made)
            self._told = verdicts
        if self.experiment is not None:
            await self._write_experiment(self.experiment.report)
        if report is not None and due(report, self._written):
            await self._cluster.write(names.REPORT_KEY, report)
            self._written = report
        capture, before = self.capture, self._capture_written
        if capture is not None and _news(capture, before):
            await self._cluster.write(names.CAPTURE_KEY, capture)
            self._capture_written = capture

    async def _write_experiment(self, report: ExperimentReport) -> None:
        if experimenting.due(report, self._judged):
            await self._cluster.write(names.EXPERIMENT_KEY, report)
            self._judged = report

    def verdicts(self) -> list[WindowVerdict]:
        """The newest of each monitor and revision, ordered."""
        found = [*self.sketches.verdicts(), *self.quality.verdicts()]
        return sorted(found, key=lambda one: (one.name, one.variant, one.revision))

    def _go_on(self, now: float) -> None:
        """Begins to watch, knowing what was told before."""
        counted = [one for one in self.config.monitors if one.quality is None]
        config = self.config.model_copy(update={"monitors": counted})
        self.sketches = Sketches(config, self._scraper.get, self._told, now)
        folder = Path(os.environ.get(names.ENV_QUALITY_DIR, names.QUALITY_DIR))
        self.quality = Quality(
            self.config.monitors, self.config.uid, folder, self._told, datetime.now(UTC)
        )

    def _experiment(self, known: ExperimentReport | None) -> Experimenting | None:
        config = self.config.experiment
        if config is None:
            return None
        return Experimenting(config, self.config.uid, self._scraper.get, known)

    async def _remembered(self) -> Mapping[str, str]:
        """The mailbox, as it was left before this process began."""
        if not self.config.monitors and self.config.experiment is None:
            return {}
        while True:
            try:
                return await self._cluster.read()
            except Refused as refused:
                # Without it an alarm would be forgotten; nothing can be reported now anyway.
                logger.warning("the report cannot be read: %s", refused)
                await asyncio.sleep(PAUSE)

    def _left(self, mailbox: Mapping[str, str], key: str, model: type[M]) -> M | None:
        """A report of before, if it is of this endpoint."""
        text = mailbox.get(key)
        try:
            found = model.model_validate_json(text) if text else None
        except ValidationError as error:
            logger.warning("the report makes no sense, and is begun anew: %s", error)
            return None
        return found if found is not None and found.uid == self.config.uid else None


def _age(sample: Sample) -> float | None:
    return None if sample.started is None else time.time() - sample.started


def due(report: EndpointReport, written: EndpointReport | None) -> bool:
    """Whether a report has to be written: nothing is while nothing happens."""
    if written is None or _outline(report) != _outline(written):
        return True
    age = (report.time - written.time).total_seconds()
    return report.active and not 0 <= age < report.report_seconds


def _outline(report: EndpointReport) -> list[object]:
    return [
        report.active,
        *((one.name, one.revision, _hidden(one)) for one in report.variants),
    ]


def _hidden(one: VariantReport) -> str:
    return one.reason if one.state is VariantState.UNKNOWN else ""


def _news(capture: CaptureReport, written: CaptureReport | None) -> bool:
    """Whether it says something new, or it is time to show that it still holds."""
    if written is None or _states(capture) != _states(written):
        return True
    return capture.time - written.time >= REPEAT


def _states(capture: CaptureReport) -> list[tuple[str, str, str]]:
    return [(one.name, one.revision, one.reason) for one in capture.variants]
