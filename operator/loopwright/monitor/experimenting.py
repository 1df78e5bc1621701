"""An endpoint's experiment: reads what pods have counted, has it judged, and reports.

What a report says is all that is needed to go on: a monitor that was restarted takes the strata of
its last report, and what pods have counted by then as the beginning of what comes. So what was
counted between is lost, for all variants alike, and nothing counts twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from loopwright.api.experiment_report import (
    LONGEST_SILENCE,
    ExperimentConfig,
    ExperimentReport,
)
from loopwright.api.experiment_status import ExperimentFinding
from loopwright.api.feedback import FeedbackSnapshot
from loopwright.api.serving import FEEDBACK_PATH
from loopwright.monitor.experiment import asking, telling
from loopwright.monitor.experiment.judging import judge
from loopwright.monitor.experiment.rounds import Reading, Rounds
from loopwright.monitor.experiment.samples import Stratum, Totals, record
from loopwright.monitor.experiment.verdict import Verdict
from loopwright.monitor.exposition import Sample
from loopwright.monitor.scrape import Foreign
from loopwright.monitor.sketches import Get
from loopwright.monitor.slices import Pod
from loopwright.monitor.windows import Revision

logger = logging.getLogger(__name__)

Result = Sample | Foreign | None
Scraped = Sequence[tuple[Pod, Result]]
MAX_FEEDBACK: Final = 64 * 1024
# What is seen in part for longer is said; pods come and go in less.
PATIENCE: Final = 60.0
# Seconds from one report to the next: of a reason that is another one, and of many more requests.
SOON: Final = 10.0
LATER: Final = 30.0
MORE: Final = 1.1


class Unseen(Exception):
    """Not all can be seen.

    Attributes:
        reason: PascalCase, for the report.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Experimenting:
    """One attempt at an experiment."""

    def __init__(
        self, config: ExperimentConfig, uid: str, get: Get, known: ExperimentReport | None = None
    ) -> None:
        """
        Args:
            known: The report of before this process began.
        """
        self.config, self._uid, self._get = config, uid, get
        self.asked = asking.asked(config)
        self._arms = {Revision(one.variant, one.revision): one.variant for one in config.arms}
        total = sum(one.weight for one in config.arms)
        self._weights = {one.variant: one.weight / total for one in config.arms}
        self._wanted = {self.asked.metric.name, *(it.metric.name for it in self.asked.guardrails)}
        self._slow = asking.slow_bound(config.experiment)
        self._rounds = Rounds()
        self._seen: float | None = None
        """When all could last be seen."""
        self._left_out = 0
        # After a restart the first round tells whether there still is one.
        self._problem = True
        """Whether the report says why not all can be seen."""
        now = config.started_at
        start = telling.finding(judge(self.asked, (), 0.0), now)
        self.report = ExperimentReport(uid=uid, run=config.run, time=now, finding=start)
        """The newest."""
        self._strata: tuple[Stratum, ...] = ()
        self._verdict: Verdict | None = None
        if known is not None and (known.uid, known.run) == (uid, config.run):
            self._go_on(known)

    def _go_on(self, known: ExperimentReport) -> None:
        try:
            self._strata = telling.strata(known.strata, self._weights)
        except ValueError as error:
            logger.warning("the experiment's report makes no sense, and is begun anew: %s", error)
            return
        self.report = known
        self._verdict = telling.violations(known.finding)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.report.finding.decided_at is not None

    async def turn(self, scraped: Scraped, now: float, wall: float) -> None:
        """Takes in a round.

        Args:
            scraped: All pods of the endpoint, and what they said.
            now: The time, by a clock that never goes back, in seconds.
            wall: Seconds since the epoch.
        """
        if self.over or self.config.paused:
            return
        readings, unseen = None, None
        try:
            readings = await self._readings(scraped)
        except Unseen as error:
            unseen = error
        if self._seen is None or unseen is None:
            self._seen = now
        known = self._strata
        try:
            self._learn(readings, unseen, now, wall)
        except ValueError as error:
            # Servers of others may tell anything; drift is watched all the same.
            logger.warning("what pods count makes no sense: %s", error)
            self._strata, self._problem = known, True
            self._say("CountsInvalid", f"what pods count makes no sense: {error}")

    def _learn(
        self, readings: Mapping[str, Reading] | None, unseen: Unseen | None, now: float, wall: float
    ) -> None:
        """Counts, judges and reports.

        Raises:
            ValueError: there are more successes than outcomes.
        """
        new = self._count(readings, now)
        seconds = max(0.0, wall - self.config.started_at.timestamp())
        moment = datetime.fromtimestamp(wall, UTC)
        self.report = self.report.model_copy(update={"time": moment})
        # A verdict takes longer to find than the rest of the round, and says nothing new by itself.
        mended = self._problem and unseen is None
        if new or mended or seconds >= self.config.experiment.max_duration_seconds:
            self._judge(seconds, moment)
        patience = now - (now if self._seen is None else self._seen)
        if unseen is not None and patience >= PATIENCE and not self.over:
            self._problem = True
            self._say(unseen.reason, unseen.message)

    def _count(self, readings: Mapping[str, Reading] | None, now: float) -> bool:
        """Whether a time was added to what is known."""
        increase = self._rounds.take(readings, now)
        if increase is None or not increase:
            return False
        self._strata = record(self._strata, self._weights, increase.arrivals, increase.outcomes)
        return True

    def _judge(self, seconds: float, moment: datetime) -> None:
        verdict = judge(self.asked, self._strata, seconds, self._verdict)
        self._verdict, self._problem = verdict, False
        self.report = self.report.model_copy(
            update={
                "time": moment,
                "finding": telling.finding(verdict, moment),
                "strata": telling.records(self._strata),
                "course": telling.continued(self.report.course, verdict),
            }
        )
        if self._left_out:
            text = f"{self._left_out} values outside of 0 to 1 are left out; kind: Mean takes them"
            self._say(self.report.finding.reason, f"{self.report.finding.message}; {text}")

    def _say(self, reason: str, message: str) -> None:
        update = {"reason": reason, "message": message[:512]}
        finding = self.report.finding.model_copy(update=update)
        self.report = self.report.model_copy(update={"finding": finding})

    async def _readings(self, scraped: Scraped) -> dict[str, Reading]:
        """What all pods of all variants have counted.

        Raises:
            Unseen: of one of them it is not known.
        """
        own = [(pod, result) for pod, result in scraped if pod.revision in self._arms]
        ready = {self._arms[pod.revision] for pod, _ in own if pod.ready}
        for name in self._weights:
            if name not in ready:
                text = f"variant {name} has no pod that is ready, so nothing can be compared"
                raise Unseen("VariantNotReady", text)
        seen = [(pod, one) for pod, result in own if (one := _sample(pod, result)) is not None]
        told = await self._feedback([pod for pod, _ in seen])
        about = {told[pod.uid].own: self._arms[pod.revision] for pod, _ in seen if pod.uid in told}
        return {
            pod.uid: self._reading(pod, sample, told.get(pod.uid), about) for pod, sample in seen
        }

    def _reading(
        self, pod: Pod, sample: Sample, told: FeedbackSnapshot | None, about: Mapping[str, str]
    ) -> Reading:
        name, counters = self._arms[pod.revision], sample.counters
        outcomes: dict[str, dict[str, Totals]] = {}
        if asking.ERROR_RATIO in self._wanted:
            outcomes[asking.ERROR_RATIO] = {name: Totals(counters.requests, counters.errors)}
        for slow_metric, bound in self._slow.items():
            slow = asking.slow(counters.buckets, bound)
            if slow is None:
                text = (
                    f"the server of variant {name} has no latency bucket that ends at {bound:g} s"
                )
                raise Unseen("NoMetrics", text)
            outcomes[slow_metric] = {name: slow}
        metric = self.config.experiment.metric.feedback
        if told is not None and metric is not None:
            outcomes[self.asked.metric.name] = {
                about[one.about]: asking.outcomes(self.asked.metric.kind, one)
                for one in told.counts
                if one.name == metric.name and one.about in about
            }
        return Reading(
            variant=name,
            arrivals=counters.requests + sample.in_flight,
            outcomes=outcomes,
            started=sample.started,
            process=told.process if told is not None else "",
        )

    async def _feedback(self, pods: Sequence[Pod]) -> dict[str, FeedbackSnapshot]:
        """What each pod has counted of feedback, if that is asked for.

        Raises:
            Unseen: one of them does not say.
        """
        metric = self.config.experiment.metric.feedback
        if metric is None:
            return {}
        answers = await asyncio.gather(
            *(self._get(p.url + FEEDBACK_PATH, MAX_FEEDBACK) for p in pods)
        )
        found = {}
        for pod, answer in zip(pods, answers, strict=True):
            name = pod.revision.variant
            if answer is None:
                raise Unseen("PodsUnreachable", f"a pod of variant {name} does not answer")
            try:
                if answer[0] != 200:
                    raise ValueError(f"HTTP {answer[0]}")
                found[pod.uid] = FeedbackSnapshot.model_validate_json(answer[1])
            except (ValidationError, ValueError) as error:
                logger.warning("%s: %s", pod.url, error)
                text = (
                    f"the server of variant {name} takes no feedback; use Loopwright's own of this"
                    " release (an older one is replaced when the variant gets a new revision)"
                )
                raise Unseen("NoFeedback", text) from error
        if metric.kind == "Proportion":
            told = [one for it in found.values() for one in it.counts if one.name == metric.name]
            self._left_out = sum(one.count - one.parts for one in told)
        return found


def _sample(pod: Pod, result: Result) -> Sample | None:
    """What a pod has counted; None of one that does not answer, and need not.

    Raises:
        Unseen: it should have.
    """
    name = pod.revision.variant
    if isinstance(result, Foreign):
        text = (
            f"the server of variant {name} has no metrics loopwright_serving_*; experiments take"
            " Loopwright's own"
        )
        raise Unseen("NoMetrics", text)
    if result is None and pod.ready:
        text = (
            f"a pod of variant {name} is ready but does not answer on /metrics; let network"
            " policies admit pods labelled app.kubernetes.io/name: loopwright-monitor"
        )
        raise Unseen("PodsUnreachable", text)
    return result


def due(report: ExperimentReport, written: ExperimentReport | None) -> bool:
    """Whether a report has to be written: soon when it says something else, else now and then."""
    if written is None:
        return True
    finding, before = report.finding, written.finding
    if finding.decided_at is not None:
        return before.decided_at is None
    age = (report.time - written.time).total_seconds()
    if _outline(finding) != _outline(before):
        return not 0 <= age < SOON
    if not 0 <= age < LONGEST_SILENCE:
        return True
    return age >= LATER and report.arrivals >= MORE * written.arrivals > 0


def _outline(finding: ExperimentFinding) -> list[object]:
    violated = [
        (one.name, it.metric, it.state) for one in finding.variants for it in one.guardrails
    ]
    return [finding.reason, violated]
