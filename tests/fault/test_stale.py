"""F5 to F10: two operators, old knowledge, and knowledge that never comes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fake_world import PATHS
from operators import Deployment, becomes, runs
from proxy import Answer, Forward, Lines, Request
from scenario import PATIENCE, Ending, Scenario, Stage
from scenarios import CHOSEN
from scenarios.modelendpoint import PROMOTED, serves
from scenarios.trainingjob import DELETED, JOB, RETRIED, SUCCESS, SUSPENDED, training_job, trains
from theatre import Theatre
from watches import duplicated, forgetful, late, swapped

from controlplane import STATE, cluster_tool
from ports import free_port

# For how long old lists are shown to who begins to lead; a server lags no longer than that.
LAG = 6.0
OURS = ("trainingjobs", "modelendpoints")
# How late a watch is; an end that is at rest for longer is the end.
BEHIND = 0.6


@contextlib.asynccontextmanager
async def second(stage: Stage, **more: str) -> AsyncIterator[Deployment]:
    """A stand-by beside the stage's operator."""
    first = stage.deployment
    log = first.log.with_suffix(".second.log")
    log.touch()
    settings = {**first.settings, "identity": "second", **more}
    async with Deployment(first.zygote, first.kubeconfig, log, settings) as deployment:
        yield deployment


async def holder(stage: Stage) -> str:
    """Who holds the Lease."""
    lease = await stage.namespace.get("Lease", "loopwright-operator")
    return str((lease or {}).get("spec", {}).get("holderIdentity"))


@pytest.mark.parametrize("number", [1, 4, 8])
async def test_a_leader_freezes_in_the_middle_of_a_write(theatre: Theatre, number: int) -> None:
    """F5: SIGSTOP at the n-th write, which arrives when the other leads; then SIGCONT."""
    calm = await theatre.calmly(SUCCESS)
    async with theatre.stage(SUCCESS) as stage:
        count, frozen, thawed = itertools.count(1), asyncio.Event(), asyncio.Event()

        async def freeze(request: Request, forward: Forward) -> Answer:
            if request.write and next(count) == number:
                stage.deployment.signal(signal.SIGSTOP)
                frozen.set()
                await thawed.wait()
            return await forward()

        stage.proxy.fault = freeze
        await stage.create()
        finishing = asyncio.create_task(stage.finish())
        await frozen.wait()
        began = time.monotonic()
        async with second(stage) as other:
            async with asyncio.timeout(PATIENCE):
                while await holder(stage) != "second":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                print(f"fail-over after {time.monotonic() - began:.1f} s")
                # It is at work when the late write arrives.
                while not stage.works(other.began):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await asyncio.sleep(2)
            thawed.set()
            stage.deployment.signal(signal.SIGCONT)
            ending = await finishing
            assert await holder(stage) == "second"
            assert not [line for line in other.lines() if "exception" in line]
        assert runs(stage.deployment.pid)
        assert stage.deployment.restarts == 0
        ending.check(calm, SUCCESS)


async def test_a_rolling_update(theatre: Theatre) -> None:
    """F5: the new replica is there before the old one is told to stop, again and again."""
    calm = await theatre.calmly(RETRIED)
    ports = free_port(), free_port()
    async with theatre.stage(RETRIED, identity="", health_port=str(ports[0])) as stage:
        await stage.create()
        finishing = asyncio.create_task(stage.finish())
        while not finishing.done():
            async with second(stage, health_port=str(ports[1])):
                # A Deployment waits as well until the new replica is ready.
                await becomes(ports[1], 200)
                await asyncio.sleep(3)
                await stage.deployment.end(signal.SIGTERM)
                await becomes(ports[0], 200)
                await asyncio.sleep(3)
        (await finishing).check(calm, RETRIED)


class OldLists:
    """Remembers what lists show, and later shows it once more, while watches say nothing.

    Args:
        only: Resources that are shown so; none means all, whose watches go on.
    """

    def __init__(self, *only: str) -> None:
        self._only = only
        self._known: dict[str, Answer] = {}
        self._kept = False
        self._until: float | None = 0.0
        self.shown = 0

    def keep(self) -> None:
        """Remembers nothing more."""
        self._kept = True

    def begin(self) -> None:
        """Shows what it knows until some seconds after somebody has begun to lead by it."""
        self._until = None

    @property
    def shows(self) -> bool:
        """Whether it does so now."""
        return self._until is None or time.monotonic() < self._until

    async def over(self) -> None:
        """Waits until it does not."""
        async with asyncio.timeout(PATIENCE):
            while self.shows:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def __call__(self, request: Request, forward: Forward) -> Answer:
        """The fault."""
        if request.method != "GET" or request.name:
            return await forward()
        # Whoever leads lists all kinds with a selector, kopf only those of others.
        if self._until is None and request.resource in OURS and "labelSelector" in request.query:
            self._until = time.monotonic() + LAG
        if not self._concerns(request):
            return await forward()
        path = f"{request.path}?{sorted(request.query.items())}"
        if self.shows and path in self._known:
            self.shown += 1
            return self._known[path]
        answer = await forward()
        if not self._kept:
            self._known[path] = answer
        return answer

    async def late(self, request: Request, lines: Lines) -> AsyncIterator[bytes]:
        """The fault of watches."""
        async for line in lines:
            if self._only and self._concerns(request):
                await self.over()
            yield line

    def _concerns(self, request: Request) -> bool:
        return not self._only or request.resource in self._only


async def lists_again(stage: Stage) -> None:
    """The operator is killed, and comes again."""
    before = stage.deployment.restarts
    await stage.deployment.end(signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        while stage.deployment.restarts == before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await stage.at_work()


async def begun(stage: Stage) -> bool:
    """Whether KubeRay has begun with the second attempt."""
    rayjob = await stage.namespace.get("RayJob", f"{JOB}-a2") or {}
    return bool((rayjob.get("status") or {}).get("rayClusterName"))


@pytest.mark.parametrize(
    "only", [(), ("trainingjobs",), ("rayjobs",)], ids=["all", "jobs", "RayJobs"]
)
@pytest.mark.parametrize("scenario", [RETRIED, SUSPENDED], ids=lambda s: s.name)
async def test_a_restart_against_old_lists(
    theatre: Theatre, scenario: Scenario, only: tuple[str, ...]
) -> None:
    """F6: for a while lists show what was there long ago; or those of one kind alone do.

    Of jobs: the second attempt's RayJob is there, and the job that is seen knows only the first.
    Of RayJobs: the job is in its second attempt, and the first one's RayJob seems to run.
    """
    calm = await theatre.calmly(scenario)
    async with theatre.stage(scenario) as stage:
        old = OldLists(*only)
        stage.proxy.fault, stage.proxy.watch_fault = old, old.late
        await stage.create()
        await stage.until(trains)
        await lists_again(stage)
        old.keep()
        await stage.until(lambda job: (job or {})["status"]["attempt"] == 2)
        async with asyncio.timeout(PATIENCE):
            while not await stage.namespace.get("RayJob", f"{JOB}-a2"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with stage.deployment.absent():
            old.begin()
            # KubeRay goes on, and then waits: what it did is told once, and late.
            await stage.until_found(lambda: begun(stage))
        # By what it reads of a job alone the operator may well come to the end before.
        await stage.finish()
        await old.over()
        ending = await stage.finish()
        assert old.shown
        ending.check(calm, scenario)


async def test_a_restart_against_an_old_endpoint(theatre: Theatre) -> None:
    """F6: it shows the revision that was replaced, and is gone."""
    calm = await theatre.calmly(PROMOTED)
    async with theatre.stage(PROMOTED) as stage:
        old = OldLists("modelendpoints")
        stage.proxy.fault, stage.proxy.watch_fault = old, old.late
        await stage.create()
        await stage.until(serves("v1"))
        await lists_again(stage)
        old.keep()
        await stage.until(serves("v2"))
        async with stage.deployment.absent():
            old.begin()
        await old.over()
        await asyncio.sleep(2)
        ending = await stage.finish()
        assert old.shown
        ending.check(calm, PROMOTED)


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda s: s.name)
async def test_events_that_never_come(theatre: Theatre, scenario: Scenario) -> None:
    """F7: two of three watch events are lost; what is listed now and then must do."""
    calm = await theatre.calmly(scenario)
    async with theatre.stage(scenario, resync_seconds="2") as stage:
        stage.proxy.watch_fault = forgetful
        (await stage.play()).check(calm, scenario)


@pytest.mark.parametrize("scenario", [RETRIED, SUSPENDED], ids=lambda s: s.name)
async def test_states_that_are_never_seen(theatre: Theatre, scenario: Scenario) -> None:
    """F7: the world goes on without waiting for the operator, which is slow."""

    async def slow(request: Request, forward: Forward) -> Answer:
        await asyncio.sleep(0.15 if request.write else 0)
        return await forward()

    async with theatre.stage(scenario) as stage:
        stage.proxy.fault, stage.world.patient = slow, False
        ending = await stage.play()
        ending.check(await theatre.calmly(scenario), scenario, same=False)
        assert ending.history[-1]["phase"] == "Succeeded"


@pytest.mark.parametrize("fault", [duplicated, swapped], ids=["twice", "in another order"])
@pytest.mark.parametrize("scenario", [RETRIED, SUSPENDED, DELETED], ids=lambda s: s.name)
async def test_events_come_twice_or_in_another_order(
    theatre: Theatre, scenario: Scenario, fault: object
) -> None:
    """F8: no extra writes."""
    calm = await theatre.calmly(scenario)
    async with theatre.stage(scenario) as stage:
        stage.proxy.watch_fault = fault
        ending = await stage.play()
        ending.check(calm, scenario)
        ending.check_frugal(scenario)


@pytest.mark.parametrize("itself", [True, False], ids=["the object itself", "all else"])
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda s: s.name)
async def test_one_watch_is_later_than_another(
    theatre: Theatre, scenario: Scenario, itself: bool
) -> None:
    """F6: an object and its children are never seen as they were at one moment."""
    own, lags = PATHS[scenario.kind].rpartition("/")[2], late(BEHIND)

    def fault(request: Request, lines: Lines) -> Lines:
        concerned = request.resource != "leases" and (request.resource == own) == itself
        return lags(request, lines) if concerned else lines

    async with theatre.stage(scenario) as stage:
        stage.proxy.watch_fault = fault
        (await stage.play()).check(await theatre.calmly(scenario), scenario)


async def created_again(stage: Stage) -> Ending:
    """A job trains; it is deleted and made anew while the operator is down."""
    await stage.create()
    await stage.until(trains)
    async with stage.deployment.absent():
        await stage.namespace.delete("TrainingJob", JOB)
        await stage.namespace.create(training_job())
    return await stage.finish()


async def test_deleted_and_created_again_meanwhile(theatre: Theatre) -> None:
    """F9: what belongs to the former job is not taken for the new one's."""
    calm = await theatre.calmly(SUCCESS)
    async with theatre.stage(SUCCESS) as stage:
        ending = await created_again(stage)
        assert ending.objects.keys() == calm.objects.keys()
        assert ending.creations == {**SUCCESS.creations, "configmaps": 2, "rayjobs": 2}
        assert ending.history[-1]["phase"] == "Succeeded"
        assert [a["number"] for a in ending.history[-1]["attempts"]] == [1]
        ending.check_log()


@pytest.fixture
def restorable() -> Iterator[Backup]:
    """etcd's data, to be put back."""
    backup = Backup(STATE)
    yield backup
    shutil.rmtree(backup.copy, ignore_errors=True)


class Backup:
    """etcd at one moment. The API server is started anew both for taking and for restoring it."""

    def __init__(self, state: Path) -> None:
        self.data, self.copy, self._pids = state / "etcd", state / "etcd.backup", state / "pids"

    def take(self) -> None:
        """Copies the data while nothing runs."""
        self._stop()
        shutil.copytree(self.data, self.copy)
        cluster_tool("control-plane-up")

    def restore(self) -> None:
        """Puts it back."""
        self._stop()
        shutil.rmtree(self.data)
        shutil.copytree(self.copy, self.data)
        cluster_tool("control-plane-up")

    def _stop(self) -> None:
        for name in ("kube-apiserver", "etcd"):
            pid = (self._pids / name).read_text().split()[0]
            os.kill(int(pid), signal.SIGKILL)
            # Nobody may ever collect the dead process.
            stat = Path(f"/proc/{pid}/stat")
            while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.05)


async def lists_the_past(stage: Stage) -> None:
    """Waits until the operator knows that etcd was restored, and has done what it makes of that."""

    def knows() -> bool:
        said = [line["message"] for line in stage.deployment.lines()]
        return any(f"back in time; {what}" in text for what in ("rayjobs", JOB) for text in said)

    async with asyncio.timeout(PATIENCE):
        while not knows() or not await stage.quiet():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_etcd_is_restored_from_a_backup(theatre: Theatre, restorable: Backup) -> None:
    """F10: resource versions go back; the operator looks anew and converges without a crash."""
    scenario = RETRIED
    calm = await theatre.calmly(scenario)
    async with theatre.stage(scenario) as stage:
        await stage.create()
        await stage.until(trains)
        await asyncio.to_thread(restorable.take)
        await stage.until(lambda job: (job or {})["status"]["attempt"] == 2)
        await asyncio.to_thread(restorable.restore)
        # KubeRay is slower than the operator: what ran then runs again, for a while.
        await lists_the_past(stage)
        assert trains(await stage.it())
        assert [one["metadata"]["name"] for one in await stage.namespace.list("RayJob")] == [
            f"{JOB}-a1"
        ]
        ending = await stage.finish()
        assert stage.deployment.restarts == 0
        assert ending.objects.keys() == calm.objects.keys()
        assert ending.history[-1]["phase"] == "Succeeded"
        ending.check_log()
