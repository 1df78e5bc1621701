"""etcd and kube-apiserver: the whole of the control-plane-only mode, the core of the full one."""

from __future__ import annotations

import http
import http.client
from collections.abc import Iterable

import crds
import pki
import processes
import programs
from paths import CONTROL_PLANE, NODE_IP, SERVICE_CIDR, Layout
from progress import ClusterError, step, succeeds, wait_for

AUDIT_POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
# Who wrote what is what the tests count; bodies would only fill the disk.
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
# What the operator reads, to compare with what it may read (tools/rbac_table.py).
- level: Metadata
  users: ["system:serviceaccount:loopwright-system:loopwright"]
- level: None
"""


def start(layout: Layout, projects: Iterable[str]) -> None:
    """Starts etcd and kube-apiserver and waits until the API answers.

    Args:
        projects: Those whose CRDs an earlier cluster may have kept for this one.
    """
    pki.make(layout)
    node = programs.build(programs.NODE)
    fresh = not (layout.state / "etcd").exists()
    _etcd(layout, node)
    if fresh:
        wait_for("etcd", lambda: _healthy(layout), hint=f"see {layout.logs}/etcd.log")
        crds.plant(layout, projects)
    _apiserver(layout, node)
    kubectl = programs.kubectl()
    probe = [kubectl, "--kubeconfig", layout.kubeconfig, "get", "--raw", "/readyz"]

    def ready() -> bool:
        for name in ("etcd", "kube-apiserver"):
            if not processes.alive(layout, name):
                raise ClusterError(f"{name} exited; see {layout.logs}/{name}.log")
        return succeeds(probe)

    with step("Kubernetes API"):
        wait_for("kube-apiserver", ready, hint=f"see {layout.logs}/kube-apiserver.log")


def stop(layout: Layout) -> None:
    """Stops both. etcd goes last, so that the API server can finish its writes."""
    processes.stop(layout, "kube-apiserver", patience=2)
    processes.stop(layout, "etcd")


def _healthy(layout: Layout) -> bool:
    if not processes.alive(layout, "etcd"):
        raise ClusterError(f"etcd exited; see {layout.logs}/etcd.log")
    connection = http.client.HTTPConnection("127.0.0.1", layout.etcd_port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _etcd(layout: Layout, node: object) -> None:
    client = f"http://127.0.0.1:{layout.etcd_port}"
    peer = f"http://127.0.0.1:{layout.etcd_peer_port}"
    processes.start(
        layout, "etcd", str(node), "etcd",
        "--data-dir", layout.state / "etcd",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"default={peer}",
        # The data lives no longer than the cluster, so there is nothing that fsync would save.
        "--unsafe-no-fsync", "--log-level", "warn",
    )  # fmt: skip


def _apiserver(layout: Layout, node: object) -> None:
    keys = layout.pki
    policy = layout.state / "audit-policy.yaml"
    policy.write_text(AUDIT_POLICY)
    only = layout == CONTROL_PLANE
    processes.start(
        layout, "kube-apiserver", str(node), "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{layout.etcd_port}",
        f"--bind-address={'127.0.0.1' if only else '0.0.0.0'}",  # noqa: S104 (pods come by the bridge)
        f"--secure-port={layout.apiserver_port}",
        f"--advertise-address={NODE_IP}",
        *(["--endpoint-reconciler-type=none"] if only else []),
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/ca.crt",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        "--anonymous-auth=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}/service-account.key",
        f"--service-account-signing-key-file={keys}/service-account.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        f"--kubelet-client-certificate={keys}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={keys}/apiserver-kubelet-client.key",
        # Without these metrics-server's APIService answers 404.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={keys}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={keys}/front-proxy.crt",
        f"--proxy-client-key-file={keys}/front-proxy.key",
        f"--audit-policy-file={policy}", f"--audit-log-path={layout.logs}/audit.log",
        # Tests read on from where they were; by default another file begins after 100 MB.
        "--audit-log-maxsize=10000",
        "--allow-privileged=true", "--v=1",
    )  # fmt: skip
