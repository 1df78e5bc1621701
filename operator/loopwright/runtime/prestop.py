"""Runs in a container before Kubernetes stops it: training is told, and may save its state.

Ray ends everything in the pod at once when it is told to stop. This comes before that, within the
pod's grace period. Nothing but the standard library is imported, for the time is short.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

WORK: Final = Path("/tmp/loopwright")  # noqa: S108 (a volume of this pod alone)
# Exists from the moment the pod was told to stop.
STOPPING: Final = WORK / "stopping"
# The training processes; exists until they ended and what they left is stored.
PROCESSES: Final = "processes"
# Each trial that is at work in this pod has a folder like WORK.
TRIALS: Final = "trials"
ENV_GRACE: Final = "LOOPWRIGHT_GRACE_SECONDS"
# What Ray itself needs at the end of the grace period.
RESERVE: Final = 5.0


def main() -> None:
    """Entry point."""
    WORK.mkdir(parents=True, exist_ok=True)
    STOPPING.touch()
    deadline = time.monotonic() + float(os.environ.get(ENV_GRACE, "30")) - RESERVE
    for file in _running():
        for pid in _pids(file):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
    while _running() and time.monotonic() < deadline:
        time.sleep(0.1)


def _running() -> list[Path]:
    files = [WORK / PROCESSES, *WORK.glob(f"{TRIALS}/*/{PROCESSES}")]
    return [file for file in files if file.exists()]


def _pids(file: Path) -> list[int]:
    try:
        return [int(pid) for pid in file.read_text().split()]
    except FileNotFoundError:
        return []  # They have just ended.


if __name__ == "__main__":
    main()
