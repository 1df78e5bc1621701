"""Runs the training code's processes of one pod, as torchrun would."""

from __future__ import annotations

import collections
import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loopwright.runtime.console import say

TAIL_LINES: Final = 20
# Between two looks at processes whose output goes on without them.
POLL: Final = 0.05
# Of each process; the folder is on a pod's disk.
MAX_LOG_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Ended:
    """How the processes of a pod ended."""

    exit_code: int
    """0, or that of the first that failed; negative for a signal."""
    tail: str
    """The last lines of its output."""
    stopped: bool = False
    """Whether the pod had been told to stop by then."""


class Group:
    """The processes of one pod. When one fails, the others are stopped."""

    def __init__(
        self,
        words: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        patterns: Sequence[str],
        logs: Sequence[Path] = (),
        folder: Path | None = None,
        label: str = "",
    ) -> None:
        """Starts one process for each environment, which writes into its own of the logs.

        Args:
            folder: Where they run. With one, whatever they leave running is killed with them.
            label: Comes before each line of their output.
        """
        self._folder, self._label = folder, label
        self._logs = [log.open("w", errors="replace") for log in logs]
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._tails = [collections.deque[str](maxlen=TAIL_LINES) for _ in environments]
        self._processes = [self._start(words, env) for env in environments]
        self._changed = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(index,), daemon=True)
            for index in range(len(environments))
        ]

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes]

    def wait(self, tell: Callable[[dict[str, Any]], object]) -> Ended:
        """Waits for all processes; `tell` gets the metrics found in rank 0's output."""
        self._tell = tell
        for thread in self._threads:
            thread.start()
        failed = None
        while failed is None and any(p.poll() is None for p in self._processes):
            failed = next(
                (i for i, p in enumerate(self._processes) if p.poll() not in (None, 0)), None
            )
            self._changed.wait(POLL)
            self._changed.clear()
        if failed is None:
            failed = next((i for i, p in enumerate(self._processes) if p.returncode), None)
        if failed is not None:
            self.stop(5)
        self._kill_left()
        for thread in self._threads:
            thread.join(5)
        for log in self._logs:
            with contextlib.suppress(OSError):
                log.close()
        index = failed or 0
        return Ended(self._processes[index].returncode, "\n".join(self._tails[index]))

    def stop(self, patience: float) -> None:
        """SIGTERM to all, and SIGKILL to those that do not go."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _kill_left(self) -> None:
        """Kills what the processes have started and left behind."""
        for process in self._processes if self._folder is not None else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _start(self, words: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(  # noqa: S603 (words, never a shell)
                words, env={**os.environ, **env}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", bufsize=1,
                cwd=self._folder, start_new_session=self._folder is not None,
            )  # fmt: skip
        except OSError as error:
            text = f"import sys; sys.exit({f'{words[0]}: {error.strerror}'!r})"
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", text],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def _read(self, index: int) -> None:
        stream = self._processes[index].stdout
        assert stream is not None
        for line in stream:
            line = line.rstrip("\n")
            self._tails[index].append(line)
            rank = f"[{index}] " if len(self._processes) > 1 else ""
            say(f"{self._label}{rank}{line}")
            self._keep(index, line)
            if index == 0 and self._patterns and (found := metrics(line, self._patterns)):
                self._measured(found)
        # Nothing more can come, so it is about to end.
        self._processes[index].wait()
        self._changed.set()

    def _measured(self, found: dict[str, Any]) -> None:
        try:
            self._tell(found)
        except (OSError, EOFError) as error:
            # Were nobody to read on, the pipe would fill and training would stand still.
            say(f"loopwright: a metric was not reported: {error}")

    def _keep(self, index: int, line: str) -> None:
        if not self._logs or (log := self._logs[index]).closed:
            return
        try:
            if log.tell() < MAX_LOG_BYTES:
                log.write(f"{line}\n")
        except OSError:
            with contextlib.suppress(OSError):
                log.close()  # A full disk is training's to report.


def metrics(line: str, patterns: Sequence[re.Pattern[str]]) -> dict[str, Any] | None:
    """What patterns find in a line: groups `name` and `value`, or groups named after metrics."""
    values: dict[str, float] = {}
    step = None
    for pattern in patterns:
        for match in pattern.finditer(line):
            groups = {key: text for key, text in match.groupdict().items() if text is not None}
            step = _number(groups.pop("step", None), step)
            if "name" in groups and "value" in groups:
                groups = {groups["name"]: groups["value"]}
            values |= {key: n for key, text in groups.items() if (n := _number(text)) is not None}
    if not values:
        return None
    whole = int(step) if step is not None and math.isfinite(step) else None
    return {"type": "report", "metrics": values, "step": whole}


def _number(text: str | None, default: float | None = None) -> float | None:
    try:
        return default if text is None else float(text)
    except ValueError:
        return default
