"""A fresh control plane for each run, with what all contenders need, and who wrote how much."""

from __future__ import annotations

import http.client
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from kubectl import ROOT, Kubectl
from replicas import Replica, Replicas
from tests.perf.api import Api

from auditlog import OPERATOR, AuditLog
from controlplane import STATE, cluster_tool, control_plane

NAMESPACE = "bench"
PEER = f"system:serviceaccount:{NAMESPACE}:peer"
TRAININGJOBS = "/apis/loopwright.io/v1alpha1/namespaces/{}/trainingjobs"
RAYJOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
PATIENCE = 1800.0
QUIET = 3.0

Manifest = dict[str, Any]


@dataclass
class Server:
    """A control plane that nobody used before."""

    kubectl: Kubectl
    folder: Path
    """For logs and kubeconfigs of this run."""

    @classmethod
    @contextmanager
    def fresh(cls) -> Iterator[Server]:
        """Starts one, and stops it afterwards."""
        # One that was left behind has objects of its own.
        cluster_tool("control-plane-down")
        with control_plane() as kubectl, tempfile.TemporaryDirectory() as folder:
            kubectl.apply(ROOT / "deploy" / "operator.yaml")
            server = cls(kubectl, Path(folder))
            server.namespace(NAMESPACE)
            yield server

    def namespace(self, name: str) -> None:
        """Makes a namespace for jobs, with the claim that they name."""
        claim = {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "results"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            },
        }  # fmt: skip
        self.kubectl.run("create", "namespace", name)
        self.kubectl.apply(text=yaml.safe_dump(claim), namespace=name)

    def api(self, connections: int) -> Api:
        """An administrator's client."""
        assert self.kubectl.kubeconfig is not None
        return Api(self.kubectl.kubeconfig, connections)

    @contextmanager
    def operators(self) -> Iterator[Replicas]:
        """Starts replicas of the operator, with its own permissions and its defaults.

        Raises:
            RuntimeError: one logged a traceback, so what was measured counts for nothing.
        """
        group = Replicas(self._credentials("loopwright", "loopwright-system"), self.folder)
        try:
            yield group
            lines = [line for replica in group.all for line in replica.lines()]
            if broken := [line for line in lines if "exception" in line]:
                raise RuntimeError(f"the operator logged {broken[0]}")
        except BaseException:
            for replica in group.all:
                print(replica.log.read_text()[-3000:], flush=True)
            raise
        finally:
            for replica in group.all:
                if replica.process.poll() is None:
                    replica.end(signal.SIGTERM)

    def peer_credentials(self) -> Path:
        """A kubeconfig of an account that may do everything, under the limits of any account."""
        self.kubectl.run("create", "serviceaccount", "peer", "-n", NAMESPACE)
        binding = ("create", "clusterrolebinding", "peer", "--clusterrole=cluster-admin")
        self.kubectl.run(*binding, f"--serviceaccount={NAMESPACE}:peer")
        return self._credentials("peer", NAMESPACE)

    def _credentials(self, account: str, namespace: str) -> Path:
        token = self.kubectl.run("create", "token", account, "-n", namespace, "--duration=6h")
        config = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token.strip()}
        file = self.folder / f"{account}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file

    def writes(self, user: str = OPERATOR, since: str = "") -> list[dict[str, Any]]:
        """Completed writes of a user, from a time on; see `now`."""
        # The API server begins a new file at 100 MB.
        files = sorted((STATE / "logs").glob("audit*.log"))
        events = [event for file in files for event in AuditLog(file).writes(0, user)]
        return [event for event in events if event["requestReceivedTimestamp"] >= since]

    def settle(self) -> None:
        """Waits until neither the operator nor a peer has written for a while."""
        log = AuditLog(STATE / "logs" / "audit.log")
        mark, since = log.mark(), time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(0.5)
            mark = mark if mark <= log.mark() else 0
            end = log.mark()
            if any(log.writes(mark, user) for user in (OPERATOR, PEER)):
                since = time.monotonic()
            mark = end


def now() -> str:
    """The time as the audit log writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def scrape(replica: Replica) -> str:
    """The operator's metrics."""
    # Not httpx: making its client takes longer than most scrapes.
    connection = http.client.HTTPConnection("127.0.0.1", replica.metrics_port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text
