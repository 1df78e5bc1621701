"""Experiments over what pods have counted: judged, reported, and gone on with."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loopwright.api.experiment import Experiment
from loopwright.api.experiment_report import (
    MAX_EXPERIMENT_BYTES,
    MAX_POINTS,
    ExperimentConfig,
    ExperimentReport,
)
from loopwright.api.experiment_status import Arm
from loopwright.monitor.experiment.rounds import SETTLE
from loopwright.monitor.experimenting import (
    LONGEST_SILENCE,
    PATIENCE,
    Experimenting,
    Result,
    due,
)
from loopwright.monitor.exposition import Counters, Sample
from loopwright.monitor.scrape import Foreign
from loopwright.monitor.slices import Pod
from loopwright.monitor.windows import Revision

START = datetime(2026, 1, 1, tzinfo=UTC)
CLICKED = {"feedback": {"name": "clicked"}}
ROUND = 5.0


@dataclass
class Server:
    """A pod of a variant, and what its process has counted."""

    variant: str
    uid: str
    mode: str = "ours"
    ready: bool = True
    process: int = 0
    requests: int = 0
    errors: int = 0
    slow: int = 0
    feedback: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def hear(self, name: str, variant: str, value: float) -> None:
        """Counts an outcome of a variant's answer."""
        empty = {"count": 0, "total": 0.0, "squares": 0.0, "parts": 0, "partsTotal": 0.0}
        sums = self.feedback.setdefault((name, variant), empty)
        part = 0 <= value <= 1
        for key, more in (("count", 1), ("total", value), ("squares", value * value),
                          ("parts", part), ("partsTotal", value * part)):  # fmt: skip
            sums[key] += more

    @property
    def pod(self) -> Pod:
        """As EndpointSlices have it."""
        return Pod(self.uid, Revision(self.variant, "r1"), f"http://{self.uid}", self.ready)

    def restart(self) -> None:
        """Begins a new process."""
        self.process += 1
        self.requests = self.errors = self.slow = 0
        self.feedback = {}

    def result(self) -> Result:
        """What /metrics says."""
        if self.mode != "ours":
            return Foreign() if self.mode == "foreign" else None
        buckets = {0.25: float(self.requests - self.slow), float("inf"): float(self.requests)}
        counters = Counters(float(self.requests), float(self.errors), buckets)
        return Sample(counters, 0.0, 1000.0 * self.process)

    def told(self) -> bytes:
        """What it says of feedback."""
        counts = [
            {"name": name, "about": f"{variant}.00000000", **sums}
            for (name, variant), sums in self.feedback.items()
        ]
        head = {"process": f"{self.uid}-{self.process}", "own": f"{self.variant}.00000000"}
        return json.dumps({**head, "counts": counts}).encode()


class World:
    """Two variants, a gateway, and clients."""

    def __init__(self, *, weights: tuple[int, int] = (50, 50), **asked: Any) -> None:
        self.servers = [Server("main", "a"), Server("next", "b")]
        self.now, self.chance = 0.0, random.Random(7)  # noqa: S311
        self.weights = weights
        arms = [
            Arm(variant=name, revision="r1", weight=weight)
            for name, weight in zip(("main", "next"), weights, strict=True)
        ]
        spec = Experiment.model_validate({"control": "main", "metric": CLICKED, **asked})
        self.config = ExperimentConfig(run="run-1", started_at=START, arms=arms, experiment=spec)
        self.experiment = Experimenting(self.config, "u", self.get)

    @property
    def report(self) -> ExperimentReport:
        """The newest."""
        return self.experiment.report

    @property
    def reason(self) -> str:
        """What it says in a word."""
        return self.report.finding.reason

    def samples(self) -> dict[str, int]:
        """Outcomes by variant."""
        return {one.name: one.samples for one in self.report.finding.variants}

    async def get(self, url: str, _: int) -> tuple[int, bytes] | None:
        """What a pod answers."""
        [server] = [one for one in self.servers if url.startswith(one.pod.url)]
        if server.mode == "silent":
            return None
        return (404, b"") if server.mode == "old" else (200, server.told())

    def ask(self, number: int, rates: dict[str, float], kind: str = "clicked") -> None:
        """Clients ask so many times; what happens to each variant's answers, and how often."""
        for _ in range(number):
            variant = self.chance.choices(("main", "next"), self.weights)[0]
            server = self.chance.choice([s for s in self.servers if s.variant == variant])
            server.requests += 1
            bad = self.chance.random() < rates[variant]
            if kind == "clicked":
                self.chance.choice(self.servers).hear("clicked", variant, float(bad))
            else:
                setattr(server, kind, getattr(server, kind) + bad)

    async def turn(self, seconds: float = ROUND) -> None:
        """A round."""
        self.now += seconds
        scraped = [
            (one.pod, result)
            for one in self.servers
            for result in [one.result() if one.mode in ("ours", "foreign") else None]
        ]
        wall = START.timestamp() + self.now
        await self.experiment.turn(self._with_feedback_only(scraped), self.now, wall)

    def _with_feedback_only(
        self, scraped: Sequence[tuple[Pod, Result]]
    ) -> Sequence[tuple[Pod, Result]]:
        """A server of before feedback has metrics all the same."""
        old = {one.uid: one for one in self.servers if one.mode == "old"}
        metrics = Sample(Counters(1.0))
        return [(pod, metrics if pod.uid in old else result) for pod, result in scraped]

    async def settle(self) -> None:
        """Until the first round that counts."""
        for _ in range(int(SETTLE / ROUND) + 1):
            await self.turn()

    async def go(
        self, rounds: int, number: int, rates: dict[str, float], kind: str = "clicked"
    ) -> None:
        """So many rounds, or until it is over."""
        for _ in range(rounds):
            if self.experiment.over:
                return
            self.ask(number, rates, kind)
            await self.turn()

    def restarted(self, known: ExperimentReport | None) -> None:
        """Another monitor goes on from a report, as it was stored."""
        text = known.model_dump_json(by_alias=True, exclude_none=True) if known else None
        back = ExperimentReport.model_validate_json(text) if text else None
        self.experiment = Experimenting(self.config, "u", self.get, back)


async def test_the_better_variant_wins() -> None:
    world = World()
    await world.settle()
    assert world.reason == "NoSamples"
    await world.go(100, 200, {"main": 0.1, "next": 0.2})
    finding = world.report.finding
    assert (finding.reason, finding.winner) == ("Won", "next")
    assert finding.decided_at == START + timedelta(seconds=world.now)
    control, treatment = finding.variants
    assert (control.name, control.effect, control.p_value) == ("main", "", "")
    assert float(treatment.low) > 0
    assert float(finding.p_value) <= 0.05
    assert min(one.samples for one in finding.variants) >= 1000
    before = world.report
    await world.go(3, 200, {"main": 0.9, "next": 0.0})
    await world.turn()
    assert world.report is before


async def test_equal_variants_end_with_the_time() -> None:
    world = World(maxDurationSeconds=600, minSamples=100)
    await world.settle()
    while not world.experiment.over:
        world.ask(100, {"main": 0.1, "next": 0.1})
        await world.turn(30.0)
    assert (world.reason, world.report.finding.winner) == ("NoDifference", "")
    assert world.now >= 600


async def test_fewer_errors_win() -> None:
    world = World(metric={"errorRatio": {}}, minSamples=100)
    await world.settle()
    await world.go(100, 200, {"main": 0.2, "next": 0.02}, "errors")
    assert (world.reason, world.report.finding.winner) == ("Won", "next")


async def test_a_slow_treatment_loses_by_its_guardrail() -> None:
    guardrails = {"latency": {"slowerThanMilliseconds": 250}}
    world = World(metric={"errorRatio": {}}, guardrails=guardrails, minSamples=100)
    await world.settle()
    await world.go(200, 200, {"main": 0.01, "next": 0.2}, "slow")
    finding = world.report.finding
    assert (finding.reason, finding.winner) == ("GuardrailFailed", "main")
    [state] = [it.state for one in finding.variants for it in one.guardrails]
    assert state == "Violated"


async def test_a_violation_outlives_the_monitor() -> None:
    """Which treatment is out must not depend on when somebody was restarted."""
    world = World(guardrails={"errorRatio": {}}, minSamples=1_000_000)
    world.experiment.report = world.report.model_copy(
        update={"finding": world.report.finding.model_copy(update={"variants": [
            world.report.finding.variants[0],
            world.report.finding.variants[1].model_copy(update={"guardrails": [
                world.report.finding.variants[1].guardrails[0].model_copy(
                    update={"state": "Violated"})]}),
        ]})}
    )  # fmt: skip
    world.restarted(world.report)
    await world.turn()
    assert (world.reason, world.report.finding.winner) == ("GuardrailFailed", "main")


async def test_requests_that_get_lost_are_noticed() -> None:
    world = World()
    await world.settle()
    world.weights = (60, 40)
    await world.go(100, 400, {"main": 0.1, "next": 0.1})
    assert world.reason == "SampleRatioMismatch"
    assert "weights" in world.report.finding.message
    assert world.report.finding.sample_ratio.expected == "main 50.0%, next 50.0%"


async def test_a_monitor_that_is_killed_loses_nothing_that_it_has_reported() -> None:
    world = World(minSamples=100_000)
    await world.settle()
    await world.go(20, 200, {"main": 0.1, "next": 0.2})
    known, counted = world.report, world.samples()
    assert sum(counted.values()) == 4000
    world.ask(500, {"main": 0.1, "next": 0.2})
    world.restarted(known)
    assert world.samples() == counted
    # What nobody saw is left out, whoever it belongs to; then it goes on.
    await world.settle()
    assert world.samples() == counted
    await world.go(5, 100, {"main": 0.1, "next": 0.2})
    assert sum(world.samples().values()) == 4500


async def test_a_decision_outlives_the_monitor() -> None:
    world = World(minSamples=100)
    await world.settle()
    await world.go(100, 200, {"main": 0.1, "next": 0.3})
    known = world.report
    world.restarted(known)
    assert world.experiment.over
    await world.go(5, 200, {"main": 0.9, "next": 0.0})
    assert world.report == known


async def test_a_report_of_another_attempt_is_not_gone_on_from() -> None:
    world = World(minSamples=100)
    await world.settle()
    await world.go(100, 200, {"main": 0.1, "next": 0.3})
    for other in ({"run": "run-0"}, {"uid": "another"}):
        world.restarted(world.report.model_copy(update=other))
        assert not world.experiment.over
        assert world.report.strata == []
        world.restarted(None)


async def test_pods_that_restart_come_and_go_count_once() -> None:
    world = World(minSamples=100_000)
    await world.settle()
    rates = {"main": 0.1, "next": 0.1}
    await world.go(10, 100, rates)
    assert sum(world.samples().values()) == 1000
    world.ask(100, rates)
    world.servers[1].restart()
    await world.turn()
    await world.go(2, 100, rates)
    assert sum(world.samples().values()) == 1200
    world.servers.append(Server("next", "c"))
    await world.go(3, 100, rates)
    assert sum(world.samples().values()) == 1400
    del world.servers[1]
    await world.go(3, 100, rates)
    assert sum(world.samples().values()) == 1600


async def test_while_a_variant_is_away_nothing_counts() -> None:
    world = World(minSamples=100_000)
    await world.settle()
    rates = {"main": 0.1, "next": 0.1}
    await world.go(5, 100, rates)
    world.servers[1].ready = False
    await world.go(int(PATIENCE / ROUND) + 1, 100, rates)
    assert sum(world.samples().values()) == 500
    assert world.reason == "VariantNotReady"
    world.servers[1].ready = True
    await world.settle()
    await world.go(3, 100, rates)
    assert sum(world.samples().values()) == 800
    assert world.reason == "TooFewSamples"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("foreign", "NoMetrics"), ("silent", "PodsUnreachable"), ("old", "NoFeedback")],
)
async def test_what_cannot_be_seen_is_said(mode: str, reason: str) -> None:
    world = World()
    world.servers[1].mode = mode
    for _ in range(int(PATIENCE / ROUND)):
        await world.turn()
    assert world.reason == "NoSamples"
    await world.turn()
    assert world.reason == reason
    assert "variant next" in world.report.finding.message


async def test_an_unknown_bucket_is_said() -> None:
    world = World(metric={"latency": {"slowerThanMilliseconds": 100}})
    world.ask(10, {"main": 0.0, "next": 0.0})
    for _ in range(int(PATIENCE / ROUND) + 1):
        await world.turn()
    assert world.reason == "NoMetrics"
    assert "0.1 s" in world.report.finding.message


async def test_values_that_are_no_proportion_are_left_out_and_said() -> None:
    world = World()
    await world.settle()
    await world.go(3, 100, {"main": 0.5, "next": 0.5})
    world.servers[0].hear("clicked", "main", 17.0)
    await world.go(1, 100, {"main": 0.5, "next": 0.5})
    assert sum(world.samples().values()) == 400
    assert "1 values outside of 0 to 1" in world.report.finding.message


async def test_counts_that_make_no_sense_stop_nothing() -> None:
    world = World(metric={"errorRatio": {}})
    await world.settle()
    await world.go(2, 100, {"main": 0.1, "next": 0.1}, "errors")
    world.servers[0].requests += 1
    world.servers[0].errors += 10**6
    await world.turn()
    assert world.reason == "CountsInvalid"
    assert sum(world.samples().values()) == 200
    await world.go(2, 100, {"main": 0.1, "next": 0.1}, "errors")
    assert world.reason == "TooFewSamples"
    assert sum(world.samples().values()) == 400


async def test_means_take_any_values() -> None:
    metric = {"feedback": {"name": "spent", "kind": "Mean", "direction": "Decrease"}}
    world = World(metric=metric, minSamples=100)
    await world.settle()
    for _ in range(100):
        for _ in range(100):
            variant = world.chance.choice(("main", "next"))
            server = world.servers[variant == "next"]
            server.requests += 1
            value = world.chance.gauss(9.0 if variant == "main" else 7.0, 3.0)
            server.hear("spent", variant, value)
        await world.turn()
    assert (world.reason, world.report.finding.winner) == ("Won", "next")
    assert float(world.report.finding.variants[1].high) < 0


async def test_nothing_counts_while_it_is_paused() -> None:
    world = World()
    world.config = world.config.model_copy(update={"paused": True})
    world.restarted(None)
    await world.settle()
    await world.go(5, 100, {"main": 0.1, "next": 0.1})
    assert world.report.strata == []


async def test_a_report_stays_small_however_long_it_takes() -> None:
    world = World(maxDurationSeconds=31_536_000)
    await world.settle()
    for _ in range(150):
        world.ask(20, {"main": 0.3, "next": 0.3})
        await world.turn(8000.0)
    assert not world.experiment.over
    assert MAX_POINTS / 3 < len(world.report.course) <= MAX_POINTS
    times = [one.seconds for one in world.report.course]
    assert times == sorted(times)
    assert times[-1] > 0.9 * world.now
    assert len(world.report.model_dump_json(by_alias=True)) < MAX_EXPERIMENT_BYTES / 8


async def test_a_report_is_written_when_there_is_news() -> None:
    world = World(minSamples=1000)
    await world.settle()
    written, times = None, 0
    while not world.experiment.over:
        world.ask(50, {"main": 0.2, "next": 0.23})
        await world.turn()
        if due(world.report, written):
            written, times = world.report, times + 1
    rounds = world.now / ROUND
    assert rounds > 40
    assert times < rounds / 4
    assert written is world.report
    assert not due(world.report, written)


def test_reports_come_at_least_every_few_minutes() -> None:
    report = World().report
    later = report.model_copy(update={"time": START + timedelta(seconds=LONGEST_SILENCE)})
    soon = report.model_copy(update={"time": START + timedelta(seconds=LONGEST_SILENCE - 1)})
    assert (due(report, None), due(soon, report), due(later, report)) == (True, False, True)
    # A clock that was set back stops nothing.
    assert due(report, later)
