"""Checkpoints: folders whose manifest is written last, so that a torn one is never resumed from."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, sha256

MANIFEST: Final = "checkpoint.json"
SUCCESS: Final = "success.json"
NAME: Final = re.compile(r"step-(\d{12})")
# Of a checkpoint whose owner goes on and drops its old ones meanwhile.
TRIES: Final = 5


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in a folder."""

    name: str
    time: str
    """When it was complete; ISO 8601, so that text order is the order of time."""
    job: str
    """UID of the job that made it."""


def save(folder: Folder, source: Path, step: int, keep: int, job: str = "") -> str:
    """Stores a local folder as the checkpoint of a step, drops old ones, and returns its URI."""
    name = f"step-{step:012d}"
    if name in folder.folders():
        # Torn, or left by another run; files of both must not mix.
        folder.remove(name)
    files = {}
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = str(file.relative_to(source))
        files[relative] = folder.upload(file, f"{name}/{relative}")
    manifest = {"step": step, "time": _now(), "job": job, "files": files}
    folder.write(f"{name}/{MANIFEST}", json.dumps(manifest).encode())
    kept = {checkpoint.name for checkpoint in complete(folder)[-keep:]}
    for other in folder.folders():
        if NAME.fullmatch(other) and other not in kept:
            folder.remove(other)
    return folder.child(name)


def complete(folder: Folder) -> list[Checkpoint]:
    """Complete checkpoints, oldest first: by time, since another run may have counted higher."""
    found = []
    for name in folder.folders():
        manifest = _json(folder, f"{name}/{MANIFEST}") if NAME.fullmatch(name) else None
        if manifest is not None:
            found.append(Checkpoint(name, manifest["time"], manifest.get("job", "")))
    return sorted(found, key=lambda checkpoint: (checkpoint.time, checkpoint.name))


def _json(folder: Folder, name: str) -> dict[str, Any] | None:
    """A manifest; None where there is none, or a full disk cut it off."""
    try:
        content = json.loads(folder.read(name) or b"")
    except (ValueError, RecursionError):
        return None
    # A bucket may hold anything under this name.
    known = isinstance(content, dict) and isinstance(content.get("time"), str)
    return content if known else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def succeeded(folder: Folder) -> None:
    """Says that what is there has served its purpose: the next job shall not continue from it."""
    if complete(folder):
        folder.write(SUCCESS, json.dumps({"time": _now()}).encode())


def to_resume(folder: Folder, wanted: str, job: str) -> str | None:
    """URI of the checkpoint to continue from.

    Args:
        wanted: spec.checkpoint.resumeFrom. What the job itself has done always comes first, so
            that a retry never starts over.
        job: UID of the job.
    """
    known = complete(folder)
    own = [checkpoint for checkpoint in known if checkpoint.job == job]
    if own:
        return folder.child(own[-1].name)
    if "://" in wanted:
        return wanted
    success = _json(folder, SUCCESS) or {"time": ""}
    left = [checkpoint for checkpoint in known if checkpoint.time > success["time"]]
    return folder.child(left[-1].name) if left and wanted == "Latest" else None


def restore(uri: str, secret: str | None, target: Path) -> Path:
    """Downloads a checkpoint and checks every file.

    Raises:
        RunError: it is not complete, or a file is not what the manifest says.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    folder = Folder(parent, secret)
    manifest = _json(folder, f"{name}/{MANIFEST}")
    if manifest is None:
        raise RunError("CheckpointMissing", f"{uri} is not a complete checkpoint")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise RunError("CheckpointDamaged", f"{uri}: its manifest lists no files")
    for file, digest in files.items():
        if ".." in PurePosixPath(file).parts or file.startswith("/") or "\0" in file:
            raise RunError("CheckpointDamaged", f"{uri}: {file!r} leads out of it")
        try:
            folder.download(f"{name}/{file}", target / file)
        except RunError as error:
            if error.reason != "StorageNotFound":
                raise
            raise RunError("CheckpointDamaged", f"{uri}/{file} is missing") from error
        if sha256(target / file) != digest:
            raise RunError("CheckpointDamaged", f"{uri}/{file} is not what its manifest says")
    return target


def take_over(uri: str, own: Folder, keep: int, job: str) -> str | None:
    """Copies another run's checkpoint into one's own folder, and returns the copy's URI.

    A copy, because the other goes on and drops its old ones: what was there when it was chosen may
    be gone when it is read, and processes that begin one after the other must all find the same.

    Args:
        uri: The checkpoint. Where it is gone, a newer one of the same folder serves as well.
        own: Folder of what takes it over, with the credentials of both.
        keep: See `save`.
        job: UID of what takes it over.

    Returns:
        None where the other has none any more.

    Raises:
        RunError: what is there is damaged, or the storage refuses.
    """
    parent, _, name = uri.rpartition("/")
    folder = Folder(parent, own.secret)
    for left in reversed(range(TRIES)):
        known = [one.name for one in complete(folder)]
        if not known:
            return None
        name = name if name in known else known[-1]
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as target:
            try:
                restore(folder.child(name), own.secret, Path(target))
            except RunError as error:
                if not left or error.reason not in ("CheckpointMissing", "CheckpointDamaged"):
                    raise
            else:
                return save(own, Path(target), int(name.removeprefix("step-")), keep, job)
    return None
