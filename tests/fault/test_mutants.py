"""R7, and operators broken on purpose: one that the suite does not catch proves the suite weak."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from fake_world import Object
from scenario import PATIENCE, Scenario, Stage
from scenarios import modelendpoint
from scenarios.modelendpoint import PROMOTED, SERVING
from scenarios.registry import APPROVED, REGISTERED
from scenarios.trainingjob import ENDLESS, RETRIED, SUCCESS, trains
from theatre import Theatre

# Looks every second at everything, by the wheel that is the net under missed events.
LOOKS_OFTEN = {"resync_seconds": "1"}


async def check_rest(stage: Stage, seconds: float = 12) -> None:
    """Looks at a job without news write nothing."""
    await stage.settled()
    before, until = len(stage.proxy.writes()), time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        written = [str(write) for write in stage.proxy.writes()[before:]]
        assert not written, f"written at rest: {written}"


@pytest.mark.parametrize("scenario", [SUCCESS, APPROVED, SERVING], ids=lambda one: one.name)
async def test_nothing_is_written_about_what_ended(theatre: Theatre, scenario: Scenario) -> None:
    async with theatre.stage(scenario, **LOOKS_OFTEN) as stage:
        await stage.play()
        await check_rest(stage)


async def test_nothing_is_written_while_training_has_no_news(theatre: Theatre) -> None:
    async with theatre.stage(ENDLESS, **LOOKS_OFTEN) as stage:
        await stage.create()
        await stage.until(trains)
        await check_rest(stage)


@pytest.mark.parametrize(
    ("scenario", "at_rest"),
    [(ENDLESS, trains), (SERVING, modelendpoint.serves("v1"))],
    ids=["job", "endpoint"],
)
async def test_a_time_that_is_written_at_each_look_is_caught(
    theatre: Theatre, scenario: Scenario, at_rest: Callable[[Object | None], bool]
) -> None:
    async with theatre.stage(scenario, "a_new_time_each_time", **LOOKS_OFTEN) as stage:
        await stage.create()
        await stage.until(at_rest)
        with pytest.raises(AssertionError, match="written at rest"):
            await check_rest(stage, PATIENCE)


@pytest.mark.parametrize(
    ("scenario", "mutant", "told"),
    [
        (RETRIED, "effect_before_intent", "is not on record"),
        (REGISTERED, "version_before_intent", "is not on record"),
        (PROMOTED, "service_before_intent", "is not on record"),
        (PROMOTED, "service_before_its_record", "has no record"),
    ],
    ids=["attempt", "version", "service", "record"],
)
async def test_an_effect_before_its_intent_is_caught(
    theatre: Theatre, scenario: Scenario, mutant: str, told: str
) -> None:
    async with theatre.stage(scenario, mutant) as stage:
        ending = await stage.play()
    with pytest.raises(AssertionError, match=told):
        ending.check_intents()


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        ("traffic_before_ready", "sends requests to .* not ready"),
        ("old_goes_first", "while requests are sent there"),
    ],
    ids=["ready", "old"],
)
async def test_requests_that_nobody_would_answer_are_caught(
    theatre: Theatre, mutant: str, told: str
) -> None:
    async with theatre.stage(PROMOTED, mutant) as stage:
        ending = await stage.play()
    with pytest.raises(AssertionError, match=told):
        ending.check_intents()
