"""Pods that try to connect to others, and what these listen on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from install import LOCAL_RUNTIME
from kubectl import Kubectl

from eventually import eventually

Socket = tuple[str, int]
"""A pod's address and port."""

PORT = 7000
_LIVE = """
import socket, sys, time
with socket.create_server(("", int(sys.argv[1]))):
    time.sleep(7200)
"""
# Who is kept out is refused at once, as kube-router does it.
_CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def opened(target):
    try:
        socket.create_connection(target, 5).close()
    except OSError:
        return False
    return True

targets = [tuple(one) for one in json.loads(sys.argv[1])]
with ThreadPoolExecutor(4) as pool:
    print(json.dumps([one for one, yes in zip(targets, pool.map(opened, targets)) if yes]))
"""
# All that is bound to more than the loopback; state 0A is LISTEN.
_LISTENING = """
import json
ports = set()
for name in ("tcp", "tcp6"):
    with open("/proc/net/" + name) as table:
        for line in list(table)[1:]:
            address, port = line.split()[1].split(":")
            local = address in ("0100007F", "0" * 24 + "01000000") or address.endswith("0100007F")
            if line.split()[3] == "0A" and not local:
                ports.add(int(port, 16))
print(json.dumps(sorted(ports)))
"""


@dataclass(frozen=True)
class Visitor:
    """A pod that listens on a port, and connects to others when tests have it do so."""

    kubectl: Kubectl
    namespace: str
    name: str
    labels: dict[str, str] = field(default_factory=dict)

    def pod(self) -> dict[str, Any]:
        """Its manifest."""
        container = {
            "name": "visitor", "image": LOCAL_RUNTIME,
            "command": ["python", "-c", _LIVE, str(PORT)],
            "securityContext": {
                "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            },
        }  # fmt: skip
        spec = {
            "containers": [container], "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        }  # fmt: skip
        metadata = {"name": self.name, "namespace": self.namespace, "labels": self.labels}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def socket(self) -> Socket:
        """Where it listens."""
        pod = self.kubectl.get("pod", self.name, self.namespace)
        assert pod is not None
        return pod["status"]["podIP"], PORT

    def opens(self, targets: Iterable[Socket]) -> set[Socket]:
        """To which of these it gets a connection now."""
        words = ("python", "-c", _CONNECT, json.dumps(sorted(targets)))
        found = self.kubectl.run("exec", self.name, "-n", self.namespace, "--", *words)
        return {(address, port) for address, port in json.loads(found)}

    def gets(self, targets: set[Socket], expected: set[Socket]) -> None:
        """Waits until it gets to exactly these: a plugin takes a moment to follow pods."""
        seen: list[set[Socket]] = []

        def settled() -> bool:
            seen.append(self.opens(targets))
            return seen[-1] == expected

        assert expected <= targets
        try:
            eventually("connections", settled, timeout=90, pause=1)
        except AssertionError:
            wrong = {"too many": seen[-1] - expected, "missing": expected - seen[-1]}
            raise AssertionError(f"{self.namespace}/{self.name}: {wrong}") from None


def listening(kubectl: Kubectl, pod: dict[str, Any]) -> set[Socket]:
    """On what a pod listens for others."""
    meta = pod["metadata"]
    words = ("exec", meta["name"], "-n", meta["namespace"], "--", "python", "-c", _LISTENING)
    return {(pod["status"]["podIP"], port) for port in json.loads(kubectl.run(*words))}


def at(sockets: Iterable[Socket], *ports: int) -> set[Socket]:
    """Those on these ports."""
    return {one for one in sockets if one[1] in ports}
