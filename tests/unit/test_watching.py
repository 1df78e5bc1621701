"""What becomes of watches when kopf ends, with kopf played by the test."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Collection
from typing import Any

import kopf
import pytest
from kubernetes.aio.client import Configuration

from loopwright import logs
from loopwright import operator as module
from loopwright.kube.connection import Connection
from loopwright.operator import Backoffs, configure, watch
from loopwright.settings import Settings

pytestmark = pytest.mark.timeout(30)


class FakeKopf:
    """Ends with an error as often as it was told to, and leaves a watch behind as kopf does."""

    def __init__(self, failures: int) -> None:
        self.failures, self.starts = failures, 0
        self.watches: list[asyncio.Task[Any]] = []

    async def spawn_tasks(self, **options: Any) -> Collection[asyncio.Task[Any]]:
        self.starts += 1
        options["ready_flag"].set_result(None)
        self.watches.append(asyncio.create_task(asyncio.sleep(60), name="watcher for rayjobs"))
        if self.starts <= self.failures:
            return [asyncio.create_task(self._fail()), asyncio.create_task(asyncio.sleep(60))]
        return [asyncio.create_task(options["stop_flag"].wait())]

    async def _fail(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("malformed line")


async def test_watches_begin_again_and_nothing_else_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake, stop, ready = FakeKopf(failures=2), asyncio.Event(), asyncio.Semaphore(0)
    monkeypatch.setattr(kopf, "spawn_tasks", fake.spawn_tasks)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    connection = Connection(Configuration(host="http://127.0.0.1"))
    watching = asyncio.create_task(
        watch(connection, Settings(), lambda *_: None, ready.release, stop)
    )
    for _ in range(2):
        await ready.acquire()
    ours = asyncio.create_task(asyncio.sleep(60))
    await ready.acquire()
    assert [task.cancelled() for task in fake.watches] == [True, True, False]
    stop.set()
    await watching
    assert fake.watches[-1].cancelled()
    assert not ours.done()
    ours.cancel()
    assert caplog.text.count("watching broke off: ValueError: malformed line; again in") == 2


def test_requests_are_tried_again_for_ever() -> None:
    pauses = list(itertools.islice(Backoffs(), 100))
    assert 0.8 <= pauses[0] <= 1.2
    assert all(8 <= pause <= 12 for pause in pauses[10:])
    assert pauses != list(itertools.islice(Backoffs(), 100))


def test_kopf_never_kills_this_process() -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    assert settings.process.ultimate_exiting_timeout is None


@pytest.mark.parametrize(
    ("name", "message", "shown"),
    [
        ("kopf._core.reactor.orchestration", "Watcher for rayjobs has failed: oops", False),
        ("asyncio", "never retrieved: <Task name='watcher for rayjobs' coro=…>", False),
        ("asyncio", "closing of asynchronous generator <object infinite_watch at …>", None),
        ("kopf.objects", "Handler 'on_event' failed with an exception", True),
        ("loopwright.controller", "reconcile failed", True),
    ],
)
def test_a_watch_that_fails_is_no_reason_for_a_traceback(
    capsys: pytest.CaptureFixture[str], name: str, message: str, shown: bool | None
) -> None:
    root, kopfs = logging.getLogger(), logging.getLogger("kopf")
    before = (root.handlers[:], root.level, kopfs.level)
    try:
        logs.configure("INFO")
        try:
            raise ValueError("oops")
        except ValueError:
            logging.getLogger(name).exception(message)
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        kopfs.setLevel(before[2])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [] if shown is None else [(message, shown)]
    assert [(line["message"], "exception" in line) for line in lines] == expected
