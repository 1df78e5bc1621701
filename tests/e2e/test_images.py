"""What the images hold: permissive licences, no root, nothing that does not belong there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from install import LOCAL_OPERATOR, LOCAL_RUNTIME
from sbom import BY_FILE, PERMISSIVE
from space import PATIENCE, Space

from eventually import eventually

pytestmark = pytest.mark.e2e

LIST = """
import importlib.metadata, json, os, pathlib
def licence(found):
    meta = found.metadata
    kinds = [c for c in meta.get_all("Classifier", []) if c.startswith("License")]
    said = (meta.get("License-Expression"), *kinds, (meta.get("License") or "")[:200])
    return " ".join(filter(None, said))
home = pathlib.Path(os.environ.get("HOME", "/"), "probe")
try:
    home.touch()
except OSError:
    home = None
packages = {
    one.metadata["Name"].lower(): licence(one)
    for one in importlib.metadata.distributions()
    # What Debian packages is the base image's: free by its guidelines, and unmodified.
    if "dist-packages" not in str(one.locate_file(""))
}
told = {one: os.environ.get(one) for one in ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")}
print(json.dumps({"packages": packages, "uid": os.getuid(), "home": bool(home), "told": told}))
"""
SERVING = "localhost/loopwright/serving:dev"
# What tells its makers where it runs and what for, unless it is told not to.
SILENT = {
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"), "ray": ("RAY_USAGE_STATS_ENABLED", "0"),
}  # fmt: skip


def looked_into(space: Space, image: str) -> dict[str, Any]:
    """What a restricted pod of the image sees."""
    container = {
        "name": "look",
        "image": image,
        "command": ["python", "-c", LIST],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    # It comes by itself in a new namespace; a pod that comes earlier is refused.
    eventually("an account", lambda: space.kubectl.get("serviceaccount", "default", space.name))
    space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": spec})

    def ended() -> bool:
        pod = space.kubectl.get("pod", "look", space.name) or {}
        return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}

    eventually("the pod to end", ended, timeout=PATIENCE)
    seen: dict[str, Any] = json.loads(space.kubectl.run("logs", "look", "-n", space.name))
    return seen


@pytest.mark.parametrize("image", [LOCAL_OPERATOR, LOCAL_RUNTIME, SERVING])
def test_packages_are_permissive_and_none_runs_as_root(space: Space, image: str) -> None:
    seen = looked_into(space, image)
    packages: dict[str, str] = seen["packages"]
    other = {
        name: licence
        for name, licence in packages.items()
        if not PERMISSIVE.search(licence) and name not in BY_FILE
    }
    assert other == {}
    assert "pydantic" in packages
    assert seen["uid"] != 0
    for package in SILENT.keys() & packages.keys():
        name, value = SILENT[package]
        assert seen["told"][name] == value, package
    if image == LOCAL_RUNTIME:
        assert {"ray", "onnxruntime"} <= packages.keys()
        assert not {"kopf", "kubernetes"} & packages.keys()
        assert seen["home"]
    else:
        assert ("onnxruntime" in packages) == (image == SERVING)
        assert not {"torch", "ray", "kserve"} & packages.keys()
