"""Ports for programs that listen later than the test chooses theirs."""

from __future__ import annotations

import itertools
import socket
from typing import Final

from controlplane import SLOT

# Below those that the kernel gives to whoever asks for any, so that nobody gets one between its
# choice and its use, and others for each worker of a test run.
COUNT: Final = 200
FIRST: Final = 20_000 + SLOT % 50 * COUNT
_next = itertools.cycle(range(FIRST, FIRST + COUNT))


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is told of soon."""
    for port in itertools.islice(_next, COUNT):
        with socket.socket() as probe:
            # What connections of former listeners have left is in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"all ports from {FIRST} on are taken")
