"""kube-router's firewall on the node: started only by those who test NetworkPolicies.

The bridge itself enforces none. What comes from the node, such as a kubelet's probe or the API
server's proxy, is never kept out.
"""

from __future__ import annotations

import re
import shutil

import host
import network
import pki
import processes
import programs
from node import kubectl
from paths import FULL, NODE, SERVICE_CIDR
from progress import ClusterError, run, step, wait_for

NAME = "kube-router"
USER = "loopwright:network-policies"
# Keeps the addresses that policies name.
PACKAGES = {"ipset": "ipset"}
ROLE = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: "{USER}"}}
rules:
- apiGroups: [""]
  resources: [endpoints, namespaces, nodes, pods, services]
  verbs: [get, list, watch]
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
- {{apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: "{USER}"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "{USER}"}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: "{USER}"}}]
"""

_CHAIN = re.compile(r"^:(KUBE-(?:ROUTER|NWPLCY|POD-FW)-\S+)", re.M)
_SET = re.compile(r"^(?:inet6:)?(?:KUBE-(?:SRC|DST)|TMP)-[A-Z2-7]{16}$", re.M)


def start() -> None:
    """Starts it, and waits until it enforces the policies that there are."""
    with step("network policies"):
        host.install_packages(PACKAGES, files={})
        program = programs.build(programs.KUBE_ROUTER)
        kubectl("apply", "--server-side", "-f", "-", stdin=ROLE)
        config = pki.client(FULL, NAME, USER)
        if not processes.alive(FULL, NAME):
            clear()  # What one that was killed has left would look like its work.
        processes.start(
            FULL, NAME, program, f"--kubeconfig={config}", f"--hostname-override={NODE}",
            "--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
            "--run-loadbalancer=false", f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--health-port=0", "--v=1",
        )  # fmt: skip
        wait_for("kube-router", _enforces, hint=f"see {FULL.logs}/{NAME}.log")


def wanted() -> bool:
    """Whether it was started and not stopped; it may have died."""
    return NAME in processes.names(FULL)


def stop() -> None:
    """Stops it, after which no policy is enforced."""
    with step("removing network policies"):
        processes.stop(FULL, NAME)
        clear()


def clear() -> None:
    """Removes its rules, chains and sets, and touches no other."""
    if script := _removal(network.rules("filter")):
        run("iptables-restore", "--wait", "--noflush", stdin=script)
    destroy_sets()


def destroy_sets() -> None:
    """Removes its sets, which no rule may name any more."""
    for name in sets():
        run("ipset", "destroy", name)


def sets() -> list[str]:
    """Sets of addresses that it has made."""
    if shutil.which("ipset", path="/usr/sbin:/sbin") is None:
        return []
    return _SET.findall(run("ipset", "list", "-n"))


def _enforces() -> bool:
    if not processes.alive(FULL, NAME):
        raise ClusterError(f"kube-router exited; see {FULL.logs}/{NAME}.log")
    # Chains of pods, of which the cluster always has some, come with the first whole set of rules.
    return ":KUBE-POD-FW-" in network.rules("filter")


def _removal(table: str) -> str:
    """What removes its chains from a table at once, as input of `iptables-restore --noflush`."""
    chains = _CHAIN.findall(table)
    if not chains:
        return ""
    flushed = [f":{chain} - [0:0]" for chain in chains]
    jumps = [
        f"-D {line.removeprefix('-A ')}"
        for line in table.splitlines()
        if line.startswith("-A ")
        and line.split()[1] not in chains
        and any(word in chains for word in line.split())
    ]
    deleted = [f"-X {chain}" for chain in chains]
    return "\n".join(["*filter", *flushed, *jumps, *deleted, "COMMIT", ""])
