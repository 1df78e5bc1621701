"""What people read: the container's own output, so that `kubectl logs` shows training."""

from __future__ import annotations

import sys
from functools import cache
from typing import Final, TextIO

# The container's first process is Ray's; what others print goes to files of Ray.
CONTAINER: Final = "/proc/1/fd/1"


@cache
def _container() -> TextIO | None:
    try:
        return open(CONTAINER, "w", buffering=1)
    except OSError:
        return None  # Not in a container, or not its user.


def say(text: str) -> None:
    """Prints a line, here and in the container's log."""
    print(text, flush=True)
    container = _container()
    # In a test or by hand both may be the same terminal.
    if container is not None and container.isatty() == sys.stdout.isatty() is False:
        try:
            container.write(f"{text}\n")
        except OSError:
            return  # A log that nobody can take must not stop training.
