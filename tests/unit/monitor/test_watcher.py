"""Rounds over fake pods: what is reported, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
from fake_pods import FakePod, FakeSlices

from loopwright.api import names
from loopwright.api.endpoint_report import EndpointReport, MonitorConfig, VariantReport
from loopwright.monitor import watcher as module
from loopwright.monitor.cluster import Refused
from loopwright.monitor.scrape import Scraper
from loopwright.monitor.service import serve
from loopwright.monitor.watcher import Watcher, due

pytestmark = pytest.mark.timeout(60)

CONFIG = MonitorConfig(endpoint="digits", namespace="n", uid="u", report="digits-observed")


class FakeCluster:
    """An API server that lists what the test says, and keeps or refuses reports."""

    def __init__(self) -> None:
        self.listed = FakeSlices()
        self.synced = asyncio.Event()
        self.written: list[EndpointReport] = []
        self.refuses = False

    @property
    def slices(self) -> list[dict]:
        return self.listed.manifests()

    async def write(self, key: str, report: EndpointReport) -> None:
        if self.refuses:
            raise Refused("no")
        assert key == names.REPORT_KEY
        self.written.append(report)


class World:
    """A monitor, its pods, and a clock that goes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster, self.now, self._began = FakeCluster(), 1000.0, time.time()
        self.scraper = Scraper(0.3)
        monkeypatch.setattr(module, "time", self)
        self.pods = self.cluster.listed.pods
        self.watcher = self.restarted()

    def restarted(self) -> Watcher:
        """A monitor that knows nothing yet."""
        self.watcher = Watcher(CONFIG, self.cluster, self.scraper)  # type: ignore[arg-type]
        return self.watcher

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        """The wall clock, by which the fake pods begin about when the world does."""
        return self._began + self.now - 1000.0

    async def pod(self, revision: str = "r1") -> FakePod:
        """A new pod of a revision."""
        pod = await FakePod(revision).start()
        self.pods.append(pod)
        return pod

    async def round(self, seconds: float = 5.0) -> dict[str, VariantReport]:
        """One round, and what it says of each revision."""
        self.now += seconds
        await self.watcher.turn()
        assert self.watcher.report is not None
        return {one.revision: one for one in self.watcher.report.variants}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(monkeypatch)
    yield world
    for pod in world.pods:
        await pod.stop()
    await world.scraper.close()


async def test_replicas_are_merged(world: World) -> None:
    first, second = await world.pod(), await world.pod()
    for pod in (first, second):
        pod.restart(age=3600)
    await world.round()
    first.answer(30)
    second.answer(60, code=503, seconds=0.2)
    second.answer(10, code=404)
    found = (await world.round())["r1"]
    assert (found.state, found.requests, found.errors) == ("OK", 100, 60)
    assert (found.error_ratio, found.rate, found.pods, found.pods_scraped) == (0.6, 20.0, 2, 2)
    assert found.p50_seconds is not None
    assert found.p99_seconds is not None
    assert 0.1 < found.p50_seconds < 0.25
    assert found.p99_seconds <= 0.25


async def test_a_monitor_that_starts_blames_nobody_for_the_past(world: World) -> None:
    """F33: killed and started again, it says nothing until it knows something."""
    pod = await world.pod()
    pod.restart(age=3600)
    pod.answer(500, code=500)
    assert (await world.round())["r1"].state == "NoData"
    world.restarted()
    found = (await world.round())["r1"]
    assert (found.state, found.errors, found.error_ratio) == ("NoData", 0, None)
    pod.answer(50)
    found = (await world.round())["r1"]
    assert (found.state, found.errors, found.requests) == ("OK", 0, 50)


async def test_pods_that_come_and_go_and_restart(world: World) -> None:
    pod = await world.pod()
    pod.answer(10)
    await world.round()
    pod.restart(age=-5)  # By the world's clock.
    pod.answer(20)
    await world.round()
    other = await world.pod()
    other.answer(40)
    await world.round()
    world.pods.remove(pod)
    await pod.stop()
    assert (await world.round())["r1"].requests == 70
    other.answer(5)
    await world.round(56)
    assert (await world.round())["r1"].requests == 5


async def test_a_pod_that_hangs_is_not_taken_for_a_good_one(world: World) -> None:
    good, bad = await world.pod(), await world.pod()
    for mode in ("hangs", "breaks", "floods"):
        world.restarted()
        bad.mode = "ours"
        await world.round()
        bad.mode = mode
        for _ in range(3):
            good.answer(50)
            assert (await world.round())["r1"].state == "OK"
        found = (await world.round())["r1"]
        assert (found.state, found.reason) == ("Unknown", "PodsUnreachable")
        assert found.error_ratio is None
    bad.mode = "ours"
    assert (await world.round())["r1"].state == "OK"


async def test_a_pod_has_time_to_start(world: World) -> None:
    pod = await world.pod()
    await pod.stop()
    pod.ready = False
    for _ in range(6):
        assert (await world.round())["r1"].reason == "TooFewRequests"


async def test_servers_of_others_are_never_ok(world: World) -> None:
    ours, foreign = await world.pod("r1"), await world.pod("r2")
    foreign.mode, foreign.ready = "foreign", False
    assert (await world.round())["r2"].state == "NoData"
    foreign.ready = True
    ours.answer(50)
    found = await world.round()
    assert (found["r1"].state, found["r2"].state) == ("OK", "Unknown")
    assert found["r2"].reason == "NoMetrics"
    assert "PromQL" in found["r2"].message


async def test_a_server_that_never_answers(world: World) -> None:
    pod = await world.pod()
    for _ in range(8):
        await world.round()
    pod.hold(40)
    assert (await world.round())["r1"].reason == "RequestsPending"


async def test_revisions_without_pods_are_reported(world: World) -> None:
    await world.pod("r1")
    world.cluster.listed.empty.append("r2")
    assert (await world.round())["r2"].reason == "NoPods"


async def written(world: World, rounds: int) -> int:
    """How many reports so many rounds cost."""
    before, writer = len(world.cluster.written), asyncio.create_task(world.watcher.write())
    for _ in range(rounds):
        await world.round()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    writer.cancel()
    return len(world.cluster.written) - before


async def test_nothing_is_written_while_nothing_happens(world: World) -> None:
    pod = await world.pod()
    assert await written(world, 1) == 1
    for load in (0, 50, 0):
        pod.answer(load)
        assert await written(world, 20) == 0


async def test_a_revision_that_comes_or_goes_is_written(world: World) -> None:
    await world.pod("r1")
    assert await written(world, 1) == 1
    other = await world.pod("r2")
    assert await written(world, 1) == 1
    assert world.cluster.written[-1].active
    world.pods.remove(other)
    assert await written(world, 3) == 1
    assert not world.cluster.written[-1].active
    await other.stop()


async def test_a_refused_report_is_written_later(world: World) -> None:
    await world.pod()
    world.cluster.refuses = True
    assert await written(world, 3) == 0
    world.cluster.refuses = False
    assert await written(world, 3) == 1


async def test_reports_come_every_period_while_a_rollout_goes_on(world: World) -> None:
    await world.pod("r1")
    await world.pod("r2")
    await world.round()
    report = world.watcher.report
    assert report is not None
    later = {"time": report.time + timedelta(seconds=CONFIG.report_seconds)}
    assert not due(report, report)
    assert due(report.model_copy(update=later), report)
    # A clock that was set back stops nothing.
    assert due(report, report.model_copy(update=later))
    assert report.current(later["time"])
    assert not report.current(report.time + timedelta(seconds=41))


async def test_metrics_and_probes(world: World) -> None:
    runner = await serve(world.watcher, 0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def get(path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
            return answer.status, await answer.text()

    pod = await world.pod()
    pod.restart(age=3600)
    assert (await get("/readyz"))[0] == 503
    assert (await get("/healthz"))[0] == 200
    await world.round()
    assert (await get("/readyz"))[0] == 200
    labels = 'endpoint="digits",namespace="n",'
    assert labels not in (await get("/metrics"))[1]
    pod.answer(75)
    pod.answer(25, code=500)
    await world.round()
    text = (await get("/metrics"))[1]
    rest = 'revision="r1",variant="main"}'
    assert f"loopwright_endpoint_error_ratio{{{labels}{rest} 0.25" in text
    assert f"loopwright_endpoint_request_rate{{{labels}{rest} 20.0" in text
    assert f'loopwright_endpoint_latency_seconds{{{labels}quantile="0.99",{rest}' in text
    await runner.cleanup()


async def test_a_monitor_whose_rounds_end_is_not_healthy(world: World) -> None:
    from loopwright.monitor import service

    await world.round()
    world.watcher.turned = service.time.monotonic() - service.HANGS - 60
    runner = await serve(world.watcher, 0)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/healthz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 500
    await runner.cleanup()
