"""The node: containerd, kubelet, kube-proxy, the controllers and DNS."""

from __future__ import annotations

import json
from pathlib import Path

import controlplane
import crds
import images
import network
import processes
import programs
from paths import (
    BIN,
    CLUSTER_DOMAIN,
    CONTAINERD_ROOT,
    CONTAINERD_SOCKET,
    FULL,
    NODE,
    NODE_IP,
    POD_CIDR,
)
from progress import ClusterError, run, step, succeeds, wait_for

PROGRAMS = (
    "containerd", "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns",
)  # fmt: skip
PAUSE_IMAGE = "localhost/loopwright/pause:1"

CONTAINERD = f"""version = 2
root = "{CONTAINERD_ROOT}"
state = "{CONTAINERD_SOCKET.parent}"
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# runc dies with "can't get final child's PID" where it may not lower oom_score_adj.
restrict_oom_score_adj = true
# Among our own files, so that taking the cluster away touches nobody else's.
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{FULL.state}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "failSwapOn": False,
    "clusterDNS": [NODE_IP],
    "clusterDomain": CLUSTER_DOMAIN,
    "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": f"{FULL.pki}/ca.crt"},
    },
    "authorization": {"mode": "Webhook"},
    "tlsCertFile": f"{FULL.pki}/kubelet-server.crt",
    "tlsPrivateKeyFile": f"{FULL.pki}/kubelet-server.key",
    "evictionHard": {
        "memory.available": "100Mi", "nodefs.available": "2%",
        "imagefs.available": "2%", "nodefs.inodesFree": "1%",
    },
    # Local images cannot be pulled again, so none may ever be collected.
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    "imageMaximumGCAge": "0s",
    "registerNode": True,
    "maxPods": 250,
    "resolvConf": str(FULL.state / "resolv.conf"),
    "serializeImagePulls": False,
}  # fmt: skip

PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clientConnection": {"kubeconfig": f"{FULL.state}/proxy.kubeconfig"},
    "mode": "iptables",
    "clusterCIDR": POD_CIDR,
    "hostnameOverride": NODE,
    "conntrack": {"maxPerCore": 0},
}

COREFILE = f""".:53 {{
  bind {NODE_IP}
  errors
  health 127.0.0.1:18081
  ready 127.0.0.1:18181
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
    kubeconfig {FULL.state}/dns.kubeconfig loopwright
    pods insecure
  }}
  cache 5
}}
"""

# What CoreDNS may read; its user comes from its client certificate.
DNS_ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "loopwright:dns"}
rules:
- {apiGroups: [""], resources: [services, namespaces, pods, endpoints], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "loopwright:dns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "loopwright:dns"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "loopwright:dns"}]
"""


def kubectl(*args: str | Path, stdin: str | None = None) -> str:
    """kubectl as the administrator of the full cluster."""
    return run(programs.kubectl(), "--kubeconfig", FULL.kubeconfig, *args, stdin=stdin)


def start() -> None:
    """Starts what does not run, and waits until the node is Ready."""
    network.up()
    _write(FULL.state / "resolv.conf", "")
    _containerd()
    controlplane.start(FULL, crds.CLUSTER)
    with step("node"):
        _controllers()
        _kubelet()
        _proxy()
        _dns()
        wait_for("the node", _ready, hint=f"see {FULL.logs}/kubelet.log")


def _write(file: Path, text: str) -> None:
    # kube-proxy ends itself when somebody writes its file, were it the same text.
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _containerd() -> None:
    config = FULL.state / "containerd.toml"
    _write(config, CONTAINERD)
    fresh = not processes.alive(FULL, "containerd")
    processes.start(FULL, "containerd", "containerd", "-c", config)
    with step("containerd"):
        wait_for(
            "containerd",
            lambda: succeeds([*images.CTR, "version"]),
            hint=f"see {FULL.logs}/containerd.log",
        )
        if fresh:
            # Records of pods of an earlier cluster would confuse the kubelet.
            images.remove_containers()
        pause = programs.build_pause()
        images.ensure_program(PAUSE_IMAGE, pause, user="65535:65535")


def _controllers() -> None:
    node, keys = BIN / "node", FULL.pki
    processes.start(
        FULL, "kube-controller-manager", node, "kube-controller-manager",
        f"--kubeconfig={FULL.state}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={keys}/service-account.key",
        f"--root-ca-file={keys}/ca.crt",
        f"--cluster-signing-cert-file={keys}/ca.crt", f"--cluster-signing-key-file={keys}/ca.key",
        "--use-service-account-credentials=true", "--leader-elect=false",
        "--controllers=*,-bootstrapsigner,-tokencleaner,-cloud-node-lifecycle-controller",
        "--bind-address=127.0.0.1", "--v=1",
    )  # fmt: skip
    processes.start(
        FULL, "kube-scheduler", node, "kube-scheduler",
        f"--kubeconfig={FULL.state}/scheduler.kubeconfig", "--leader-elect=false",
        "--bind-address=127.0.0.1", "--v=1",
    )  # fmt: skip


def _kubelet() -> None:
    config = FULL.state / "kubelet.json"
    _write(config, json.dumps(KUBELET))
    processes.start(
        FULL, "kubelet", BIN / "node", "kubelet", f"--config={config}",
        f"--kubeconfig={FULL.state}/kubelet.kubeconfig", f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}", f"--root-dir={FULL.state}/kubelet", "--v=1",
    )  # fmt: skip


def _proxy() -> None:
    config = FULL.state / "proxy.json"
    _write(config, json.dumps(PROXY))
    processes.start(FULL, "kube-proxy", BIN / "node", "kube-proxy", f"--config={config}", "--v=1")


def _dns() -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=DNS_ROLE)
    config = FULL.state / "Corefile"
    _write(config, COREFILE)
    processes.start(FULL, "coredns", BIN / "coredns", "-conf", config)


def _ready() -> bool:
    for name in PROGRAMS:
        if not processes.alive(FULL, name):
            raise ClusterError(f"{name} exited; see {FULL.logs}/{name}.log")
    # A node that this tool has stopped and started again is Ready by its old word for a while.
    path = "-o=jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
    return kubectl("get", "nodes", path).strip() == "True"


def fake_gpus(count: int) -> None:
    """Makes the node claim GPUs that it has not, so that scheduling can be tested. A fake."""
    patch = {"status": {"capacity": {"nvidia.com/gpu": str(count)}}}
    kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
