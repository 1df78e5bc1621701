"""What people do to a job and to what belongs to it, and how to look at the result."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from fake_world import CHILDREN, FakeWorld, Namespace, Object
from faults import Matches
from proxy import Answer, Fault, Forward, Request
from scenario import Ending, Scenario, Stage
from scenarios.trainingjob import JOB, SUCCESS, trains
from theatre import Theatre

ACCOUNT: Final = "loopwright-runtime"
RESOURCES: Final = {
    "ConfigMap": "configmaps", "NetworkPolicy": "networkpolicies",
    "ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings",
}  # fmt: skip
# What a job's attempts rely on; all but the script is shared by all jobs of the namespace.
SCRIPT: Final = ("ConfigMap", f"{JOB}-script")
SUPPORT: Final = (
    SCRIPT, ("NetworkPolicy", ACCOUNT), ("ServiceAccount", ACCOUNT), ("Role", ACCOUNT),
    ("RoleBinding", ACCOUNT),
)  # fmt: skip
RAYJOB: Final = ("RayJob", f"{JOB}-a1")


def held(scenario: Scenario = SUCCESS, **creations: int) -> Scenario:
    """A life that trains on and on until it is let go.

    Args:
        creations: How many more children of a kind are made than otherwise, by plural.
    """
    made = {kind: count + creations.get(kind, 0) for kind, count in scenario.creations.items()}
    world = lambda namespace: FakeWorld(namespace, JOB, ("runs",))  # noqa: E731
    return replace(scenario, world=world, creations=made)


@contextlib.asynccontextmanager
async def training(theatre: Theatre, scenario: Scenario) -> AsyncIterator[Stage]:
    """A stage in the middle of training."""
    async with theatre.stage(scenario) as stage:
        await stage.create()
        await stage.until(trains)
        yield stage


async def let_go(stage: Stage) -> Ending:
    """Lets training succeed."""
    stage.world.outcomes = ("succeeds",)
    return await stage.finish()


def nth_write(number: int) -> Matches:
    """The n-th write from now on."""
    count = itertools.count(1)
    return lambda request: request.write and next(count) == number


def once(matches: Matches, do: Callable[[], Awaitable[None]], *, before: bool) -> Fault:
    """Something happens when the first such request arrives, or when it is stored."""
    done = False

    async def fault(request: Request, forward: Forward) -> Answer:
        nonlocal done
        if done or not matches(request):
            return await forward()
        done = True
        if before:
            await do()
        answer = await forward()
        if not before:
            await do()
        return answer

    return fault


async def children(namespace: Namespace) -> list[str]:
    """What was made for jobs and is still there."""
    return [
        f"{kind}/{child['metadata']['name']}"
        for kind in CHILDREN
        for child in await namespace.list(kind)
        if "loopwright.io/name" in (child["metadata"].get("labels") or {})
    ]


def condition(job: Object | None, kind: str) -> Object:
    """One of a job's conditions; empty when it has none of that type."""
    found = ((job or {}).get("status") or {}).get("conditions", [])
    return next((one for one in found if one["type"] == kind), {})


def waits_for(reason: str) -> Callable[[Object | None], bool]:
    """Whether a job says that it waits, and why."""

    def look(job: Object | None) -> bool:
        ready = condition(job, "Ready")
        return ready.get("reason") == reason and condition(job, "Reconciling")["status"] == "True"

    return look


def status(job: Object | None) -> dict[str, Any]:
    """A job's status."""
    found: dict[str, Any] = (job or {}).get("status") or {}
    return found


async def requests(stage: Stage, seconds: float) -> Counter[str]:
    """What the operator asks for in a while, but for its Lease.

    And but for what it lists and watches: it does so anew after a silence, whenever that was long
    enough.
    """
    before = len(stage.proxy.requests)
    await asyncio.sleep(seconds)
    later = [r for r, _ in stage.proxy.requests[before:] if r.method != "GET" or r.name]
    return Counter(f"{r.method} {r.resource}" for r in later if r.resource != "leases")
