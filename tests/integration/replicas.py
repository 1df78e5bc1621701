"""Replicas of the operator, as processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from kubectl import ROOT

from eventually import eventually
from ports import free_port

# Of a request to a process that has other things to do.
SECONDS = 60.0


@dataclass
class Replica:
    """One process of the operator."""

    process: subprocess.Popen[bytes]
    log: Path
    metrics_port: int
    health_port: int

    def ready(self) -> bool:
        """Whether its readiness probe succeeds."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            url = f"http://127.0.0.1:{self.health_port}/readyz"
            return httpx.get(url, timeout=SECONDS).status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        """A sample of its metrics, 0 when there is none."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        text = httpx.get(url, timeout=SECONDS).text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return next((float(value) for key, _, value in lines if key == name), 0.0)

    def leads(self) -> bool:
        """Whether it holds the Lease."""
        return self.metric("loopwright_leader") == 1

    def end(self, sign: signal.Signals) -> int:
        """Ends it and returns its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(120)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; every line must be JSON. One that is being written is left out."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


@dataclass
class Replicas:
    """Starts processes of the operator, and ends them with the test.

    Args:
        namespaces: What they watch, unless they are told something else; empty means all.
    """

    kubeconfig: Path
    folder: Path
    namespaces: str = ""
    all: list[Replica] = field(default_factory=list)

    def start(self, **settings: str) -> Replica:
        """A new one, once it is ready."""
        number = len(self.all)
        ports = (free_port(), free_port())
        log = self.folder / f"operator-{number}.log"
        env = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PYTHONPATH": str(ROOT / "operator"),
            "LOOPWRIGHT_IDENTITY": f"replica-{number}-{uuid.uuid4().hex[:4]}",
            "LOOPWRIGHT_METRICS_PORT": str(ports[0]),
            "LOOPWRIGHT_HEALTH_PORT": str(ports[1]),
            "LOOPWRIGHT_NAMESPACES": self.namespaces,
            **{f"LOOPWRIGHT_{name.upper()}": value for name, value in settings.items()},
        }
        with log.open("wb") as output:
            words = [sys.executable, "-m", "loopwright"]
            process = subprocess.Popen(words, env=env, stdout=output, stderr=output)
        replica = Replica(process, log, *ports)
        self.all.append(replica)
        eventually("the operator", replica.ready)
        return replica

    def lead(self, **settings: str) -> Replica:
        """A new one, once it leads."""
        replica = self.start(**settings)
        eventually("a leader", replica.leads)
        return replica

    def end(self) -> None:
        """Ends those that still run, whatever they say to that."""
        running = [one for one in self.all if one.process.poll() is None]
        for replica in running:
            replica.process.send_signal(signal.SIGTERM)
        try:
            for replica in running:
                replica.process.wait(120)
        finally:
            for replica in running:
                replica.process.kill()
