"""Starts and stops the cluster's programs by pid, and never another's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from paths import Layout


def start(layout: Layout, name: str, *command: str | Path, **env: str) -> None:
    """Starts a program in its own session, unless it runs; its output goes to its log."""
    if alive(layout, name):
        return
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **env},
        )
    pids(layout).mkdir(parents=True, exist_ok=True)
    (pids(layout) / name).write_text(f"{process.pid} {started_at(process.pid)}")


def pids(layout: Layout) -> Path:
    """A file a program: its pid and the time it was started at."""
    return layout.state / "pids"


def started_at(pid: int) -> str | None:
    """When a process began, in clock ticks since boot: with its pid, its identity."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def pid_of(layout: Layout, name: str) -> int | None:
    """The pid of a program that still runs. A pid that was given to another does not count."""
    try:
        pid, began = (pids(layout) / name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started_at(int(pid)) == began else None


def alive(layout: Layout, name: str) -> bool:
    """Whether a program runs."""
    return pid_of(layout, name) is not None


def names(layout: Layout) -> list[str]:
    """Programs that were started."""
    return sorted(file.name for file in pids(layout).glob("*"))


def stop(layout: Layout, name: str, patience: float = 5) -> None:
    """Ends a program: SIGTERM, then SIGKILL (kube-apiserver takes a minute to go by itself)."""
    pid = pid_of(layout, name)
    if pid is not None:
        end(pid, patience)
    (pids(layout) / name).unlink(missing_ok=True)


def end(pid: int, patience: float) -> None:
    """Ends one process by pid and waits until it is gone."""
    began = started_at(pid)
    for sign, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + wait
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        while time.monotonic() < deadline:
            _reap(pid)
            if began is None or started_at(pid) != began:
                return
            time.sleep(0.05)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # Started by an earlier call of the tool: init reaps it.
