"""What a container does before Kubernetes stops it, and what it prints."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from loopwright.runtime import console, prestop

pytestmark = pytest.mark.timeout(30)


class Clock:
    """Time that passes when somebody sleeps; then `then` happens."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Passes at once."""
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The hook's folder and time."""
    made = Clock()
    monkeypatch.setattr(prestop, "WORK", tmp_path / "work")
    monkeypatch.setattr(prestop, "STOPPING", tmp_path / "work/stopping")
    monkeypatch.setattr(prestop, "time", made)
    monkeypatch.setenv(prestop.ENV_GRACE, "60")
    return made


def test_before_training_it_only_notes_that_the_pod_stops(clock: Clock) -> None:
    prestop.main()
    assert prestop.STOPPING.exists()
    assert clock.now == 0


@pytest.mark.parametrize("folder", ["", "trials/t7-1"])
def test_processes_are_told_and_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    code = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        file = prestop.WORK / folder / prestop.PROCESSES
        file.parent.mkdir(parents=True)
        file.write_text(f"{process.pid}")

        def sleep(seconds: float) -> None:
            clock.now += seconds
            assert process.wait(10) == -signal.SIGTERM
            file.unlink()

        monkeypatch.setattr(clock, "sleep", sleep)
        prestop.main()
    assert clock.now == pytest.approx(0.1)


def test_one_that_has_ended_does_not_spare_the_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def kill(pid: int, number: int) -> None:
        told.append(pid)
        if pid == 1001:
            raise ProcessLookupError

    monkeypatch.setattr(prestop, "os", SimpleNamespace(kill=kill, environ={}))
    prestop.WORK.mkdir()
    (prestop.WORK / prestop.PROCESSES).write_text("1001 1002")
    prestop.main()
    assert told == [1001, 1002]


def test_it_leaves_ray_some_of_the_grace_period(clock: Clock) -> None:
    prestop.WORK.mkdir()
    (prestop.WORK / prestop.PROCESSES).write_text("")
    prestop.main()
    assert clock.now == pytest.approx(60 - prestop.RESERVE, abs=0.2)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The log of the container."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(console, "CONTAINER", str(tmp_path / "log"))
    console._container.cache_clear()
    yield tmp_path / "log"
    console._container.cache_clear()


def test_lines_are_in_the_containers_log(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console.say("one")
    console.say("two")
    assert log.read_text() == "one\ntwo\n"
    assert capsys.readouterr().out == "one\ntwo\n"


def test_without_such_a_log_they_are_printed_alone(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.mkdir()
    console.say("one")
    assert capsys.readouterr().out == "one\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_log_that_is_full_stops_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.symlink_to("/dev/full")
    console.say("one")
    console.say("two")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_output_that_is_full_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps what its workers print in files on the pod's disk."""

    def full(text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(console, "_container", lambda: None)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=full, flush=lambda: None))
    console.say("one")
