"""A real Prometheus that scrapes processes on this machine as it would scrape their pods."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import promtools
import yaml

from eventually import eventually
from ports import free_port

SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """A process that is scraped.

    Args:
        job: What a ServiceMonitor or PodMonitor is called.
        labels: What Prometheus would know of the pod.
    """

    job: str
    port: int
    labels: dict[str, str]

    def scraped(self) -> dict[str, Any]:
        """As Prometheus' configuration has it."""
        address = f"127.0.0.1:{self.port}"
        return {
            "job_name": self.job, "honor_labels": True,
            "static_configs": [{"targets": [address], "labels": self.labels}],
        }  # fmt: skip


class PrometheusServer:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        answer = httpx.post(
            f"{self.url}/api/v1/query", data={"query": expr}, timeout=SECONDS
        ).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how their evaluation went."""
        answer = httpx.get(f"{self.url}/api/v1/rules", timeout=SECONDS).json()
        return [rule for group in answer["data"]["groups"] for rule in group["rules"]]


@contextmanager
def prometheus(
    folder: Path, targets: list[Target], groups: list[dict[str, Any]]
) -> Iterator[PrometheusServer]:
    """Starts Prometheus with rules, and ends it."""
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [one.scraped() for one in targets],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    port = free_port()
    words = [
        promtools.find("prometheus"), "--config.file=prometheus.yaml",
        f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
    try:
        server = PrometheusServer(port)
        eventually(
            f"Prometheus, see {folder / 'log'}",
            lambda: process.poll() is not None or server.ready(),
        )
        assert process.poll() is None, (folder / "log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait(120)
