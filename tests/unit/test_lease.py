"""Leader election: at most one replica acts, and a dead one is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loopwright.kube import lease as module
from loopwright.kube.errors import ApiError, Conflict, NotFound, Unavailable
from loopwright.kube.lease import DURATION, RENEW_DEADLINE, Lease, LostLease

pytestmark = pytest.mark.timeout(30)


class Leases:
    """An API server with one Lease; each look at it takes two seconds of the test's clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stored: dict[str, Any] | None = None
        self.looks = 0
        self.before: Callable[[], None] = lambda: None
        self.between: Callable[[], None] = lambda: None

    async def get(self, *_: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.now += 2
        self.looks += 1
        self.before()
        if self.stored is None:
            raise NotFound("no lease")
        found = {**self.stored, "spec": dict(self.stored["spec"])}
        self.between()
        return found

    async def create(self, _: Any, obj: dict[str, Any]) -> dict[str, Any]:
        if self.stored is not None:
            raise Conflict("exists")
        return self._store(obj)

    async def replace(self, _: Any, obj: dict[str, Any]) -> dict[str, Any]:
        assert self.stored is not None
        if obj["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise Conflict("modified")
        return self._store(obj)

    def held_by(self, who: str, renewed: str = "2026-01-01T00:00:00.000000Z") -> None:
        """Somebody else writes."""
        spec = {"holderIdentity": who, "renewTime": renewed, "acquireTime": "2026"}
        self._store({"metadata": {"name": "l"}, "spec": spec})

    def _store(self, obj: dict[str, Any]) -> dict[str, Any]:
        version = int((self.stored or {}).get("metadata", {}).get("resourceVersion", 0)) + 1
        self.stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
        return self.stored

    @property
    def spec(self) -> dict[str, Any]:
        """What is stored."""
        assert self.stored is not None
        return self.stored["spec"]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Leases:
    monkeypatch.setattr(module, "RETRY", 0)
    return Leases()


def candidate(api: Any, name: str = "me") -> Lease:
    return Lease(api, "n", name, lambda: api.now)


def fail(error: Exception) -> None:
    raise error


@asynccontextmanager
async def background(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def looks(api: Leases, count: int, task: asyncio.Task[None]) -> None:
    """Waits until the Lease was looked at so often."""
    end = api.looks + count
    while api.looks < end and not task.done():  # noqa: ASYNC110 (it never sleeps)
        await asyncio.sleep(0)


async def test_a_lease_that_is_not_there_is_made(api: Leases) -> None:
    await candidate(api).acquire()
    assert api.looks == 1
    assert api.stored is not None
    assert api.stored["metadata"]["name"] == "loopwright-operator"
    assert api.spec["holderIdentity"] == "me"
    assert api.spec["leaseDurationSeconds"] == 15
    assert api.spec["acquireTime"] == api.spec["renewTime"]


@pytest.mark.parametrize("holder", ["", None, "me"])
async def test_a_lease_that_nobody_else_holds_is_taken_at_once(api: Leases, holder: Any) -> None:
    api.held_by(holder)
    await candidate(api).acquire()
    assert api.looks == 1
    assert api.spec["holderIdentity"] == "me"


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.0Z", "2999-01-01T00:00:00.0Z"])
async def test_a_dead_holder_is_replaced_whatever_its_clock_said(api: Leases, renewed: str) -> None:
    api.held_by("dead", renewed)
    started = api.now
    await candidate(api).acquire()
    assert DURATION < api.now - started <= DURATION + 5
    assert api.spec["holderIdentity"] == "me"
    assert api.spec["acquireTime"] == api.spec["renewTime"]


async def test_a_holder_that_renews_is_left_alone(api: Leases) -> None:
    api.held_by("other")
    api.before = lambda: api.held_by("other", f"t{api.looks // 5}")
    async with background(candidate(api).acquire()) as waiting:
        await looks(api, 50, waiting)
        assert not waiting.done()
        assert api.spec["holderIdentity"] == "other"
        # It dies: the others wait in full from its last sign of life.
        died, api.before = api.now, lambda: None
        await waiting
        assert api.now - died > DURATION - 10


async def test_of_two_candidates_one_wins(api: Leases) -> None:
    api.held_by("")
    async with background(candidate(api, "a").acquire()) as first:
        async with background(candidate(api, "b").acquire()) as second:
            await looks(api, 6, first)
            await looks(api, 6, second)
            assert [first.done(), second.done()].count(True) == 1
            assert api.spec["holderIdentity"] == ("a" if first.done() else "b")


async def test_a_leader_that_cannot_reach_the_server_keeps_asking_to_lead(api: Leases) -> None:
    api.before = lambda: fail(Unavailable("down")) if api.looks < 4 else None
    await candidate(api).acquire()
    assert api.looks == 4


async def test_a_leader_renews(api: Leases) -> None:
    leader = candidate(api)
    await leader.acquire()
    first = dict(api.spec)
    async with background(leader.keep()) as keeping:
        await looks(api, 50, keeping)
        assert not keeping.done()
    assert api.spec["renewTime"] > first["renewTime"]
    same = ("holderIdentity", "acquireTime", "leaseDurationSeconds")
    assert [api.spec[name] for name in same] == [first[name] for name in same]
    # Nobody may take it meanwhile, and everybody may after.
    other = candidate(api, "other")
    async with background(other.acquire()) as waiting:
        await looks(api, 3, waiting)
        assert not waiting.done()


async def test_a_leader_whose_lease_was_taken_stops_at_once(api: Leases) -> None:
    leader = candidate(api)
    await leader.acquire()
    api.held_by("usurper")
    with pytest.raises(LostLease):
        await leader.keep()
    assert api.looks == 2
    assert api.spec["holderIdentity"] == "usurper"


async def test_a_leader_that_is_overtaken_while_it_renews_stops(api: Leases) -> None:
    leader = candidate(api)
    await leader.acquire()
    api.between = lambda: api.held_by("usurper")
    with pytest.raises(LostLease):
        await leader.keep()
    assert api.spec["holderIdentity"] == "usurper"


async def test_a_leader_that_cannot_renew_stops_before_another_may_start(api: Leases) -> None:
    leader, acquired = candidate(api), api.now
    await leader.acquire()
    api.before = lambda: fail(Unavailable("down"))
    with pytest.raises(LostLease):
        await leader.keep()
    assert RENEW_DEADLINE <= api.now - acquired < DURATION


async def test_failures_in_between_are_forgiven(api: Leases) -> None:
    leader = candidate(api)
    await leader.acquire()
    api.before = lambda: fail(Unavailable("down")) if api.looks % 4 else None
    async with background(leader.keep()) as keeping:
        await looks(api, 50, keeping)
        assert not keeping.done()


async def test_a_renewal_without_an_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Leases()
    monkeypatch.setattr(module, "RETRY", 0.01)
    monkeypatch.setattr(module, "RENEW_DEADLINE", 0.05)
    leader = Lease(api, "n", "me")  # type: ignore[arg-type]
    await leader.acquire()

    async def silence(*_: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(api, "get", silence)
    with pytest.raises(LostLease):
        await asyncio.wait_for(leader.keep(), 0.2)


async def test_a_lease_is_given_back(api: Leases) -> None:
    leader = candidate(api)
    await leader.acquire()
    await leader.release()
    assert api.spec["holderIdentity"] == ""
    looked = api.looks
    await candidate(api, "next").acquire()
    assert api.looks == looked + 1


async def test_a_lease_is_given_back_after_a_late_renewal(api: Leases) -> None:
    """Whoever is told to stop in the middle of a renewal does not know whether it is stored."""
    leader = candidate(api)
    await leader.acquire()

    def renewed() -> None:
        api.between = lambda: None
        api.held_by("me", "2026-01-01T00:00:02.000000Z")

    api.between = renewed
    await leader.release()
    assert api.spec["holderIdentity"] == ""


async def test_only_ones_own_lease_is_given_back(api: Leases) -> None:
    api.held_by("other")
    await candidate(api).release()
    assert api.spec["holderIdentity"] == "other"


@pytest.mark.parametrize("error", [Unavailable("down"), NotFound("gone"), ApiError("odd")])
async def test_a_lease_that_cannot_be_given_back_expires(api: Leases, error: ApiError) -> None:
    leader = candidate(api)
    await leader.acquire()
    api.before = lambda: fail(error)
    await leader.release()
    assert api.spec["holderIdentity"] == "me"


async def test_a_lease_of_the_past_tells_of_a_restored_etcd() -> None:
    api, told = Leases(), []
    lease = Lease(api, "n", "me", lambda: api.now, lambda: told.append(api.now))  # type: ignore[arg-type]
    await lease.acquire()
    backup = dict(api.stored or {})
    for _ in range(3):
        await lease._try()
    assert told == []
    api.stored = backup
    assert await lease._try()
    assert len(told) == 1
    await lease._try()
    assert len(told) == 1
