"""Where the embedded cluster keeps things, and the numbers it uses; defined once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent

# The cache: what is built or downloaded, kept across `down`, removed by `down --purge`.
HOME = Path(os.environ.get("LOOPWRIGHT_HOME", Path.home() / ".cache" / "loopwright"))
BIN = HOME / "bin"
IMAGES = HOME / "images"
BUILDAH = HOME / "buildah"
CONTAINERD_ROOT = HOME / "containerd"

BRIDGE = "loopwright0"
NODE = "node1"
NODE_IP = "10.189.0.1"
# What Services of type LoadBalancer get; pods begin at .10.
GATEWAY_IP = "10.189.0.2"
ENVOY_IP = "10.189.0.3"
POD_CIDR = "10.189.0.0/16"
SERVICE_CIDR = "10.190.0.0/16"
SERVICE_IP = "10.190.0.1"
CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Layout:
    """One running cluster: its state folder and its ports."""

    state: Path
    apiserver_ip: str
    apiserver_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def pki(self) -> Path:
        """Certificates and keys, made at each start of a new cluster."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One file a program, and the API server's audit log."""
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "admin.kubeconfig"

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://{self.apiserver_ip}:{self.apiserver_port}"


FULL = Layout(HOME / "run", NODE_IP, 6443, 2379, 2380)
# Beside the full cluster, on other ports, and without touching the network. Who tests on several at
# once gives each a number below ten; the workers of one test run add tens to it.
SLOT = int(os.environ.get("LOOPWRIGHT_CONTROL_PLANE", "0"))


def control_plane(slot: int) -> Layout:
    """The control-plane-only cluster of that number."""
    ports = (16443 + slot, 12379 + 2 * slot, 12380 + 2 * slot)
    return Layout(HOME / f"run-cp{slot or ''}", "127.0.0.1", *ports)


CONTROL_PLANE = control_plane(SLOT)


def control_planes() -> list[Layout]:
    """This one, and all that workers of the same test run have left."""
    numbers = {int(path.name.removeprefix("run-cp") or 0) for path in HOME.glob("run-cp*")}
    return [control_plane(slot) for slot in sorted({SLOT, *numbers}) if slot % 10 == SLOT % 10]


CONTAINERD_SOCKET = FULL.state / "containerd" / "containerd.sock"
