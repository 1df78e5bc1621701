"""What people read: the container's own output, so that `kubectl logs` shows training."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from typing import Final, TextIO

# The container's first process is Ray's; what others print goes to files of Ray.
CONTAINER: Final = "/proc/1/fd/1"


@cache
def _container() -> TextIO | None:
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None  # On a person's machine the first process is somebody else's.
    try:
        return open(CONTAINER, "w")
    except OSError:
        return None  # The first process is another user's.


def say(text: str) -> None:
    """Prints a line, here and in the container's log; a full disk stops neither the other."""
    for stream in (sys.stdout, _container()):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.write(f"{text}\n")
                stream.flush()
