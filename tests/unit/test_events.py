"""Events: written when there is nothing else to do, and soon anyway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from loopwright.kube import events
from loopwright.kube.errors import Conflict, Unavailable
from loopwright.kube.events import Recorder

pytestmark = pytest.mark.timeout(30)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
META = {"name": "job", "namespace": "n", "uid": "u", "resourceVersion": "5"}
OBJ = {"apiVersion": "loopwright.io/v1alpha1", "kind": "TrainingJob", "metadata": META}


class FakeClient:
    """Stores Events, or refuses them."""

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.stored: list[str] = []

    async def create(self, _: object, event: dict[str, Any]) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.stored.append(event["message"])


class Bureau:
    """A recorder that may be busy."""

    def __init__(self) -> None:
        self.client, self.busy = FakeClient(), False
        self.recorder = Recorder(self.client, lambda: self.busy)  # type: ignore[arg-type]

    def say(self, *messages: str) -> None:
        for message in messages:
            self.recorder.record(OBJ, "Normal", "Said", message, NOW)


@pytest.fixture
async def bureau() -> Any:
    made = Bureau()
    running = asyncio.create_task(made.recorder.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_events_wait_for_other_work(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK", 0.01)
    bureau.busy = True
    bureau.say("one", "two")
    await asyncio.sleep(0.05)
    assert bureau.client.stored == []
    bureau.busy = False
    await bureau.recorder.drain(5)
    assert bureau.client.stored == ["one", "two"]


async def test_events_do_not_wait_for_ever(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK", 0.01)
    monkeypatch.setattr(events, "PATIENCE", 0.05)
    bureau.busy = True
    bureau.say("one", "two")
    await bureau.recorder.drain(5)
    assert bureau.client.stored == ["one", "two"]


async def test_what_is_refused_is_not_tried_again(bureau: Bureau) -> None:
    bureau.client.refusals = [Conflict("said before"), Unavailable("busy")]
    bureau.say("one", "two", "three")
    await bureau.recorder.drain(5)
    assert bureau.client.stored == ["three"]
