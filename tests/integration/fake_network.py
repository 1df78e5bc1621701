"""Runs the monitor where pods, which no API server lets be at 127.0.0.1, are there all the same."""

from __future__ import annotations

import runpy
from asyncio.selector_events import BaseSelectorEventLoop
from socket import socket
from typing import Any, Final

# Of a network that is kept for documentation (RFC 5737), so that nobody is there.
ADDRESS: Final = "192.0.2.1"


def main() -> None:
    """Entry point."""
    connect = BaseSelectorEventLoop.sock_connect

    async def redirected(self: Any, sock: socket, address: Any) -> None:
        host, *rest = address
        await connect(self, sock, ("127.0.0.1" if host == ADDRESS else host, *rest))

    BaseSelectorEventLoop.sock_connect = redirected  # type: ignore[assignment]
    runpy.run_module("loopwright.monitor", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
