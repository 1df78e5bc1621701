"""Operators that do a comparable step: one object in, one object that trains out.

Both run with what their projects ship: limits on requests, workers, log level. Only what a process
outside a cluster cannot have is off: leader election, and webhooks, which spares them work.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tests.perf.api import Object
from tests.perf.replay import Write, name_of, rayjob
from tests.perf.server import NAMESPACE, RAYJOBS, Server

from controlplane import cluster_tool
from eventually import eventually
from loopwright.api import names

UNLIMITED = 10_000
CONTROLLERS = 3
"""How many each of them starts."""
RUNTIME = "torch-distributed"
TRAINER_PORTS = {"health": 28202, "webhook": 28203}


@dataclass(frozen=True)
class Peer:
    """A program, what it is given and what it makes of that."""

    words: Sequence[str]
    source: str
    """Path of the objects that it is given."""
    objects: Sequence[Object]
    target: str
    """Path of the objects that it makes, one each."""
    env: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, server: Server) -> Iterator[int]:
        """The pid of a process that has filled its caches."""
        log = server.folder / "peer.log"
        words = [*self.words, "--kubeconfig", str(server.peer_credentials())]
        with log.open("wb") as output:
            env = {**os.environ, **self.env}
            process = subprocess.Popen(words, env=env, stdout=output, stderr=output)

        def ready() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            return log.read_text().count("Starting workers") >= CONTROLLERS

        try:
            eventually(f"{self.words[0]} to work", ready)
            yield process.pid
        finally:
            process.kill()  # Nothing of it is needed any more.
            process.wait()


def kuberay(server: Server, writes: Sequence[Write], count: int, *, lifted: bool) -> Peer:
    """KubeRay turns the RayJobs that we make into RayClusters (and those into pods)."""
    # What a controller and our operator would have made: pods that name others are refused.
    for account in ("default", names.RUNTIME):
        server.kubectl.run("create", "serviceaccount", account, "-n", NAMESPACE)
    words = [
        programs()["kuberay"], "--enable-leader-election=false", "--metrics-addr=127.0.0.1:28201",
        "--health-probe-bind-address=127.0.0.1:28202",
    ]  # fmt: skip
    if lifted:
        words += [f"--qps={UNLIMITED}", f"--burst={UNLIMITED}"]
    objects = [rayjob(writes, name_of(number)) for number in range(count)]
    target = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayclusters"
    return Peer(words, RAYJOBS.format(NAMESPACE), objects, target)


def trainer(server: Server, _: Sequence[Write], count: int, *, lifted: bool) -> Peer:
    """Kubeflow Trainer turns TrainJobs into JobSets."""
    base = Path(programs()["trainer-source"]) / "manifests" / "base"
    crds = sorted((base / "crds").glob("trainer*.yaml"))
    jobset = Path(programs()["jobset-source"]) / "config" / "components" / "crd" / "bases"
    server.kubectl.apply(*crds, *sorted(jobset.glob("*.yaml")))
    server.kubectl.wait_for_crds()
    server.kubectl.apply(base / "runtimes" / "torch_distributed.yaml")
    config = _trainer_config(base / "manager" / "controller_manager_config.yaml", lifted)
    file = server.folder / "trainer.yaml"
    file.write_text(yaml.safe_dump(config))
    _certificate(server.folder)
    objects = [_train_job(name_of(number)) for number in range(count)]
    source = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
    target = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{NAMESPACE}/jobsets"
    words = [programs()["trainer"], "--config", str(file)]
    return Peer(words, source, objects, target, {"TMPDIR": str(server.folder)})


def programs() -> dict[str, str]:
    """Where the peers and their sources are, built now or before."""
    found: dict[str, str] = json.loads(cluster_tool("peers"))
    return found


def _trainer_config(shipped: Path, lifted: bool) -> Object:
    config: Object = yaml.safe_load(shipped.read_text())
    config["leaderElection"]["leaderElect"] = False
    config["certManagement"]["enable"] = False
    config["metrics"] = {"bindAddress": "0"}
    config["health"]["healthProbeBindAddress"] = f"127.0.0.1:{TRAINER_PORTS['health']}"
    config["webhook"] = {"host": "127.0.0.1", "port": TRAINER_PORTS["webhook"]}
    if lifted:
        config["clientConnection"] = {"qps": UNLIMITED, "burst": UNLIMITED}
    return config


def _certificate(folder: Path) -> None:
    # Nobody calls its webhooks here, but it starts their server, which looks in TMPDIR.
    certs = folder / "k8s-webhook-server" / "serving-certs"
    certs.mkdir(parents=True)
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", str(certs / "tls.key"), "-out", str(certs / "tls.crt")]
    subprocess.run([*words, *files], check=True, capture_output=True)


def _train_job(name: str) -> Object:
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "trainer": {"numNodes": 1, "command": ["python", "train.py"]},
        },
    }
