"""Operators as processes: started fast, killed at will, and begun again as the kubelet would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from kubectl import ROOT

ZYGOTE: Final = Path(__file__).with_name("zygote.py")


class Zygote:
    """The process that forks operators."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT / "operator"), str(ZYGOTE.parent)])
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def fork(self, env: dict[str, str], log: Path, mutant: str = "") -> int:
        """The pid of a new operator; one with a fault of its own when it is a mutant."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"env": env, "log": str(log), "mutant": mutant}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it; operators that still run are the test's to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def runs(pid: int) -> bool:
    """Whether a process is there. Forked ones are no children of ours, so they leave no zombies."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Deployment:
    """One replica, which is started again whenever it ends, as the kubelet does."""

    zygote: Zygote
    kubeconfig: Path
    log: Path
    settings: dict[str, str]
    mutant: str = ""
    pid: int = 0
    restarts: int = 0
    away: bool = False
    began: float = 0.0
    """When the present process was started, by the monotonic clock."""
    _keeper: asyncio.Task[None] | None = field(default=None, repr=False)

    async def __aenter__(self) -> Deployment:
        self._start()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._keeper is not None
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        await self.end(signal.SIGKILL)

    def _start(self) -> None:
        env = {f"LOOPWRIGHT_{name.upper()}": value for name, value in self.settings.items()}
        env["KUBECONFIG"] = str(self.kubeconfig)
        self.began = time.monotonic()
        self.pid = self.zygote.fork(env, self.log, self.mutant)

    async def _keep(self) -> None:
        while True:
            while runs(self.pid) or self.away:  # noqa: ASYNC110 (a process that is not our child)
                await asyncio.sleep(0.02)
            self.restarts += 1
            self._start()

    @contextlib.asynccontextmanager
    async def absent(self) -> AsyncIterator[None]:
        """Killed, and not started again before the end of the block."""
        self.away = True
        await self.end(signal.SIGKILL)
        try:
            yield
        finally:
            self.away = False

    def signal(self, sign: signal.Signals) -> None:
        """Sends a signal, if the process is there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sign)

    async def end(self, sign: signal.Signals, patience: float = 120) -> None:
        """Ends this process, and waits until it is gone."""
        pid = self.pid
        self.signal(sign)
        async with asyncio.timeout(patience):
            while runs(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def lines(self) -> list[dict[str, Any]]:
        """All that was logged; a line that a kill cut off is left out."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                assert line.startswith("{"), f"not JSON: {line}"
        return found


async def becomes(port: int, status: int) -> None:
    """Waits until the readiness probe is answered so."""
    async with asyncio.timeout(600), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == status:
                        return
            except aiohttp.ClientConnectionError:
                pass  # It has just begun.
            await asyncio.sleep(0.2)


def kubeconfig(server: str, token: str, file: Path) -> Path:
    """A kubeconfig for a server without TLS, such as the fault proxy."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    file.write_text(yaml.safe_dump(config))
    return file
