"""Waiting for something that is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# A busy machine is slow; only what never comes is wrong.
PATIENCE = 300.0


def eventually(
    what: str, look: Callable[[], T], timeout: float = PATIENCE, pause: float = 0.1
) -> T:
    """Looks until there is an answer that counts as true."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(pause)
    return found
