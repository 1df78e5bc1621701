"""A monitor with an experiment: it reports to the mailbox, goes on from it, and shows it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from fake_pods import FakePod, FakeSlices

from loopwright.api import names
from loopwright.api.base import StatusModel
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.experiment import Experiment
from loopwright.api.experiment_report import ExperimentConfig, ExperimentReport
from loopwright.api.experiment_status import Arm
from loopwright.api.feedback import FeedbackCounts, FeedbackSnapshot
from loopwright.monitor import watcher as module
from loopwright.monitor.scrape import Scraper
from loopwright.monitor.service import serve
from loopwright.monitor.watcher import Watcher

pytestmark = pytest.mark.timeout(60)
RATES = {"main": 0.1, "next": 0.3}
BEGAN = time.time()
SPEC = {"control": "main", "metric": {"feedback": {"name": "clicked"}}, "minSamples": 500}
CONFIG = MonitorConfig(
    endpoint="digits", namespace="n", uid="u", report="digits-observed",
    experiment=ExperimentConfig(
        run="run-1",
        started_at=datetime.fromtimestamp(BEGAN, UTC),
        arms=[Arm(variant=name, revision="r1", weight=50) for name in RATES],
        experiment=Experiment.model_validate(SPEC),
    ),
)  # fmt: skip


class FakeCluster:
    """A mailbox, and an API server that lists what the test says."""

    def __init__(self) -> None:
        self.listed = FakeSlices()
        self.synced = asyncio.Event()
        self.synced.set()
        self.mailbox: dict[str, str] = {}
        self.writes: list[str] = []

    @property
    def slices(self) -> list[dict]:
        return self.listed.manifests()

    async def read(self) -> dict[str, str]:
        return dict(self.mailbox)

    async def write(self, key: str, report: StatusModel) -> None:
        self.mailbox[key] = report.model_dump_json(by_alias=True, exclude_none=True)
        self.writes.append(key)

    @property
    def experiment(self) -> ExperimentReport | None:
        """What the operator would read."""
        text = self.mailbox.get(names.EXPERIMENT_KEY)
        return ExperimentReport.model_validate_json(text) if text else None


class World:
    """Two variants, each with a pod, and a clock that goes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.now = FakeCluster(), 1000.0
        self.scraper, self.chance = Scraper(2.0), random.Random(3)  # noqa: S311
        monkeypatch.setattr(module, "time", self)
        self.pods: dict[str, FakePod] = {}
        self.watcher = Watcher(CONFIG, self.cluster, self.scraper)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return BEGAN + self.now - 1000.0

    async def start(self) -> None:
        """Starts the pods."""
        for name in RATES:
            pod = await FakePod("r1").start()
            pod.variant = name
            self.pods[name] = pod
            self.cluster.listed.pods.append(pod)
            own = f"{name}.00000000"
            pod.feedback = FeedbackSnapshot(process=name, own=own)

    async def end(self) -> None:
        """Ends them."""
        for pod in self.pods.values():
            await pod.stop()
        await self.scraper.close()

    def ask(self, number: int) -> None:
        """Clients ask, and report on each answer to the pod of the other variant."""
        for _ in range(number):
            name = self.chance.choice(sorted(RATES))
            other = self.pods["next" if name == "main" else "main"]
            self.pods[name].answer(1)
            clicked = self.chance.random() < RATES[name]
            told = other.feedback
            assert told is not None
            before = told.counts[0] if told.counts else FeedbackCounts(name="clicked", about="")
            counts = FeedbackCounts(
                name="clicked", about=f"{name}.00000000", count=before.count + 1,
                total=before.total + clicked, squares=before.squares + clicked,
                parts=before.parts + 1, parts_total=before.parts_total + clicked,
            )  # fmt: skip
            other.feedback = told.model_copy(update={"counts": [counts]})

    async def round(self) -> None:
        """A round, and what is written of it."""
        self.now += 5.0
        await self.watcher.turn()
        await self.watcher._write()

    async def restart(self) -> None:
        """Another monitor, which has read the mailbox and turned its first round."""
        self.watcher = Watcher(CONFIG, self.cluster, self.scraper)  # type: ignore[arg-type]
        running = asyncio.create_task(self.watcher.run())
        await asyncio.wait_for(self.watcher._turned.wait(), 20)
        running.cancel()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(monkeypatch)
    await world.start()
    yield world
    await world.end()


async def test_it_reports_and_another_one_goes_on(world: World) -> None:
    for _ in range(4):
        await world.round()
    for _ in range(4):
        world.ask(100)
        await world.round()
    for _ in range(6):
        await world.round()
    known = world.cluster.experiment
    assert known is not None
    assert known.arrivals == 400
    assert known.finding.decided_at is None
    writes = world.cluster.writes.count(names.EXPERIMENT_KEY)
    await world.restart()
    assert world.watcher.experiment is not None
    assert world.watcher.experiment.report.strata == known.strata
    await world.watcher._write()
    assert world.cluster.writes.count(names.EXPERIMENT_KEY) == writes
    for _ in range(4):
        await world.round()
    while (found := world.cluster.experiment) is not None and found.finding.decided_at is None:
        world.ask(150)
        await world.round()
        assert world.now < 2000
    assert (found.finding.reason, found.finding.winner) == ("Won", "next")
    assert found.arrivals > 1000
    writes = world.cluster.writes.count(names.EXPERIMENT_KEY)
    await world.restart()
    world.ask(500)
    await world.round()
    assert world.cluster.writes.count(names.EXPERIMENT_KEY) == writes


async def test_it_shows_what_it_knows(world: World) -> None:
    for _ in range(4):
        await world.round()
    world.ask(400)
    await world.round()
    runner = await serve(world.watcher, 0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        pages = {}
        for path in ("/experiment", "/report", "/metrics"):
            async with session.get(url + path) as answer:
                assert answer.status == 200
                pages[path] = await answer.text()
        world.watcher.experiment = None
        async with session.get(f"{url}/experiment") as answer:
            assert answer.status == 404
    await runner.cleanup()
    assert "It goes on: too few outcomes of clicked" in pages["/experiment"]
    assert "href='/experiment'" in pages["/report"]
    line = 'loopwright_experiment_pvalue{endpoint="digits",namespace="n",variant="next"} '
    assert line in pages["/metrics"]
    assert 'variant="main"} ' not in pages["/metrics"].partition("loopwright_experiment_pvalue")[2]
