"""Groups of processes, and metrics read from their output."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loopwright.runtime import console, processes
from loopwright.runtime.processes import TAIL_LINES, Ended, Group, metrics

pytestmark = pytest.mark.timeout(30)

SOON = 10.0
WAIT_FOR = """
import os, signal, sys, time
def wait_for(name):
    deadline = time.monotonic() + 10
    while not os.path.exists(name) and time.monotonic() < deadline:
        time.sleep(0.005)
"""
OBEDIENT = """
def stop(*_):
    open("told", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open("ready", "w").close()
signal.pause()
"""
STUBBORN = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ready", "w").close()
while True:
    signal.pause()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the processes run; nothing goes to the log of this container."""
    monkeypatch.setattr(console, "_container", lambda: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_a_folder_of_its_own_nothing_is_left_running(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    code = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(os.getcwd(), child.pid, flush=True)
"""
    group = Group(python(code), [{}], [], folder=tmp_path / "own", label="[t7] ")
    place, pid = group.wait(lambda _: None).tail.split()
    assert place == str(tmp_path / "own")
    deadline = time.monotonic() + SOON
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(pid)


def running(pid: str) -> bool:
    """Whether a process is there, and not only waited for."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str) -> list[str]:
    """The words that run it."""
    return [sys.executable, "-S", "-c", WAIT_FOR + code]


def run(
    words: Sequence[str],
    environments: Sequence[Mapping[str, str]] = ({},),
    patterns: Sequence[str] = (),
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Ended:
    """Runs a group to its end."""
    return Group(words, environments, patterns).wait(tell)


def in_background(
    group: Group, tell: Callable[[dict[str, Any]], None], over: threading.Event
) -> tuple[threading.Thread, list[Ended]]:
    """Waits for the group in a thread; the result is in the list once that has ended."""
    results: list[Ended] = []

    def wait() -> None:
        results.append(group.wait(tell))
        over.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread, results


def wait_for(file: Path) -> None:
    """Until a process has made it."""
    deadline = time.monotonic() + SOON
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} was never made"
        time.sleep(0.005)


@pytest.mark.parametrize("code", [0, 1, 3, 137])
def test_the_exit_code_is_told(code: int) -> None:
    assert run(python(f"sys.exit({code})")).exit_code == code


def test_a_signal_is_a_negative_code() -> None:
    assert run(python("os.kill(os.getpid(), signal.SIGKILL)")).exit_code == -signal.SIGKILL


def test_all_must_succeed() -> None:
    ended = run(python("sys.exit(int(os.environ['CODE']))"), [{"CODE": "0"}, {"CODE": "5"}])
    assert ended.exit_code == 5


def test_each_has_its_own_environment_on_top_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMON", "ours")
    monkeypatch.setenv("RANK", "ours")
    code = "open(os.environ['RANK'], 'w').write(os.environ['COMMON'])"
    assert run(python(code), [{"RANK": "0"}, {"RANK": "1"}]).exit_code == 0
    assert (Path("0").read_text(), Path("1").read_text()) == ("ours", "ours")


def test_one_that_fails_stops_the_others(folder: Path) -> None:
    code = f"""
if os.environ["RANK"] == "1":
    wait_for("ready")
    print("cuda error")
    sys.exit(7)
{OBEDIENT}"""
    ended = run(python(code), [{"RANK": "0"}, {"RANK": "1"}])
    assert ended == Ended(7, "cuda error")
    assert (folder / "told").exists()


def test_stop_asks_first(folder: Path) -> None:
    group = Group(python(OBEDIENT), [{}], [])
    wait_for(folder / "ready")
    group.stop(SOON)
    assert (folder / "told").exists()
    assert group.wait(lambda _: None).exit_code == 0


def test_stop_kills_what_does_not_go(folder: Path) -> None:
    group = Group(python(STUBBORN), [{}], [])
    wait_for(folder / "ready")
    group.stop(0.1)
    assert group.wait(lambda _: None).exit_code == -signal.SIGKILL


def test_waiting_ends_when_another_thread_stops(folder: Path) -> None:
    group = Group(python("open('ready', 'w').close()\nsignal.pause()"), [{}, {}], [])
    thread, results = in_background(group, lambda _: None, threading.Event())
    wait_for(folder / "ready")
    group.stop(SOON)
    thread.join(SOON)
    assert [ended.exit_code for ended in results] == [-signal.SIGTERM]


def test_stopping_what_has_ended_does_nothing() -> None:
    group = Group(python(""), [{}], [])
    assert group.wait(lambda _: None).exit_code == 0
    group.stop(SOON)


def test_the_tail_is_the_end_of_the_output() -> None:
    ended = run(python("for i in range(100): print(i)"))
    assert ended.tail.split("\n") == [str(i) for i in range(100 - TAIL_LINES, 100)]


def test_the_tail_is_that_of_the_process_that_failed() -> None:
    code = "print('rank', os.environ['RANK']); sys.exit(int(os.environ['RANK']))"
    assert run(python(code), [{"RANK": "0"}, {"RANK": "1"}]) == Ended(1, "rank 1")


def test_the_tail_has_the_traceback() -> None:
    ended = run(python("raise ValueError('no such column')"))
    assert ended.exit_code == 1
    assert ended.tail.endswith("ValueError: no such column")


def test_bytes_that_are_no_text_do_not_matter() -> None:
    assert run(python(r"os.write(1, b'\xff\xfe loss\n')")).tail.endswith(" loss")


def test_much_output_does_not_block() -> None:
    assert run(python("sys.stdout.write('x' * 300_000 + '\\n')")).exit_code == 0


def test_output_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    run(python("print('hello')"))
    assert capfd.readouterr().out == "hello\n"
    run(python("print('hello')"), [{}, {}])
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] hello", "[1] hello"]


def test_each_process_has_its_log(folder: Path) -> None:
    logs = [folder / "0.log", folder / "1.log"]
    code = r"print('rank', os.environ['RANK'], flush=True); os.write(1, b'\xff\n')"
    group = Group(python(code), [{"RANK": "0"}, {"RANK": "1"}], [], logs)
    assert len(set(group.pids)) == 2
    group.wait(lambda _: None)
    found = [log.read_text().splitlines() for log in logs]
    assert found == [["rank 0", "\ufffd"], ["rank 1", "\ufffd"]]


def test_a_log_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 100)
    code = "for i in range(100): print('x' * 9)"
    ended = Group(python(code), [{}], [], [folder / "0.log"]).wait(lambda _: None)
    assert ended.exit_code == 0
    assert (folder / "0.log").read_text() == "xxxxxxxxx\n" * 10


def test_words_never_go_through_a_shell() -> None:
    assert run(["echo", "$HOME; touch pwned"]) == Ended(0, "$HOME; touch pwned")
    assert not Path("pwned").exists()


def test_an_unknown_program_is_a_clear_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ended = run(["no-such-program", "x"], [{}, {}])
    assert ended == Ended(1, "no-such-program: No such file or directory")


def test_a_program_without_the_x_bit_is_a_clear_failure(folder: Path) -> None:
    (folder / "it's").write_text("#!/bin/sh\n")
    assert run(["./it's"]) == Ended(1, "./it's: Permission denied")


LOSS = r"loss=(?P<loss>\S+)"


def test_only_rank_0_is_measured() -> None:
    found: list[dict[str, Any]] = []
    code = "print(f'loss={os.environ[\"RANK\"]}')"
    run(python(code), [{"RANK": "0"}, {"RANK": "1"}], [LOSS], found.append)
    assert found == [{"type": "report", "metrics": {"loss": 0.0}, "step": None}]


def test_without_patterns_nothing_is_measured() -> None:
    found: list[dict[str, Any]] = []
    run(python("print('loss=1')"), tell=found.append)
    assert found == []


def refuse(message: dict[str, Any]) -> None:
    """As when the driver is lost."""
    raise BrokenPipeError


# More than a pipe holds, so that a process whose output nobody reads never comes to its end.
TALKATIVE = "print('loss=1\\n' + ('x' * 99 + '\\n') * 2000); open('done', 'w').close()"


def comes_to_its_end(
    group: Group, tell: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether such a process does, and no thread that serves it fails."""
    over, failures = threading.Event(), list[Any]()

    def fail(failure: Any) -> None:
        failures.append(failure)
        over.set()

    monkeypatch.setattr(threading, "excepthook", fail)
    thread, _ = in_background(group, tell, over)
    over.wait(SOON)
    done = os.path.exists("done")
    group.stop(0.1)
    thread.join(SOON)
    return done and not failures


def test_measuring_never_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    assert comes_to_its_end(Group(python(TALKATIVE), [{}], [LOSS]), refuse, monkeypatch)


def test_a_full_disk_never_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(python(TALKATIVE), [{}], [], [Path("/dev/full")])
    assert comes_to_its_end(group, lambda _: None, monkeypatch)


def found(line: str, *patterns: str) -> dict[str, Any] | None:
    """What the patterns find."""
    return metrics(line, [re.compile(pattern) for pattern in patterns])


NAMED = r"(?P<name>\w+)=(?P<value>\S+)"


@pytest.mark.parametrize(
    ("line", "patterns", "values", "step"),
    [
        ("loss=0.5 accuracy=9e-1", [NAMED], {"loss": 0.5, "accuracy": 0.9}, None),
        ("loss=0.5", [LOSS], {"loss": 0.5}, None),
        ("step 7: loss=0.5", [r"step (?P<step>\d+): loss=(?P<loss>\S+)"], {"loss": 0.5}, 7),
        ("step 7: loss=0.5", [r"step (?P<step>\d+)", NAMED], {"loss": 0.5}, 7),
        ("step 7.0: loss=1", [r"step (?P<step>\S+):", LOSS], {"loss": 1.0}, 7),
        ("loss=1 loss=2", [NAMED], {"loss": 2.0}, None),
        ("loss=-1 lr=?", [NAMED], {"loss": -1.0}, None),
        ("loss=1", [r"loss=(?P<loss>\S+)( lr=(?P<lr>\S+))?"], {"loss": 1.0}, None),
        ("step ?: loss=1", [r"step (?P<step>\S+): ", LOSS], {"loss": 1.0}, None),
    ],
)
def test_metrics_in_a_line(
    line: str, patterns: list[str], values: dict[str, float], step: int | None
) -> None:
    assert found(line, *patterns) == {"type": "report", "metrics": values, "step": step}


@pytest.mark.parametrize("line", ["", "nothing here", "loss=much", "step 7", "loss=1,5"])
def test_lines_without_metrics(line: str) -> None:
    assert found(line, NAMED, r"step (?P<step>\d+)") is None


def test_not_a_number_is_a_value() -> None:
    answer = found("loss=nan", NAMED)
    assert answer is not None
    assert math.isnan(answer["metrics"]["loss"])


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(allow_nan=False), st.integers(0, 10**9))
def test_numbers_are_read_as_python_prints_them(value: float, step: int) -> None:
    line = f"[{step}] loss={value!r}\n"
    expected = {"type": "report", "metrics": {"loss": value}, "step": step}
    assert found(line, r"\[(?P<step>\d+)\]", LOSS) == expected


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.text())
def test_no_line_is_too_strange(line: str) -> None:
    answer = found(line, r"(?P<name>\w)(?P<value>.*)", r"(?P<loss>.+?)$", r"(?P<a>\d)?")
    assert answer is None or all(isinstance(n, float) for n in answer["metrics"].values())


@settings(derandomize=True, deadline=None, max_examples=20)
@example("inf")
@given(st.floats().map(repr))
def test_no_step_is_too_strange(text: str) -> None:
    answer = found(f"loss=1 step={text}", LOSS, r"step=(?P<step>\S+)")
    assert answer is not None
    assert answer["step"] is None or isinstance(answer["step"], int)
