"""F42: the API server's clock counts, whatever this machine's own one does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from loopwright.kube import clock as module
from loopwright.kube.clock import ServerClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Machine:
    """A machine whose own clock may be wrong, and a server whose clock is right."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.up, self.wrong = 100.0, timedelta()
        monkeypatch.setattr(module.time, "time", lambda: (self.server + self.wrong).timestamp())
        self.clock = ServerClock(lambda: self.up)

    @property
    def server(self) -> datetime:
        """The server's time."""
        return NOON + timedelta(seconds=self.up - 100)

    def passes(self, seconds: float) -> None:
        """Time passes, and the server answers something."""
        self.up += seconds
        self.clock.learn(format_datetime(self.server, usegmt=True))

    def off(self) -> float:
        """Seconds that the clock is wrong by."""
        return abs((self.clock.now() - self.server).total_seconds())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize("hours", [-1, 0, 1, 24 * 365])
def test_a_clock_that_is_wrong_does_not_matter(machine: Machine, hours: int) -> None:
    machine.wrong = timedelta(hours=hours)
    machine.clock = ServerClock(lambda: machine.up)
    machine.passes(0.5)
    assert machine.off() <= 1


def test_a_clock_that_jumps_does_not_matter(machine: Machine) -> None:
    machine.passes(1)
    for hours in (1, -1, 0):
        machine.wrong = timedelta(hours=hours)
        before = machine.clock.now()
        machine.passes(10)
        assert machine.off() <= 1
        assert abs((machine.clock.now() - before).total_seconds() - 10) <= 1


def test_time_never_trembles(machine: Machine) -> None:
    machine.passes(1)
    times = []
    for _ in range(200):
        machine.passes(0.37)
        times.append(machine.clock.now())
    assert times == sorted(times)


def test_another_server_may_know_better(machine: Machine) -> None:
    machine.passes(1)
    machine.up += 5
    later = machine.server + timedelta(minutes=5)
    machine.clock.learn(format_datetime(later, usegmt=True))
    assert abs((machine.clock.now() - later).total_seconds()) <= 1


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Foo 2026 12:00:00 GMT"])
def test_nonsense_is_not_believed(machine: Machine, date: str | None) -> None:
    machine.passes(1)
    machine.up += 5
    machine.clock.learn(date)
    assert machine.off() <= 1
