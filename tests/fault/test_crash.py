"""F1 to F4: the operator dies, at every write of whole lives."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest
from faults import KillAt
from scenario import Scenario, Stage
from scenarios import ALL, CHOSEN, LONG, SCENARIOS, trainingjob
from theatre import Theatre

# Runs at the same time: one waits while the other computes.
SIDE_BY_SIDE = 3


def ids(scenario: Scenario) -> str:
    """A test's name."""
    return scenario.name


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
async def test_a_life_without_faults(theatre: Theatre, scenario: Scenario) -> None:
    calm = await theatre.calmly(scenario)
    calm.check(calm, scenario)
    told = [write for write in calm.writes if write.resource == "events"]
    made = [str(write) for write in calm.writes if write.resource != "events"]
    print(f"{scenario.name}: {len(made)} writes, {len(told)} Events, {calm.requests} requests")
    calm.check_frugal(scenario)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
async def test_killed_at_every_write(theatre: Theatre, scenario: Scenario, when: str) -> None:
    """F1 and F2: SIGKILL before the k-th write arrives, or after it was stored, for every k.

    Where not all is asked for, the longest lives of a TrainingJob are killed after every write, the
    longest of other kinds at every sixth, and all others at every twelfth.
    """
    calm = await theatre.calmly(scenario)
    every = ALL or (when == "after" and scenario in LONG and scenario in trainingjob.SCENARIOS)
    step = 1 if every else 6 if scenario in LONG else 12
    first = 2 if when == "after" and not every else 1
    numbers = range(first, len(calm.writes) + 1, step)
    gate = asyncio.Semaphore(SIDE_BY_SIDE)
    happened: list[str] = []

    async def one(number: int) -> None:
        async with gate, theatre.stage(scenario) as stage:
            stage.proxy.fault = kill = KillAt(stage.deployment, {number}, when)
            ending = await stage.play()
            happened.extend(kill.at)
            # Writes that run side by side differ in order, so the last may not be reached.
            assert stage.deployment.restarts == len(kill.at) <= 1
            ending.check(calm, scenario)

    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(one(number))
    print(f"{scenario.name}: killed {when} {len(happened)} writes: {', '.join(sorted(happened))}")
    # Nor is the same number of writes needed each time.
    assert len(happened) >= min(len(numbers) - 2, 0.75 * len(numbers))


@pytest.mark.parametrize("scenario", CHOSEN, ids=ids)
async def test_killed_twice_in_a_row(theatre: Theatre, scenario: Scenario) -> None:
    """F3: dies at a write, and once more at the next."""
    calm = await theatre.calmly(scenario)
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(number: int) -> None:
        async with gate, theatre.stage(scenario) as stage:
            stage.proxy.fault = KillAt(stage.deployment, {number, number + 1}, "after")
            (await stage.play()).check(calm, scenario)

    async with asyncio.TaskGroup() as tasks:
        for number in range(1, len(calm.writes), 3 if ALL else 6):
            tasks.create_task(one(number))


@pytest.mark.parametrize("scenario", CHOSEN, ids=ids)
async def test_killed_again_and_again(theatre: Theatre, scenario: Scenario) -> None:
    """F3: dies every two seconds for half a minute, whatever it is doing."""
    calm = await theatre.calmly(scenario)

    async with theatre.stage(scenario) as stage:

        async def murder() -> None:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                await asyncio.sleep(2)
                stage.deployment.signal(signal.SIGKILL)

        murderer = asyncio.create_task(murder())
        ending = await stage.play()
        murderer.cancel()
        ending.check(calm, scenario)


async def test_told_to_stop_in_the_middle(theatre: Theatre) -> None:
    """F4: SIGTERM at each write; it ends by itself and gives the Lease back."""
    scenario = SCENARIOS[0]
    calm = await theatre.calmly(scenario)
    for number in (1, 3, 5):
        async with theatre.stage(scenario, identity="") as stage:
            # Without a fixed name the next one would wait for a Lease that was not given back.
            await stage.stop_at(number)
            ending = await stage.play()
            ending.check(calm, scenario)
            assert stage.deployment.restarts == 1
            assert [holder for holder in holders(stage) if holder == ""] == [""]


def holders(stage: Stage) -> list[str]:
    """Whom the Lease has named, as it was written."""
    written = [r for r, status in stage.proxy.served if r.method == "PUT" and status == 200]
    specs = [json.loads(r.body)["spec"] for r in written if r.resource == "leases"]
    return [str(spec["holderIdentity"]) for spec in specs]
