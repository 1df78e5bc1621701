"""What the kubelet is told about a replica."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from loopwright.health import SILENCE, UNREACHABLE, Health

pytestmark = pytest.mark.timeout(30)


class Probes:
    """A replica's health, asked over HTTP, and its clock."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.answered: float | None = None
        self.changed: float | None = None
        self.health = Health(
            lambda: self.now, lambda: self.answered or self.now, lambda: self.changed or self.now
        )
        self.url = ""

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    probes = Probes()
    runner = await probes.health.serve(0)
    probes.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield probes
    await runner.cleanup()


async def test_a_replica_lives_while_events_arrive(probes: Probes) -> None:
    for _ in range(5):
        probes.now += SILENCE - 1
        assert (await probes.get("/healthz"))[0] == 200
        probes.health.event()


async def test_a_replica_whose_watches_are_silent_is_dead_until_they_speak(probes: Probes) -> None:
    probes.health.event()
    probes.now += SILENCE
    assert await probes.get("/healthz") == (500, "last watch event 180 s ago")
    probes.health.event()
    assert await probes.get("/healthz") == (200, "last watch event 0 s ago")


async def test_silence_while_nothing_changes_is_no_reason_to_end(probes: Probes) -> None:
    """etcd is full: reads are answered, but the Lease cannot be renewed."""
    probes.health.event()
    probes.changed = probes.now
    probes.now += 10 * SILENCE
    assert (await probes.get("/healthz"))[0] == 200
    probes.changed = probes.now
    assert (await probes.get("/healthz"))[0] == 500


async def test_a_replica_has_time_to_start(probes: Probes) -> None:
    probes.now += SILENCE - 1
    assert (await probes.get("/healthz"))[0] == 200
    probes.now += 2
    assert (await probes.get("/healthz"))[0] == 500


async def test_a_replica_is_ready_once_it_watches(probes: Probes) -> None:
    probes.health.event()
    assert await probes.get("/readyz") == (503, "starting")
    probes.health.synced = True
    assert await probes.get("/readyz") == (200, "ok")
    # Silence is for the liveness probe: a restart helps, no requests come here anyway.
    probes.now += 10 * SILENCE
    assert (await probes.get("/readyz"))[0] == 200
    assert (await probes.get("/metrics"))[0] == 404


async def test_nobody_can_work_without_an_api_server_and_a_restart_would_not_help(
    probes: Probes,
) -> None:
    probes.health.synced, probes.answered = True, probes.now
    probes.now += UNREACHABLE
    assert await probes.get("/readyz") == (503, "the API server does not answer")
    probes.now += SILENCE
    assert (await probes.get("/healthz"))[0] == 200
    probes.answered = None
    assert (await probes.get("/healthz"))[0] == 500
    assert await probes.get("/readyz") == (200, "ok")
