"""Jobs that wait in Kueue's queues, and that it takes out of the cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import fake_client
import pytest
from worlds import World, condition, starts

from loopwright.api.resources import Resource
from loopwright.api.trainingjob_status import Cause, Phase
from loopwright.decide.types import RayJobView, WorkloadView
from loopwright.kube.errors import Forbidden, KindMissing
from loopwright.reconcile import queue

RAYJOB = RayJobView("job-a1", "u1", 1)
FULL = WorkloadView("rayjob-job-a1", "Pending", "insufficient unused quota for cpu")


def test_a_queue_is_waited_for() -> None:
    world = World(scheduling={"queue": "team"})
    world.step()
    world.kuberay(1, "Suspended")
    status = world.step()
    assert status.phase is Phase.QUEUED
    assert condition(status, "Admitted") == ("False", "Waiting")
    world.kuberay(1, "Running")
    assert condition(world.step(), "Admitted") == ("True", "Admitted")


def test_kueue_says_why() -> None:
    world = World(scheduling={"queue": "team"})
    world.step()
    world.kuberay(1, "Suspended")
    assert world.step().queue is not None
    assert world.decision.requeue == 3, "Kueue has not made its Workload yet"
    world.workload = FULL
    status = world.step()
    assert status.queue is not None
    assert status.queue.workload == "rayjob-job-a1"
    assert status.queue.message == FULL.message
    assert condition(status, "Admitted") == ("False", "Pending")
    assert world.decision.requeue == 30
    world.workload = None
    world.kuberay(1, "Running")
    status = world.step()
    assert status.queue is not None
    assert status.queue.admitted_time == world.now
    assert status.queue.message is None
    assert world.step().queue == status.queue, "When it was let in does not change"


def taken_back(world: World) -> World:
    """Kueue preempts the first attempt after ten seconds."""
    world.run()
    world.now += timedelta(seconds=10)
    world.kuberay(1, "Suspending")
    world.workload = WorkloadView("rayjob-job-a1", "Preempted", "Preempted to accommodate another")
    return world


@pytest.mark.parametrize("stopped", [False, True], ids=["silent", "reported"])
def test_preemption_is_no_failure(stopped: bool) -> None:
    world = taken_back(World(scheduling={"queue": "team"}))
    if stopped:
        world.driver(1, "Stopped")
    status = world.step()
    first = status.attempts[0]
    assert first.cause is Cause.SUSPENDED
    assert (status.failures.application, status.failures.infrastructure) == (0, 0)
    assert status.used_runtime_seconds in (11, 12), "Waiting before and after does not count"
    assert [one.message for one in world.decision.happenings if one.reason == "Preempted"] == [
        "attempt 1 was stopped: Preempted to accommodate another"
    ]
    world.workload = None
    world.rayjobs.pop(1, None)
    world.step()
    assert starts(world.decision) == [2], "It queues again"
    world.kuberay(2, "Suspended")
    assert world.step().phase is Phase.QUEUED


def test_what_was_never_let_in_keeps_its_attempt() -> None:
    world = World(scheduling={"queue": "team"})
    world.step()
    world.kuberay(1, "Initializing").step()
    world.kuberay(1, "Suspended")
    status = world.step()
    assert status.phase is Phase.QUEUED
    assert status.attempt == 1
    assert status.attempts[0].end_time is None


def test_without_a_queue_nobody_preempts() -> None:
    world = World().run()
    world.kuberay(1, "Suspending")
    assert world.step().attempts[0].end_time is None


class FakeKueue(fake_client.World):
    """An API server with Workloads."""

    def __init__(self, *workloads: dict[str, Any]) -> None:
        super().__init__()
        self.workloads = workloads
        self.why: Exception | None = None

    async def pages(self, resource: Resource, _: str, selector: str) -> AsyncIterator[Any]:
        self.calls.append(f"pages {resource.kind} {selector}")
        if self.why is not None:
            raise self.why
        yield {"items": list(self.workloads)}


def told(*conditions: tuple[str, str, str, str], active: bool = True) -> dict[str, Any]:
    """A Workload with conditions (type, status, reason, message)."""
    words = ("type", "status", "reason", "message")
    return {
        "metadata": {"name": "w", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"active": active},
        "status": {"conditions": [dict(zip(words, one, strict=True)) for one in conditions]},
    }


PENDING = ("QuotaReserved", "False", "Pending", "insufficient unused quota")
PREEMPTED = ("Preempted", "True", "InClusterQueue", "Preempted to accommodate another")


@pytest.mark.parametrize(
    ("obj", "reason", "message"),
    [
        (told(PENDING), "Pending", "insufficient unused quota"),
        (told(PREEMPTED, PENDING), "Preempted", "Preempted to accommodate another"),
        (told(active=False), "Deactivated", "the Workload was deactivated; set its spec.active "
         "to true to queue it again"),
        (told(), "Waiting", ""),
        (told(("QuotaReserved", "True", "QuotaReserved", "")), "Waiting", ""),
    ],
)  # fmt: skip
async def test_workloads_are_read(obj: dict[str, Any], reason: str, message: str) -> None:
    kueue = FakeKueue(obj)
    found = await queue.workload(kueue.context(), "n", RAYJOB)
    assert found == WorkloadView("w", reason, message)
    assert kueue.calls == ["pages Workload kueue.x-k8s.io/job-uid=u1"]


@pytest.mark.parametrize("why", [KindMissing("no such kind"), Forbidden("no")])
async def test_nothing_depends_on_workloads(why: Exception) -> None:
    kueue = FakeKueue()
    kueue.why = why
    assert await queue.workload(kueue.context(), "n", RAYJOB) is None
    assert await queue.workload(FakeKueue().context(), "n", RAYJOB) is None
