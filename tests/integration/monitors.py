"""A monitor as a process with a pod's own credentials, and the world that it watches."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fake_network
import httpx
import yaml
from fake_pods import FakePod, slice_of
from kubectl import ROOT, Kubectl

from loopwright.api import names
from loopwright.api.endpoint_report import EndpointReport, MonitorConfig, VariantReport
from loopwright.desired.monitor import MonitorContext, monitor, monitor_access
from ports import free_port

T = TypeVar("T")
PATIENCE = 300.0
POD = "digits-monitor-7c9f8d6b5-abcde"


class Endpoint:
    """An endpoint `digits` whose pods are fakes; the test is its EndpointSlice controller."""

    def __init__(self, api: Kubectl, namespace: str, folder: Path) -> None:
        self.api, self.namespace, self.folder = api, namespace, folder
        self.config = MonitorConfig(
            endpoint="digits", namespace=namespace, uid="u",
            report=names.observed_name("digits"), interval_seconds=0.3, report_seconds=0.6,
            window_seconds=600,
        )  # fmt: skip
        self.pods: list[FakePod] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.port, self.log = 0, folder / "log"

    async def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Fake pods go on answering meanwhile."""
        return await asyncio.to_thread(self.api.run, *words, "-n", self.namespace, stdin=stdin)

    async def apply(self, *manifests: dict[str, Any]) -> None:
        text = yaml.safe_dump_all(manifests)
        await asyncio.to_thread(self.api.apply, text=text, namespace=self.namespace)

    async def make(self) -> None:
        """Makes what the operator would, and the pod whose token the monitor gets."""
        container = {"name": "c", "image": "none"}
        spec = {"serviceAccountName": names.MONITOR_ACCOUNT, "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
        children = monitor(MonitorContext(self.config, "none"))
        for child in children:
            child["metadata"].pop("ownerReferences")
        await self.apply(*monitor_access(self.namespace), *children)
        await self.apply(pod)
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={POD}")
        token = await self.kubectl("create", "token", names.MONITOR_ACCOUNT, *bound)
        (self.folder / "token").write_text(token.strip())
        cluster = yaml.safe_load(self.api.kubeconfig.read_text())["clusters"][0]["cluster"]
        shutil.copy(cluster["certificate-authority"], self.folder / "ca.crt")
        self._server = urlsplit(cluster["server"])

    def start(self) -> None:
        """Starts the monitor."""
        self.port = free_port()
        variables = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"),
            "KUBERNETES_SERVICE_HOST": str(self._server.hostname),
            "KUBERNETES_SERVICE_PORT": str(self._server.port),
            names.ENV_ACCOUNT: str(self.folder),
            names.ENV_MONITOR: json.dumps(self.config.wire()),
        }  # fmt: skip
        words = [sys.executable, str(Path(fake_network.__file__)), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, env=variables, stdout=log, stderr=log)

    def end(self, sign: signal.Signals) -> int:
        """Ends it, and returns its exit code."""
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(120)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; every line must be JSON. One that is being written is left out."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    async def pod(self, revision: str, age: float = 3600) -> FakePod:
        """A new pod."""
        pod = FakePod(revision)
        pod.restart(age)
        pod.address = fake_network.ADDRESS
        self.pods.append(await pod.start())
        await self.apply(slice_of(revision, pod))
        return pod

    async def drop(self, pod: FakePod) -> None:
        """A pod goes."""
        await pod.stop()
        await self.kubectl(
            "delete", "endpointslice", slice_of(pod.revision, pod)["metadata"]["name"]
        )

    def report(self) -> EndpointReport | None:
        """What the operator would read."""
        found = self.api.get("configmap", self.config.report, self.namespace)
        text = ((found or {}).get("data") or {}).get(names.REPORT_KEY)
        return EndpointReport.model_validate_json(text) if text else None

    def of(self, revision: str) -> VariantReport | None:
        """What is reported of a revision."""
        report = self.report()
        return report.variant("main", revision) if report else None

    def metric(self, name: str, revision: str) -> float | None:
        """A figure that the monitor serves, or None."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        except httpx.TransportError:
            return None
        for line in text.splitlines():
            if line.startswith(f"loopwright_endpoint_{name}{{") and f'"{revision}"' in line:
                return float(line.rpartition(" ")[2])
        return None

    def resident(self) -> int:
        """Bytes of memory that the monitor has."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def eventually(self, what: str, look: Callable[[], T]) -> T:
        """Looks until there is an answer that counts as true."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not (found := await asyncio.to_thread(look)):
            tail = self.log.read_text()[-2000:]
            assert asyncio.get_running_loop().time() < deadline, f"no {what}: {tail}"
            await asyncio.sleep(0.1)
        return found
