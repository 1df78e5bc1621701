"""Model servers as processes with ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60


@dataclass
class Server:
    """A server's process."""

    process: subprocess.Popen[str]
    port: int
    grpc_port: int
    message: Path

    @property
    def url(self) -> str:
        """Of REST."""
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self) -> Server:
        """Waits until it serves."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError(f"it does not serve: {self.end()}")

    def end(self) -> str:
        """Ends it at once; what it has logged."""
        self.process.kill()
        return self.process.communicate()[0]

    def terminate(self) -> None:
        """As the kubelet does."""
        self.process.send_signal(signal.SIGTERM)


Serving = Callable[..., Server]


@contextmanager
def servers(folder: Path) -> Iterator[Serving]:
    """Gives a function that starts servers, flags as keywords; ends them all."""
    made: list[Server] = []

    def start(
        env: dict[str, str] | None = None, program: str | None = None, **flags: object
    ) -> Server:
        message = folder / f"termination-{len(made)}"
        message.touch()
        ports = free_port(), free_port()
        given = {"http_port": ports[0], "grpc_port": ports[1], "model_name": "m", **flags}
        process = subprocess.Popen(
            [
                sys.executable,
                *([program] if program else ["-m", "loopwright.serving"]),
                *(f"--{k}={v}" for k, v in given.items()),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if not re.match("LOOPWRIGHT_|AWS_", k)},
                "PYTHONPATH": str(ROOT / "operator"),
                "LOOPWRIGHT_TERMINATION_LOG": str(message),
                **(env or {}),
            },
        )
        made.append(Server(process, *ports, message))
        return made[-1]

    yield start
    for server in made:
        if server.process.poll() is None:
            server.end()
