"""Workers and the queue, and one reconcile in the order in which it acts."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from loopwright import controller as module
from loopwright.controller import Controller
from loopwright.kube import errors, queue
from loopwright.kube.cache import Cache
from loopwright.kube.resources import Key, Resource
from loopwright.reconcile.context import Context
from loopwright.reconcile.trainingjob import reconcile
from loopwright.settings import Settings

pytestmark = pytest.mark.timeout(30)
START = datetime(2026, 1, 1, tzinfo=UTC)
A, B, JOB = (Key("TrainingJob", "n", name) for name in ("a", "b", "job"))


class Work:
    """A reconciler that notes when it was called, and does as told with A."""

    def __init__(self, *results: Any, takes: float = 0.0) -> None:
        self.results, self.takes, self.most = list(results), takes, 0
        self.alone = True
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
async def running(work: Work, cache: Cache | None = None) -> AsyncIterator[Controller]:
    some = Settings(workers=3, resync_seconds=0.01)
    ctx = Context(None, cache or Cache(), some, lambda: START)  # type: ignore[arg-type]
    controller = Controller(ctx, {"TrainingJob": work})
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
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


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


class World:
    """A client that notes what it is asked for, and the job it is asked about."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuse: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.version, self.now, self.cache = 100, START, Cache()
        meta = {"name": "job", "namespace": "n", "uid": "u", "generation": 1}
        job = {"apiVersion": "loopwright.io/v1alpha1", "kind": "TrainingJob", "metadata": meta}
        spec = {"function": "a:b", "output": {"uri": "s3://b/o"}}
        self.cache.observe("ADDED", self._stored({**job, "spec": spec}))

    async def look(self) -> float | None:
        """Reconciles once, a second later."""
        self.calls.clear()
        self.now += timedelta(seconds=1)
        ctx = Context(self, self.cache, Settings(), lambda: self.now)  # type: ignore[arg-type]
        return await reconcile(ctx, JOB)

    async def exists(self, *_: Any) -> bool:
        return True

    async def apply(self, obj: dict[str, Any]) -> dict[str, Any]:
        kind = obj["kind"]
        self.calls.append(f"apply {kind}")
        if gate := self.gates.get(kind):
            await gate.wait()
        await asyncio.sleep(0)
        if error := self.refuse.get(kind):
            raise error
        self.calls.append(f"applied {kind}")
        return self._stored(obj, uid=f"{kind}-{obj['metadata']['name']}")

    async def patch_status(self, _: Resource, obj: Any, status: dict[str, Any]) -> dict[str, Any]:
        self.calls.append("status")
        if error := self.refuse.get("status"):
            raise error
        progress = status.get("progress", {})
        if not progress.get("updatedAt", "Z").endswith("Z") or progress.get("step", 0) >= 2**63:
            raise errors.Invalid("neither int64 nor date-time")
        return self._stored({**obj, "status": status})

    async def create(self, _: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(obj["kind"])
        return obj

    def _stored(self, obj: dict[str, Any], **meta: str) -> dict[str, Any]:
        self.version += 1
        meta = {**obj["metadata"], **meta, "resourceVersion": str(self.version)}
        return {**obj, "metadata": meta}

    def sees(self, kind: str, name: str, **more: Any) -> None:
        """Somebody else changes a child."""
        known = self.cache.get(Key(kind, "n", name)) or {}
        self.cache.observe("MODIFIED", self._stored({**known, **more}))

    @property
    def status(self) -> dict[str, Any]:
        """What is stored."""
        return (self.cache.get(JOB) or {})["status"]

    def condition(self, name: str) -> list[str]:
        found = next(one for one in self.status["conditions"] if one["type"] == name)
        return [found["status"], found["reason"], found["message"]]


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
    others = ["ConfigMap", "ConfigMap", "NetworkPolicy", "Role", "ServiceAccount"]
    asked = [call for call in world.calls if call.startswith("apply ")]
    assert sorted(asked) == [f"apply {kind}" for kind in others]
    world.gates["Role"].set()
    await look
    last = ["apply RoleBinding", "applied RoleBinding", "apply RayJob", "applied RayJob"]
    assert world.calls[-5:] == ["applied Role", *last]


async def test_one_write_for_one_change() -> None:
    world = World()
    await world.look()
    await world.look()
    assert world.calls == []
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    await world.look()
    assert (world.calls.count("status"), world.status["phase"]) == (1, "Running")
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
    assert "applied RayJob" in world.calls
    assert (world.condition("Ready")[1], world.status["attempt"]) == ("Provisioning", 1)


async def test_a_refusal_that_stays_is_written_once() -> None:
    world = World()
    world.refuse["RayJob"] = errors.Invalid("spec: required")
    await world.look()
    assert world.condition("Stalled")[:2] == ["True", "Invalid"]
    before = world.status
    await world.look()
    assert (world.calls.count("status"), world.status) == (0, before)


async def test_a_server_that_is_away_is_no_news_about_the_job() -> None:
    world = World()
    world.refuse["Role"] = errors.Unavailable("down")
    with pytest.raises(errors.Unavailable):
        await world.look()
    assert world.calls.count("status") == 1
    assert world.condition("Ready")[1] != "ApiUnavailable"


@pytest.mark.parametrize("progress", [{"step": 2**63}, {"updatedAt": "2026-01-01T00:00:00"}])
async def test_a_report_that_cannot_be_stored_holds_up_nothing(progress: Any) -> None:
    world = World()
    await world.look()
    world.sees("RayJob", "job-a1", status={"jobDeploymentStatus": "Running"})
    report = {"attempt": 1, "runId": "r", "state": "Running", "time": "2026-01-01T00:00:00Z"}
    data = {"report.json": json.dumps({**report, "progress": progress})}
    world.sees("ConfigMap", "job-report", data=data)
    await world.look()
    assert world.status["phase"] == "Running"
