"""Tells the person at the terminal what is going on, and how long it has taken."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

LONGEST_LINE = 300


class ClusterError(RuntimeError):
    """Something that the user must know, as one line that says what to do."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Shows a step, a sign of life while it takes long, and its duration."""
    started = time.monotonic()
    stop = threading.Event()
    live = sys.stdout.isatty()

    def beat() -> None:
        while not stop.wait(1 if live else 30):
            text = f"  … {title} ({time.monotonic() - started:.0f} s)"
            print(f"\r\x1b[K{text}" if live else text, end="" if live else "\n", flush=True)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    mark = "✗"
    try:
        yield
        mark = "✓"
    finally:
        stop.set()
        thread.join()
        start = "\r\x1b[K" if live else ""
        print(f"{start}  {mark} {title} ({time.monotonic() - started:.1f} s)", flush=True)


def together(*work: Callable[[], None]) -> None:
    """Does things at the same time; the first that failed is told when all have ended."""
    with ThreadPoolExecutor(len(work)) as pool:
        for one in [pool.submit(each) for each in work]:
            one.result()


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Runs a program to its end and returns its standard output.

    Args:
        log: Where its output goes as well, for long builds.

    Raises:
        ClusterError: it failed; the message ends with the tail of what it printed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, check=False
    )
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-4:]
        # kubectl may print the whole object that it did not understand.
        tail = " | ".join(line[:LONGEST_LINE] for line in lines)
        where = f"; whole output in {log}" if log else ""
        raise ClusterError(
            f"`{' '.join(words[:4])} …` exited with {done.returncode}: {tail}{where}"
        )
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a program is there, runs and exits with 0."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def wait_for(what: str, ready: object, timeout: float = 600, hint: str = "") -> None:
    """Polls until `ready()` is true.

    Raises:
        ClusterError: it never was.
    """
    assert callable(ready)
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} was not ready within {timeout:.0f} s; {hint}".rstrip("; "))
        time.sleep(0.2)
