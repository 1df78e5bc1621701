"""F16 and F17: watches that end, and watches that say nonsense; F16's silence is in test_server."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest
from faults import refuse
from proxy import Fault, Request, WatchFault
from scenario import Scenario, Stage
from scenarios.trainingjob import DELETED, RETRIED, SUCCESS, SUSPENDED
from theatre import Theatre
from watches import cut, say_first


def error(code: int) -> bytes:
    """A watch's last line."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    line = {"type": "ERROR", "object": {**status, "message": "injected", "reason": "Injected"}}
    return json.dumps(line).encode() + b"\n"


NONSENSE: Final = {
    "malformed": b'{"type": "MODIFIED", "obj\n',
    "of an unknown type": b'{"type": "RENAMED", "object": {"metadata": {}}}\n',
    "of no object": b'{"type": "ADDED", "object": {}}\n',
    "of a broken server": error(500),
}


async def survives(
    theatre: Theatre, scenario: Scenario, watch_fault: WatchFault, fault: Fault | None = None
) -> None:
    """Plays a life with a fault of watches; it ends as without, and all is watched once."""
    async with theatre.stage(scenario) as stage:
        stage.proxy.watch_fault = watch_fault
        stage.proxy.fault = fault or stage.proxy.fault
        ending = await stage.play()
        ending.check(await theatre.calmly(scenario), scenario)
        assert stage.deployment.restarts == 0
        said = [line["message"] for line in ending.log]
        leads = sum(text.startswith("this replica leads") for text in said)
        # A machine that is too busy to renew the Lease in time is none of the fault's business.
        late = [text for text in said if text.startswith("stepping down")]
        assert 1 <= leads <= 1 + len(late), said
        assert not [text for text in late if "another replica" in text]
        # The end of one that was begun anew may be noticed a little later.
        await stage.until_found(lambda: once(stage))


async def once(stage: Stage) -> bool:
    """Whether nothing is watched twice, whenever one looks."""
    for _ in range(10):
        if len(stage.proxy.watched) != len(set(stage.proxy.watched)):
            return False
        await asyncio.sleep(0.1)
    return True


async def test_watches_that_end_every_second(theatre: Theatre) -> None:
    """F16: each watch is closed properly after a second, again and again."""
    # One after the other: each operator lists all kinds all the time.
    for scenario in (RETRIED, SUSPENDED, DELETED):
        await survives(theatre, scenario, cut(1))


async def test_versions_that_are_gone(theatre: Theatre) -> None:
    """F16: 410 in the stream, or instead of one."""

    def watches(request: Request) -> bool:
        return request.watch

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(survives(theatre, SUCCESS, say_first(error(410), times=3)))
        tasks.create_task(survives(theatre, SUCCESS, cut(2), refuse(410, watches, times=10)))


@pytest.mark.parametrize("name", NONSENSE)
async def test_lines_that_mean_nothing(theatre: Theatre, name: str) -> None:
    """F17: it is logged, the watch is begun again, and neither process nor leader ends."""
    await survives(theatre, SUCCESS, say_first(NONSENSE[name], times=2))
