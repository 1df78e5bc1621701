"""Monitors of drift: from what pods have counted to verdicts, through restarts and silence."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, get_args

import numpy as np
import pytest
from fake_pods import FakePod, FakeSlices

from loopwright.api.baseline import Baseline
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.api.monitoring import Monitor
from loopwright.api.monitoring_status import MonitorState, WindowVerdict
from loopwright.monitor.page import page
from loopwright.monitor.scrape import Scraper
from loopwright.monitor.sketches import Sketches
from loopwright.monitor.slices import pods
from loopwright.sketch import Layout, Sketch
from loopwright.train.profile import profile

WINDOW = 60
FEATURES = 4


def config(**monitor: Any) -> MonitorConfig:
    one = {"name": "drift", "kind": "DataDrift", "everySeconds": WINDOW, "minSamples": 100,
           "violatedWindows": 2, "ofWindows": 3, **monitor}  # fmt: skip
    return MonitorConfig.model_validate(
        {
            "endpoint": "digits", "namespace": "n", "uid": "u", "report": "digits-observed",
            "intervalSeconds": 1, "monitors": [one],
        }
    )  # fmt: skip


class World:
    """Pods that count, a monitor that asks them, and a clock that goes when told to."""

    def __init__(self) -> None:
        self.chance = np.random.default_rng(7)
        self.baseline = profile(self.rows(5000))
        self.layout = Layout.of(self.baseline)
        self.now = 1000.0
        # A window has just begun.
        self.began = time.time() // WINDOW * WINDOW
        self.scraper, self.listed = Scraper(0.5), FakeSlices()
        self.restart(config())

    def restart(self, settings: MonitorConfig, known: Sequence[WindowVerdict] = ()) -> None:
        """Another process of the monitor."""
        self.sketches = Sketches(settings, self.scraper.get, known, self.now)

    def rows(self, number: int, shift: float = 0.0, missing: float = 0.0) -> Any:
        table = self.chance.normal(size=(number, FEATURES)) + shift
        table[self.chance.random(table.shape) < missing] = np.nan
        return table

    async def pod(self, baseline: Baseline | None = None, revision: str = "r1") -> FakePod:
        pod = await FakePod(revision).start()
        pod.baseline = baseline or self.baseline
        self.process(pod)
        self.listed.pods.append(pod)
        return pod

    def process(self, pod: FakePod) -> None:
        """A new process, which has counted nothing."""
        pod.sketch = Sketch(self.layout, steady=lambda: self.now)

    async def turn(self, seconds: float = 4.0) -> None:
        self.now += seconds
        wall = self.began + self.now - 1000.0
        await self.sketches.turn(pods(self.listed.manifests(), 0), self.now, wall)

    async def window(self, *served: FakePod, rows: int = 600, **how: float) -> WindowVerdict:
        """A whole window in which pods serve rows, and its verdict."""
        for _ in range(15):
            for pod in served:
                assert pod.sketch is not None
                pod.sketch.add({"x": self.rows(rows // 15 // len(served), **how)})
            await self.turn()
        return self.verdict

    @property
    def verdict(self) -> WindowVerdict:
        [one] = self.sketches.verdicts()
        return one


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for pod in world.listed.pods:
        await pod.stop()
    await world.scraper.close()


async def test_drift_is_told_after_two_windows(world: World) -> None:
    first, second = await world.pod(), await world.pod()
    await world.turn(2)
    found = await world.window(first, second)
    assert (found.state, found.features, found.drifted) == (MonitorState.OK, FEATURES, 0)
    assert 500 <= found.samples <= 700
    found = await world.window(first, second, shift=1.0)
    assert found.state is MonitorState.OK
    assert found.recent == [False, True]
    found = await world.window(first, second, shift=1.0)
    assert found.state is MonitorState.VIOLATED
    assert found.drifted == FEATURES
    assert {one.check for one in found.violations} == {"DriftShare", "Drift"}
    assert float(found.worst) > 2
    for _ in range(2):
        found = await world.window(first, second)
    assert found.state is MonitorState.OK


async def test_few_rows_are_no_data_and_end_no_alarm(world: World) -> None:
    pod = await world.pod()
    for _ in range(3):
        await world.window(pod, shift=1.0)
    assert world.verdict.state is MonitorState.VIOLATED
    found = await world.window(pod, rows=15)
    assert (found.state, found.reason) == (MonitorState.NO_DATA, "TooFewRows")
    assert found.recent == [True] * 3
    found = await world.window(pod, shift=1.0)
    assert found.state is MonitorState.VIOLATED


async def test_a_killed_monitor_goes_on_from_its_last_verdicts(world: World) -> None:
    pod = await world.pod()
    await world.turn(2)
    await world.window(pod)
    calm = world.sketches.verdicts()
    await world.window(pod, rows=300)
    world.restart(config(), calm)
    await world.turn()
    # What it said before, and not that it knows nothing.
    assert world.sketches.verdicts() == calm
    # Rows of before its start are no news, so they are in no window.
    found = await world.window(pod)
    assert found.state is MonitorState.OK
    assert found.samples <= 650

    for _ in range(2):
        await world.window(pod, shift=1.0)
    alarm = world.sketches.verdicts()
    assert alarm[0].state is MonitorState.VIOLATED
    world.restart(config(), alarm)
    await world.turn()
    found = await world.window(pod, shift=1.0)
    assert found.state is MonitorState.VIOLATED


async def test_a_pod_that_restarts_counts_once(world: World) -> None:
    pod = await world.pod()
    await world.turn(2)
    await world.window(pod)
    world.process(pod)
    found = await world.window(pod)
    assert 500 <= found.samples <= 650
    assert found.state is MonitorState.OK


async def test_pods_that_cannot_be_asked_make_a_window_unknown(world: World) -> None:
    first, second = await world.pod(), await world.pod()
    await world.turn(2)
    await world.window(first, second)
    second.mode = "breaks"
    found = await world.window(first, second)
    assert (found.state, found.reason) == (MonitorState.UNKNOWN, "PodsUnreachable")
    second.mode = "ours"
    await world.window(first, second)
    assert (await world.window(first, second)).state is MonitorState.OK


@pytest.mark.parametrize(("mode", "reason"), [("foreign", "NoSketches"), ("lies", "CountsInvalid")])
async def test_servers_that_do_not_count(world: World, mode: str, reason: str) -> None:
    pod = await world.pod()
    pod.mode = mode
    await world.turn()
    assert (world.verdict.state, world.verdict.reason) == (MonitorState.UNKNOWN, reason)
    assert world.verdict.message
    pod.mode = "ours"
    await world.turn()
    assert (await world.window(pod)).state is MonitorState.OK


async def test_rows_count_once_when_watching_begins_again(world: World) -> None:
    pod = await world.pod()
    await world.turn(2)
    await world.window(pod)
    pod.mode = "lies"
    await world.turn()
    pod.mode = "ours"
    found = await world.window(pod)
    assert found.state is MonitorState.OK
    assert found.samples <= 650


async def test_a_model_without_a_baseline(world: World) -> None:
    pod = await world.pod()
    pod.baseline = None
    await world.turn()
    assert world.verdict.reason == "NoBaseline"
    assert "baseline" in world.verdict.message


async def test_a_baseline_that_makes_no_sense(world: World) -> None:
    broken = world.baseline.model_copy(update={"version": 99})
    await world.pod(broken)
    await world.turn()
    assert world.verdict.reason == "BaselineInvalid"


async def test_quality_is_judged_by_its_own_checks(world: World) -> None:
    world.restart(config(kind="DataQuality"))
    pod = await world.pod()
    await world.turn(2)
    # Shifted, but nothing is missing.
    assert (await world.window(pod, shift=0.2)).state is MonitorState.OK
    for _ in range(2):
        found = await world.window(pod, missing=0.2)
    assert found.state is MonitorState.VIOLATED
    assert {one.check for one in found.violations} == {"Missing"}


METHODS = Monitor.model_fields["method"].annotation


@pytest.mark.parametrize("method", get_args(METHODS))
async def test_every_method_tells_drift(world: World, method: str) -> None:
    world.restart(config(method=method, violatedWindows=1, correction="None"))
    pod = await world.pod()
    await world.turn(2)
    assert (await world.window(pod)).state is MonitorState.OK
    assert (await world.window(pod, shift=1.0)).state is MonitorState.VIOLATED


async def test_revisions_are_judged_apart(world: World) -> None:
    old, new = await world.pod(revision="r1"), await world.pod(revision="r2")
    await world.turn(2)
    for _ in range(15):
        for pod, shift in ((old, 0.0), (new, 1.0)):
            assert pod.sketch is not None
            pod.sketch.add({"x": world.rows(40, shift)})
        await world.turn()
    found = {one.revision: one.recent for one in world.sketches.verdicts()}
    assert found == {"r1": [False], "r2": [True]}


async def test_the_report_draws_each_feature(world: World) -> None:
    pod = await world.pod()
    assert "No window has ended" in page("digits", world.sketches.drifting(), [])
    await world.window(pod, shift=1.0)
    text = page("<digits>", world.sketches.drifting(), [])
    assert text.count("<figure class='bad'>") == FEATURES
    assert "&lt;digits&gt;" in text
    assert "<script" not in text
