"""Builds container images without a daemon, and loads them into the cluster's containerd."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paths import BUILDAH, CONTAINERD_SOCKET, HOME, IMAGES, REPOSITORY
from progress import ClusterError, run, step

CTR = ("ctr", "-a", str(CONTAINERD_SOCKET), "-n", "k8s.io")
SUITE = "trixie"
BASE = f"localhost/loopwright/debian:{SUITE}"

SOURCE = "operator/loopwright"
BUILD_TRIES = 3


@dataclass(frozen=True)
class Image:
    """What localhost/loopwright/<name>:dev is built from."""

    folder: str
    """Of its Dockerfile."""
    locks: tuple[str, ...]
    """Of its packages."""
    arguments: tuple[str, ...] = ()
    """Of the build."""
    code: tuple[str, ...] = (SOURCE,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All paths that it depends on."""
        return (self.folder, *(f"requirements/{lock}.lock" for lock in self.locks), *self.code)


OURS = {
    "operator": Image("images/operator", ("operator",)),
    "runtime": Image("images/runtime", ("runtime", "runtime-cuda")),
    "serving": Image("images/serving", ("serving",)),
}
# For those who ask for them by name: what not everybody needs, and what benchmarks compare with.
MORE = {
    "serving-torch": Image("images/serving", ("serving-torch",), ("TORCH=debian",)),
    "kserve-server": Image("tests/perf/model_servers", ("kserve",), code=()),
}


def build_all(*more: str) -> None:
    """Builds and loads the base, Loopwright's images and some more, where their inputs changed."""
    base = ensure_base()
    for name, image in {**OURS, **{one: MORE[one] for one in more}}.items():
        digest = _digest([REPOSITORY / path for path in image.inputs], base, *image.arguments)
        _ensure(_tag(name), digest, partial(_bud, name, image))
    _prune()


def _tag(name: str) -> str:
    return f"localhost/loopwright/{name}:dev"


def ensure_base() -> str:
    """A minimal Debian, bootstrapped once from Debian's own packages; returns its digest."""
    digest = hashlib.sha256(f"{SUITE} 1".encode()).hexdigest()[:16]
    _ensure(BASE, digest, _debootstrap)
    return digest


def ensure_program(
    image: str, program: Path, *, user: str = "65532:65532", base: str = "scratch"
) -> None:
    """An image that holds one program, found by its name."""
    digest = _digest([program.resolve()], program.name, user, base)
    target = f"/usr/local/bin/{program.name}"

    def make() -> None:
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            shutil.copy(program.resolve(), context / program.name)
            (context / "Dockerfile").write_text(
                f'FROM {base}\nCOPY {program.name} {target}\nUSER {user}\nENTRYPOINT ["{target}"]\n'
            )
            _buildah("bud", "-q", "-t", image, str(context))

    _ensure(image, digest, make)


def remove_containers() -> None:
    """Removes all containers from containerd's records; their processes are gone already."""
    for container in run(*CTR, "containers", "ls", "-q").split():
        run(*CTR, "containers", "rm", container)


def _ensure(image: str, digest: str, make: object) -> None:
    assert callable(make)
    marker = IMAGES / image.replace("/", "_")
    loaded = run(*CTR, "images", "ls", "-q", f"name=={image}").split()
    if image in loaded and marker.exists() and marker.read_text() == digest:
        return
    with step(f"image {image}"):
        make()
        _load(image)
    IMAGES.mkdir(parents=True, exist_ok=True)
    marker.write_text(digest)


def _load(image: str) -> None:
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        archive = Path(folder) / "image.tar"
        # Compressing gigabytes to move them by a file would take longer than all the rest.
        _buildah("push", "-q", "--disable-compression", image, f"oci-archive:{archive}:{image}")
        run(*CTR, "images", "import", archive)


def _bud(name: str, image: Image) -> None:
    arguments = [f"BASE_IMAGE={BASE}", *image.arguments]
    options = [
        "-q", "--layers", "-t", _tag(name), "-f", str(REPOSITORY / image.folder / "Dockerfile"),
        *(word for one in arguments for word in ("--build-arg", one)), *_client_settings(),
    ]  # fmt: skip
    log = HOME / "logs" / f"image-{name}.log"
    with _context(image.inputs) as context:
        for remaining in reversed(range(BUILD_TRIES)):
            try:
                _buildah("bud", *options, str(context), log=log)
                return
            except ClusterError:
                # A package index may fail to answer for a moment; finished layers are kept.
                if not remaining:
                    raise


@contextmanager
def _context(inputs: Iterable[str]) -> Iterator[Path]:
    """A build context of just the inputs, so that nothing else can leak into an image."""
    with tempfile.TemporaryDirectory() as folder:
        for path in inputs:
            source, target = REPOSITORY / path, Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield Path(folder)


def _client_settings() -> list[str]:
    # So that pip and apt inside a build trust and find what this machine's own clients do.
    files = ["/etc/ssl/certs", "/etc/pip.conf"]
    return [word for file in files if Path(file).exists() for word in ("-v", f"{file}:{file}:ro")]


def _debootstrap() -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        root = Path(folder) / "root"
        mirror = run(
            "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"
        ).split()
        # The security archive is a different repository and holds no base system.
        archive = [uri for uri in mirror if uri.rstrip("/").endswith("/debian")][:1]
        packages = "ca-certificates,python3,python3-venv"
        run(
            "debootstrap", "--variant=minbase", f"--include={packages}", SUITE, root, *archive,
            log=HOME / "logs" / "debootstrap.log",
        )  # fmt: skip
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        (Path(folder) / "Dockerfile").write_text('FROM scratch\nCOPY root /\nCMD ["/bin/bash"]\n')
        _buildah("bud", "-q", "-t", BASE, folder)


def _buildah(*args: str, log: Path | None = None) -> str:
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    store = ["--root", str(BUILDAH / "store"), "--runroot", str(BUILDAH / "run")]
    return run("buildah", *store, *args, env=env, log=log)


def _prune() -> None:
    """Drops images that a newer build replaced; each is gigabytes."""
    _buildah("rmi", "--prune", "--force")


def _digest(paths: Iterable[Path], *words: str) -> str:
    hasher = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                hasher.update(str(file.relative_to(path.parent)).encode() + b"\0")
                hasher.update(file.read_bytes())
    return hasher.hexdigest()[:16]
