"""Replicas of the operator, as processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from kubectl import ROOT

from eventually import eventually


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
            return httpx.get(f"http://127.0.0.1:{self.health_port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        """A sample of its metrics, 0 when there is none."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return next((float(value) for key, _, value in lines if key == name), 0.0)

    def leads(self) -> bool:
        """Whether it holds the Lease."""
        return self.metric("loopwright_leader") == 1

    def end(self, sign: signal.Signals) -> int:
        """Ends it and returns its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(30)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Replicas:
    """Starts processes of the operator, and ends them with the test."""

    kubeconfig: Path
    folder: Path
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
