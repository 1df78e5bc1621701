"""Workers and the queue, and one reconcile in the order in which it acts."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_client import JOB, START, World
from prometheus_client import REGISTRY

from loopwright import controller as module
from loopwright.api.resources import Key
from loopwright.controller import Controller
from loopwright.kube import errors, queue
from loopwright.kube.cache import Cache
from loopwright.reconcile.context import Context
from loopwright.settings import Settings

pytestmark = pytest.mark.timeout(30)
A, B = (Key("TrainingJob", "n", name) for name in ("a", "b"))


class Work:
    """A reconciler that notes when it was called, and does as told with A."""

    def __init__(self, *results: Any, takes: float = 0.0) -> None:
        self.results, self.takes, self.most = list(results), takes, 0
        self.alone, self.stale = True, asyncio.Event()
        self.calls: list[tuple[Key, float]] = []
        self.busy: list[Key] = []

    async def __call__(self, _: Context, key: Key) -> float | None:
        self.calls.append((key, asyncio.get_running_loop().time()))
        self.busy.append(key)
        self.most = max(self.most, len(self.busy))
        self.alone = self.alone and len(self.busy) == len(set(self.busy))
        await asyncio.sleep(self.takes)
        self.busy.remove(key)
        result = self.results.pop(0) if self.results and key == A else None
        if isinstance(result, Exception):
            raise result
        return result

    async def called(self, times: int, key: Key = A) -> list[float]:
        """Waits for so many calls and a little more; returns the seconds between them."""
        async with asyncio.timeout(10):
            while len(self._times(key)) < times or self.busy:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert len(self._times(key)) == times
        return [later - sooner for sooner, later in itertools.pairwise(self._times(key))]

    def _times(self, key: Key) -> list[float]:
        return [at for called, at in self.calls if called == key]


@asynccontextmanager
async def running(
    work: Work, cache: Cache | None = None, resync_seconds: float = 0.01
) -> AsyncIterator[Controller]:
    some = Settings(workers=3, resync_seconds=resync_seconds)
    ctx = Context(None, cache or Cache(), None, some, lambda: START)  # type: ignore[arg-type]
    controller = Controller(ctx, {"TrainingJob": work}, work.stale.set)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(controller.run())
        yield controller
        task.cancel()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FIRST_RETRY", 0.01)


def failures(reason: str) -> float:
    labels = {"kind": "TrainingJob", "reason": reason}
    return REGISTRY.get_sample_value("loopwright_reconcile_errors_total", labels) or 0.0


async def test_a_conflict_is_tried_again_and_nobody_hears_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work, before = Work(*[errors.Conflict("modified")] * 2), failures("Conflict")
    async with running(work) as controller:
        controller.queue.add(A)
        await work.called(3)
    assert failures("Conflict") == before
    assert not work.stale.is_set()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_conflicts_that_do_not_end_come_of_an_old_cache() -> None:
    work = Work(*[errors.Conflict("modified")] * 3)
    async with running(work) as controller:
        controller.queue.add(A)
        await work.called(4)
    assert work.stale.is_set()


async def test_the_server_says_how_long_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    work, before = Work(errors.Unavailable("busy", 0.15)), failures("ApiUnavailable")
    async with running(work) as controller:
        controller.queue.add(A)
        (gap,) = await work.called(2)
    assert gap >= 0.14
    assert failures("ApiUnavailable") == before + 1
    assert "busy; again in " in caplog.text


async def test_a_bug_with_one_object_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    work, before = Work(*[ZeroDivisionError("oops")] * 3), failures("Bug")
    async with running(work) as controller:
        controller.queue.add(A)
        controller.queue.add(B)
        await work.called(4)
        await work.called(1, B)
    assert failures("Bug") == before + 3
    assert "ZeroDivisionError: oops" in caplog.text


@pytest.mark.parametrize(("asked", "least"), [(0.15, 0.14), (0.0, 0.09)])
async def test_a_job_is_looked_at_again_when_it_asked_to_be(asked: float, least: float) -> None:
    work = Work(asked)
    async with running(work) as controller:
        controller.queue.add(A)
        (gap,) = await work.called(2)
    assert gap >= least  # Nobody may ask for every moment.


async def test_one_worker_a_key_but_many_keys_at_once() -> None:
    work = Work(takes=0.05)
    async with running(work) as controller:
        for key in (A, B, A, B):
            controller.queue.add(key)
        await asyncio.sleep(0.02)
        for key in (A, A, B):  # What is new while it is worked on comes again, once.
            controller.queue.add(key)
        await work.called(2)
        await work.called(2, B)
    assert (work.most, work.alone) == (2, True)


async def test_every_object_is_looked_at_without_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHEEL_STEP", 0.02)
    work, world = Work(), World()
    async with running(work, world.cache):
        async with asyncio.timeout(10):
            while len(work.calls) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert {key for key, _ in work.calls} == {JOB}


async def test_nothing_is_done_while_what_is_known_may_be_of_a_lost_past() -> None:
    work, cache = Work(), Cache()
    async with running(work, cache) as controller:
        cache.rewound()
        controller.queue.add(A)
        await work.called(0)
        cache.of_one_past.set()
        await work.called(1)


async def test_each_object_is_looked_at_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHEEL_STEP", 0.02)
    work, world, count = Work(), World(), 40
    job = world.cache.get(JOB) or {}
    for number in range(count - 1):
        meta = {**job["metadata"], "name": f"job{number}", "uid": f"u{number}"}
        world.cache.observe("ADDED", world.stored({**job, "metadata": meta}))
    async with running(work, world.cache, resync_seconds=0.1):
        async with asyncio.timeout(10):
            while len(work.calls) < 2 * count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    first, second = work.calls[:count], work.calls[count : 2 * count]
    for turn in (first, second):
        assert len({key for key, _ in turn}) == count
    assert first[-1][1] - first[0][1] >= 0.01, "not spread over the round"


async def test_the_status_is_stored_before_anything_is_made() -> None:
    world = World()
    world.refuse["status"] = errors.Conflict("modified")
    with pytest.raises(errors.Conflict):
        await world.look()
    assert world.calls == ["status"]
    world.refuse.clear()
    await world.look()
    assert [world.calls.index("status"), world.calls.count("status")] == [0, 1]
    assert world.status["attempts"][0]["rayJob"] == "job-a1"
    assert [obj["metadata"]["name"] for obj in world.cache.children(JOB, "RayJob")] == ["job-a1"]


async def test_a_role_is_bound_once_it_is_there_and_the_rayjob_comes_last() -> None:
    world = World()
    world.gates["Role"] = asyncio.Event()
    look = asyncio.create_task(world.look())
    await asyncio.sleep(0.02)
    others = ["ConfigMap", "NetworkPolicy", "Role", "ServiceAccount"]
    asked = [call for call in world.calls if call.startswith("create ")]
    assert sorted(asked) == [f"create {kind}" for kind in others]
    world.gates["Role"].set()
    await look
    last = ["create RoleBinding", "created RoleBinding", "create RayJob", "created RayJob"]
    assert world.calls[-5:] == ["created Role", *last]


async def test_one_write_for_one_change() -> None:
    world = World()
    await world.look()
    await world.look()
    assert world.calls == []
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    await world.look()
    assert (world.calls, world.status["phase"]) == (["status", "Event"], "Running")
    await world.look()
    assert world.calls == []


@pytest.mark.parametrize("kind", ["ServiceAccount", "RayJob"])
async def test_what_is_forbidden_is_a_condition_until_it_is_allowed(kind: str) -> None:
    world = World()
    world.refuse[kind] = errors.Forbidden("exceeded quota: team")
    assert await world.look() == 10
    assert world.condition("Ready") == ["False", "Forbidden", "exceeded quota: team"]
    assert world.condition("Stalled")[0] == "False"
    world.refuse.clear()
    await world.look()
    assert "created RayJob" in world.calls
    assert (world.condition("Ready")[1], world.status["attempt"]) == ("Provisioning", 1)


async def test_a_refusal_that_stays_is_written_once() -> None:
    world = World()
    world.refuse["RayJob"] = errors.Invalid("spec: required")
    await world.look()
    assert world.condition("Stalled")[:2] == ["True", "Invalid"]
    # That the attempt begins, and what holds it up.
    assert world.calls.count("Event") == 2
    before = world.status
    await world.look()
    assert (world.calls.count("status"), world.status) == (0, before)
    assert "Event" not in world.calls


async def test_another_refusal_is_told_too_and_a_long_one_once() -> None:
    world = World()
    for text in ("spec: required", "spec: wrong " * 200):
        world.refuse["RayJob"] = errors.Invalid(text)
        await world.look()
        assert "Event" in world.calls
        assert world.condition("Ready")[2] == text[:1024]
        await world.look()
        assert "Event" not in world.calls


async def test_a_spec_that_even_its_status_is_refused_for_is_told_by_an_event() -> None:
    world = World()
    job = world.cache.get(JOB) or {}
    world.cache.observe("MODIFIED", world.stored({**job, "spec": {"numWorkers": "many"}}))
    world.refuse["status"] = errors.Invalid("expected int, got string")
    assert await world.look() is None
    assert world.calls == ["status", "Event"]


async def test_what_may_have_been_stored_is_told() -> None:
    """The answer to a write was lost; by the next look it would be no news."""
    world = World()
    world.refuse["status"] = errors.Unavailable("cut off")
    with pytest.raises(errors.Unavailable):
        await world.look()
    assert world.calls == ["status", "Event"]


async def test_a_server_that_is_away_is_no_news_about_the_job() -> None:
    world = World()
    world.refuse["Role"] = errors.Unavailable("down")
    with pytest.raises(errors.Unavailable):
        await world.look()
    assert world.calls.count("status") == 1
    assert world.condition("Ready")[1] != "ApiUnavailable"


@pytest.mark.parametrize("progress", [{"step": 2**64}, {"updatedAt": "2026-01-01T00:00:00"}])
async def test_a_report_that_cannot_be_stored_holds_up_nothing(progress: Any) -> None:
    world = World()
    await world.look()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    report = {"attempt": 1, "runId": "r", "state": "Running", "time": "2026-01-01T00:00:00Z"}
    data = {"report.json": json.dumps({**report, "progress": progress})}
    world.sees("ConfigMap", "job-report", data=data)
    await world.look()
    assert world.status["phase"] == "Running"
