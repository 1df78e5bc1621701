"""The one bridge that pods, node and API share. Nothing on it leaves the machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from paths import BRIDGE, ENVOY_IP, FULL, GATEWAY_IP, NODE_IP, POD_CIDR
from progress import run, succeeds

# Kernel settings that a pod network needs; their former values are put back by `down`.
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}
CNI = {
    "cniVersion": "0.4.0",
    "name": "loopwright",
    "plugins": [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(FULL.state / "cni" / "addresses"),
                "ranges": [
                    [{"subnet": POD_CIDR, "rangeStart": NODE_IP.rpartition(".")[0] + ".10"}]
                ],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
    ],
}


def up() -> None:
    """Makes the bridge and remembers the kernel settings it changes."""
    if not succeeds(["ip", "link", "show", BRIDGE]):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{NODE_IP}/{POD_CIDR.rpartition('/')[2]}", "dev", BRIDGE)
    # Pods share the bridge with these addresses and ask who has them; kube-proxy does the rest.
    for address in (GATEWAY_IP, ENVOY_IP):
        run("ip", "addr", "replace", f"{address}/32", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    former = FULL.state / "sysctl.json"
    FULL.state.mkdir(parents=True, exist_ok=True)
    known = {key: _path(key).read_text().strip() for key in SETTINGS if _path(key).exists()}
    if not former.exists():
        former.write_text(json.dumps(known))
    for key in known:
        _path(key).write_text(SETTINGS[key])
    folder = FULL.state / "cni"
    folder.mkdir(exist_ok=True)
    (folder / "10-loopwright.conflist").write_text(json.dumps(CNI))


def down() -> None:
    """Removes the bridge and puts the kernel settings back."""
    if succeeds(["ip", "link", "show", BRIDGE]):
        run("ip", "link", "del", BRIDGE)
    former = FULL.state / "sysctl.json"
    if former.exists():
        for key, value in json.loads(former.read_text()).items():
            _path(key).write_text(value)


def rules(table: str) -> str:
    """A table of iptables, as `iptables-save` shows it; empty on a machine without iptables."""
    # Debian keeps it in a folder that a plain user's PATH lacks.
    if shutil.which("iptables-save", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
        return ""
    return run("iptables-save", "-t", table)


def _path(key: str) -> Path:
    return Path("/proc/sys") / key
