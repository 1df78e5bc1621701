"""Checkpoints: folders whose manifest is written last, so that a torn one is never resumed from."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, sha256

MANIFEST: Final = "checkpoint.json"
NAME: Final = re.compile(r"step-(\d{12})")


def save(folder: Folder, source: Path, step: int, keep: int) -> str:
    """Stores a local folder as the checkpoint of a step, drops old ones, and returns its URI."""
    name = f"step-{step:012d}"
    files = {}
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = str(file.relative_to(source))
        folder.upload(file, f"{name}/{relative}")
        files[relative] = sha256(file)
    manifest = {"step": step, "time": datetime.now(UTC).isoformat(), "files": files}
    folder.write(f"{name}/{MANIFEST}", json.dumps(manifest).encode())
    for old in complete(folder)[:-keep]:
        folder.remove(old)
    return folder.child(name)


def complete(folder: Folder) -> list[str]:
    """Names of complete checkpoints, oldest first."""
    names = [name for name in folder.folders() if NAME.fullmatch(name)]
    return [name for name in names if folder.read(f"{name}/{MANIFEST}") is not None]


def latest(folder: Folder) -> str | None:
    """URI of the newest complete checkpoint."""
    names = complete(folder)
    return folder.child(names[-1]) if names else None


def step_of(uri: str) -> int:
    """The step that a checkpoint was made at."""
    found = NAME.search(uri)
    return int(found[1]) if found else 0


def restore(uri: str, secret: str | None, target: Path) -> Path:
    """Downloads a checkpoint and checks every file.

    Raises:
        RunError: it is not complete, or a file is not what the manifest says.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    folder = Folder(parent, secret)
    text = folder.read(f"{name}/{MANIFEST}")
    if text is None:
        raise RunError("CheckpointMissing", f"{uri} is not a complete checkpoint")
    folder.download(name, target)
    for file, digest in json.loads(text)["files"].items():
        if sha256(target / file) != digest:
            raise RunError("CheckpointDamaged", f"{uri}/{file} is not what its manifest says")
    return target
