"""Takes the cluster away, whatever state it is in, and says what is left if anything is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import controlplane
import images
import kuberouter
import network
import processes
from paths import BRIDGE, CONTAINERD_SOCKET, FULL, HOME, Layout, control_planes
from progress import ClusterError, run, step, succeeds

CHAINS = re.compile(r"^:((?:KUBE|CNI)-\S+)", re.M)
TABLES = ("nat", "filter", "mangle")


def down_control_plane(layout: Layout) -> None:
    """Removes a control-plane-only cluster."""
    controlplane.stop(layout)
    shutil.rmtree(layout.state, ignore_errors=True)


def down(purge: bool = False) -> None:
    """Removes all clusters; with `purge` the cache as well.

    Raises:
        ClusterError: something is left, which it names.
    """
    # Chains of another Kubernetes on this machine have the same names and must stay.
    ours = FULL.state.exists()
    with step("control planes of the tests"):
        for layout in control_planes():
            down_control_plane(layout)
    with step("programs"):
        for name in (
            kuberouter.NAME,
            "kubelet",
            "kube-proxy",
            "kube-scheduler",
            "kube-controller-manager",
            "coredns",
        ):
            processes.stop(FULL, name)
        controlplane.stop(FULL)
    with step("pods"):
        _kill_pods()
        if succeeds([*images.CTR, "version"]):
            images.remove_containers()
        processes.stop(FULL, "containerd")
    with step("mounts, network and folders"):
        _unmount()
        network.down()
        if ours:
            _remove_rules()
            kuberouter.destroy_sets()
            _remove_cgroups()
        shutil.rmtree(FULL.state, ignore_errors=True)
        if purge:
            shutil.rmtree(HOME, ignore_errors=True)
    if left := leftovers(ours):
        raise ClusterError("left behind: " + "; ".join(left))


def leftovers(ours: bool) -> list[str]:
    """What of the cluster is still there; what the kernel keeps counts if it is ours."""
    left = [f"process {pid} ({words[:80]})" for pid, words in _shims()]
    left += [f"mount {mount}" for mount in _mounts()]
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        left.append(f"interface {BRIDGE}")
    if ours:
        left += [f"iptables chain {table}/{chain}" for table in TABLES for chain in chains(table)]
        left += [f"ipset {name}" for name in kuberouter.sets()]
    states = [FULL.state, *(layout.state for layout in control_planes())]
    left += [str(path) for path in states if path.exists()]
    return left


def _shims() -> list[tuple[int, str]]:
    """Processes of this cluster's containerd: each pod has one shim, named by its socket."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "containerd-shim" in words and str(CONTAINERD_SOCKET) in words:
            found.append((int(folder.name), words))
    return found


def _kill_pods() -> None:
    """Kills shims and the containers below them. Works also when containerd was killed."""
    shims = [pid for pid, _ in _shims()]
    for pid in [child for shim in shims for child in _descendants(shim)] + shims:
        processes.end(pid, patience=0)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task")
    found: list[int] = []
    for file in children.glob("*/children"):
        try:
            direct = [int(word) for word in file.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [*_descendants(child), child]
    return found


def _mounts() -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [target for line in lines if (target := line.split()[1]).startswith(f"{HOME}/")]


def _unmount() -> None:
    for target in sorted(_mounts(), reverse=True):
        run("umount", "-l", target)


def chains(table: str) -> list[str]:
    """Chains that kube-proxy, the kubelet, CNI plugins and kube-router make."""
    return CHAINS.findall(network.rules(table))


def _remove_rules() -> None:
    """Removes those chains and the rules that jump to them."""
    for table in TABLES:
        before = network.rules(table)
        own = set(CHAINS.findall(before))
        if not own:
            continue
        kept = [
            line
            for line in before.splitlines()
            if not any(word in own for word in re.split(r"[ :]", line))
        ]
        run("iptables-restore", "-T", table, stdin="\n".join(kept) + "\n")


def _remove_cgroups() -> None:
    for root in Path("/sys/fs/cgroup").glob("**/kubepods"):
        folders = [*root.rglob("*"), root]
        for folder in sorted((f for f in folders if f.is_dir()), reverse=True):
            subprocess.run(["rmdir", folder], capture_output=True, check=False)
