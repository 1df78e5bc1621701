"""Makes a job's inputs and code appear as files in this pod."""

from __future__ import annotations

import fcntl
import gzip
import http.client
import json
import re
import shutil
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from loopwright.api import names
from loopwright.api.shared import DataSource
from loopwright.api.trainingjob import Input, Script
from loopwright.api.trainingjob_status import Cause
from loopwright.api.validation import InputBaseline, ValidationResult
from loopwright.runtime.console import say
from loopwright.runtime.errors import RunError, wrong
from loopwright.runtime.prestop import WORK
from loopwright.runtime.storage import Folder, digest, refusals


def fetch_all(
    inputs: list[Input],
    tell: Callable[[dict[str, Any]], object],
    reports: Folder | None = None,
    baselines: Sequence[InputBaseline] = (),
) -> dict[str, Path]:
    """The folder of each input; downloads those that are not mounted, and checks them, once a pod.

    Args:
        tell: Called with each input's digest, for the lineage, and with what its checks found.
        reports: Where quality reports go.
        baselines: What inputs are compared with.

    Raises:
        RunError: an input is not there, or not as it should be.
    """
    folders, known = {}, {one.name: one for one in baselines}
    for one in inputs:
        path = _place(one)
        found, size = _digest(one.name, path)
        expected = one.source.digest
        if expected is not None and found != expected:
            text = f"input '{one.name}' has digest {found}, not {expected}; has the data changed?"
            raise RunError("DigestMismatch", text)
        ref = one.source.config_map_ref
        uri = one.source.uri or (f"configmap://{ref.name}" if ref else "")
        tell({"type": "input", "name": one.name, "uri": uri, "digest": found, "size": size})
        if one.validation is not None:
            _check(one, path, tell, reports, known.get(one.name))
        folders[one.name] = path if path.is_dir() else path.parent
    return folders


def _digest(name: str, path: Path) -> tuple[str, int]:
    """Digest and size of an input; once a pod, which may have many trials to come."""
    with _once(f"digest-{name}") as done:
        if not done.exists():
            done.write_text(json.dumps(digest(path)))
        found, size = json.loads(done.read_text())
        return found, size


def _check(
    one: Input,
    path: Path,
    tell: Callable[[dict[str, Any]], object],
    reports: Folder | None,
    baseline: InputBaseline | None,
) -> None:
    # It brings pandas along, which most jobs have no use for.
    from loopwright.runtime import checking

    with _once(f"validation-{one.name}") as done:
        if not done.exists():
            found = checking.check(one, path, reports, baseline)
            done.write_text(found.model_dump_json(by_alias=True))
        result = ValidationResult.model_validate_json(done.read_text())
    tell({"type": "validation", **result.wire()})
    if not result.passed:
        say(f"loopwright: input '{one.name}': {result.message}")
        if one.validation is not None and one.validation.on_failure == "Fail":
            where = f"; see {result.report_uri}" if result.report_uri else ""
            raise wrong("DataInvalid", f"input '{one.name}': {result.message}{where}")


def _place(one: Input) -> Path:
    """The file or folder that the input is in this pod."""
    uri = one.source.uri
    target = Path(str(one.mount_path or f"{names.INPUTS_DIR}/{one.name}"))
    if uri is None:
        return target  # A ConfigMap, mounted by the kubelet.
    if uri.startswith("pvc://"):
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        mounted = target if one.mount_path else Path(names.PVC_DIR) / claim / path
        # Where a mount names a folder that is not there, the kubelet makes an empty one.
        if not mounted.exists() or (mounted.is_dir() and not any(mounted.iterdir())):
            raise RunError("InputMissing", f"input '{one.name}': there is nothing at {uri}")
        return mounted
    with _once(f"input-{one.name}") as done:
        if not done.exists():
            done.write_text(str(_download(one.source, target)))
        return Path(done.read_text())


def _download(source: DataSource, target: Path) -> Path:
    """Copies a file or a folder below `target`; returns where it now is."""
    uri = str(source.uri)
    # What follows in a presigned link is no part of the name.
    name = uri.partition("?")[0].rstrip("/").rpartition("/")[2]
    if name in ("", ".", ".."):
        raise wrong("InputInvalid", f"{uri} names no file")
    target.mkdir(parents=True, exist_ok=True)
    if uri.startswith("http"):
        _http(uri, target / name)
        return target / name
    folder = Folder(uri, source.secret_ref.name if source.secret_ref else None)
    if folder.is_file():
        folder.download("", target / name)
        return target / name
    files = folder.files()
    if not files:
        raise RunError("InputMissing", f"there is nothing at {uri}")
    for file in files:
        # Keys of a bucket are any text.
        if ".." in file.split("/"):
            raise wrong("InputInvalid", f"{folder.child(file)} leads out of its folder")
        folder.download(file, target / file)
    return target


def _http(uri: str, target: Path) -> None:
    with refusals(uri):
        with urllib.request.urlopen(uri, timeout=60) as answer:  # noqa: S310 (schema: http, https)
            with target.open("wb") as file:
                try:
                    shutil.copyfileobj(answer, file)
                except http.client.HTTPException as error:
                    raise OSError(f"the answer was cut off: {error!r}") from error
            expected = answer.headers.get("Content-Length", "")
    # The standard library is content with less, and with what is no number.
    if re.fullmatch(r"[0-9]{1,18}", expected) and target.stat().st_size != int(expected):
        text = f"{uri}: got {target.stat().st_size} of {expected} bytes"
        raise RunError("StorageFailed", text, Cause.INFRASTRUCTURE)


DAMAGED: Final = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, RuntimeError, zlib.error,
    # Of names that no file can have, or that are folders too.
    ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError,
)  # fmt: skip


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
        return Path(names.SCRIPT_DIR) / names.INLINE_SCRIPT_KEY
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
    archive = _download(source, WORK / "archive")
    if not archive.is_file():
        raise RunError("ArchiveInvalid", f"{script.archive_uri} is a folder, not an archive")
    if script.digest is not None and (found := digest(archive)[0]) != script.digest:
        raise RunError("DigestMismatch", f"{script.archive_uri} has digest {found}")
    folder.mkdir(parents=True, exist_ok=True)
    with refusals(str(script.archive_uri)):
        try:
            # This order: whatever ends with a zip, such as a tar of wheels, would pass for one.
            if tarfile.is_tarfile(archive):
                with tarfile.open(archive) as tar:
                    # The filter keeps all within the folder, and refuses devices and links out.
                    tar.extractall(folder, filter="data")
            else:
                _unzip(archive, folder)
        except DAMAGED as error:
            raise RunError("ArchiveInvalid", f"{script.archive_uri}: {error}") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if name.startswith("/") or ".." in Path(name).parts:
                raise RunError(
                    "ArchiveInvalid", f"the archive holds {name!r}, which leads out of it"
                )
        file.extractall(folder)  # noqa: S202 (checked above)
