"""Makes a job's inputs and code appear as files in this pod."""

from __future__ import annotations

import fcntl
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loopwright.api import names
from loopwright.api.shared import DataSource
from loopwright.api.trainingjob import Input, Script
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, digest, refusals

WORK = Path("/tmp/loopwright")  # noqa: S108 (a volume of this pod alone)


def fetch_all(inputs: list[Input], tell: Callable[[dict[str, Any]], None]) -> dict[str, Path]:
    """The folder of each input; downloads those that are not mounted, once a pod.

    Args:
        tell: Called with each input's digest, for the lineage.
    """
    folders = {}
    for one in inputs:
        path = _place(one)
        found, size = digest(path)
        expected = one.source.digest
        if expected is not None and found != expected:
            text = f"input '{one.name}' has digest {found}, not {expected}; has the data changed?"
            raise RunError("DigestMismatch", text)
        uri = one.source.uri or f"configmap://{one.source.config_map_ref}"
        tell({"type": "input", "name": one.name, "uri": uri, "digest": found, "size": size})
        folders[one.name] = path if path.is_dir() else path.parent
    return folders


def _place(one: Input) -> Path:
    target = Path(one.mount_path or f"{names.INPUTS_DIR}/{one.name}")
    if one.source.uri is None:
        return target  # A ConfigMap, mounted by the kubelet.
    if one.source.uri.startswith("pvc://"):
        claim, _, path = one.source.uri.removeprefix("pvc://").partition("/")
        mounted: Path = Path(names.PVC_DIR) / claim / path
        if not mounted.exists():
            raise RunError("InputMissing", f"input '{one.name}': {one.source.uri} does not exist")
        return mounted
    with _once(f"input-{one.name}") as done:
        if not done.exists():
            target.mkdir(parents=True, exist_ok=True)
            _download(one.source, target)
            done.touch()
    return target


def _download(source: DataSource, target: Path) -> None:
    assert source.uri is not None
    secret = source.secret_ref.name if source.secret_ref else None
    if source.uri.startswith("http"):
        _http(source.uri, target / (source.uri.rpartition("/")[2] or "data"))
        return
    folder = Folder(source.uri, secret)
    files = folder.files()
    if files:
        folder.download("", target)
        return
    parent, _, name = source.uri.rstrip("/").rpartition("/")
    content = Folder(parent, secret).read(name)
    if content is None:
        raise RunError("InputMissing", f"{source.uri} does not exist")
    (target / name).write_bytes(content)


def _http(uri: str, target: Path) -> None:
    with refusals(uri):
        with urllib.request.urlopen(uri, timeout=60) as answer:  # noqa: S310 (schema: http, https)
            with target.open("wb") as file:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)


@contextmanager
def _once(name: str) -> Iterator[Path]:
    """Serialises processes of one pod; yields a file that exists when the work was done."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield WORK / f"{name}.done"


def script_path(script: Script) -> Path:
    """The script's file in this pod.

    Raises:
        RunError: there is no such file; the message lists those that there are.
    """
    if script.inline is not None:
        return Path(names.CONFIG_DIR) / names.INLINE_SCRIPT_KEY
    folder = Path(names.CODE_DIR)
    if script.archive_uri is not None:
        folder = WORK / "code"
        with _once("code") as done:
            if not done.exists():
                _unpack(script, folder)
                done.touch()
    path = folder / (script.path or "train.py")
    if not path.is_file():
        files = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        there = ", ".join(sorted(f for f in files if not f.startswith("..")))[:400] or "nothing"
        raise RunError(
            "ScriptMissing", f"script {script.path or 'train.py'} not found; there is: {there}"
        )
    return path


def _unpack(script: Script, folder: Path) -> None:
    source = DataSource(uri=script.archive_uri, secret_ref=script.secret_ref)
    downloaded = WORK / "archive"
    downloaded.mkdir(parents=True, exist_ok=True)
    _download(source, downloaded)
    [archive] = list(downloaded.iterdir())
    if script.digest is not None and (found := digest(archive)[0]) != script.digest:
        raise RunError("DigestMismatch", f"{script.archive_uri} has digest {found}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder)
        else:
            with tarfile.open(archive) as tar:
                # The filter refuses absolute paths, "..", devices, and links that lead out.
                tar.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise RunError("ArchiveInvalid", f"{script.archive_uri}: {error}") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith("/") or ".." in Path(name).parts:
                raise RunError(
                    "ArchiveInvalid", f"the archive holds {name!r}, which leads out of it"
                )
        file.extractall(folder)  # noqa: S202 (checked above)
