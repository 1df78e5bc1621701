"""Builds the programs that the cluster runs, each cached by a hash of its inputs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import host
from paths import BIN, HERE, HOME
from progress import run, step

KUBERNETES = "v1.34.4"


@dataclass(frozen=True)
class Own:
    """A program whose source is in this repository (its libraries are Go modules)."""

    name: str
    folder: str
    ldflags: str = "-s -w"


@dataclass(frozen=True)
class Foreign:
    """A program that is a Go module of its own, built inside its module folder.

    Only there do its own go.mod and replaces hold; imported into another module it would get
    other, often incompatible, versions of the libraries it shares.
    """

    name: str
    module: str
    package: str = "."


NODE = Own("node", "node", f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}")
DNS = Own("coredns", "dns")
KUBERAY = Foreign("kuberay", "github.com/ray-project/kuberay/ray-operator@v1.6.2")
METRICS_SERVER = Foreign(
    "metrics-server", "sigs.k8s.io/metrics-server@v0.9.0", "./cmd/metrics-server"
)
LOCAL_PATH = Foreign("local-path-provisioner", "github.com/rancher/local-path-provisioner@v0.0.30")
S3 = Foreign("versitygw", "github.com/versity/versitygw@v1.8.0", "./cmd/versitygw")

CLUSTER = (NODE, DNS, KUBERAY, METRICS_SERVER, LOCAL_PATH)

_PAUSE = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void down(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
  signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap);
  for (;;) pause();
}
"""


def module_folder(module: str) -> Path:
    """The downloaded source of a Go module."""
    answer = run(host.go(), "mod", "download", "-json", module, env=_env())
    return Path(json.loads(answer)["Dir"])


def build(program: Own | Foreign) -> Path:
    """The program, built now or before."""
    target = BIN / f"{program.name}-{_digest(program)}"
    link = BIN / program.name
    if not target.exists():
        with step(f"building {program.name}"):
            _compile(program, target)
    if link.resolve() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
    return link


def build_pause() -> Path:
    """The process that holds a pod's namespaces."""
    target = BIN / "pause"
    if not target.exists():
        BIN.mkdir(parents=True, exist_ok=True)
        run("gcc", "-x", "c", "-static", "-Os", "-o", target, "-", stdin=_PAUSE)
    return target


def kubectl() -> Path:
    """kubectl, which is part of the node program and found by the name it is called by."""
    link = BIN / "kubectl"
    node = build(NODE).resolve()
    if link.resolve() != node:
        link.unlink(missing_ok=True)
        link.symlink_to(node.name)
    return link


def _compile(program: Own | Foreign, target: Path) -> None:
    own = isinstance(program, Own)
    folder = HERE / "go" / program.folder if own else module_folder(program.module)
    flags = program.ldflags if own else "-s -w"
    package = "." if own else program.package
    # A module may carry an incomplete vendor folder, which Go would prefer; the go.sum holds.
    mode = [] if own else ["-mod=mod"]
    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    log = HOME / "logs" / f"build-{program.name}.log"
    run(
        host.go(), "build", *mode, "-trimpath", "-ldflags", flags, "-o", part, package,
        env=_env(), cwd=folder, log=log,
    )  # fmt: skip
    shutil.move(part, target)


def _env() -> dict[str, str]:
    # Downloading a newer toolchain is another registry's business; ours is checked in host.go().
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw"}


def _digest(program: Own | Foreign) -> str:
    hasher = hashlib.sha256(repr(program).encode())
    if isinstance(program, Own):
        for file in sorted((HERE / "go" / program.folder).iterdir()):
            hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()[:12]
