"""Folders in S3 and on claims, through pyarrow.fs; refusals become one clear line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from loopwright.api import names
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.errors import RunError

SECRETS = Path(names.SECRETS_DIR)
CHUNK = 1 << 20
CONNECT_SECONDS = 10
# What S3 servers and HTTP servers call it.
DENIED = re.compile(
    r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|INVALID_ACCESS_KEY_ID"
    r"|InvalidAccessKeyId|HTTP (status|response code|Error) 40[13]"
)


def credentials(secret: str | None) -> dict[str, str]:
    """AWS_* values: a Secret's files when one is named, else the environment."""
    values = {key: value for key, value in os.environ.items() if key.startswith("AWS_")}
    if secret is not None:
        folder = SECRETS / secret
        values |= {file.name: file.read_text().strip() for file in folder.glob("AWS_*")}
    return values


class Folder:
    """A folder at a URI: s3://bucket/path or pvc://claim/path.

    Bytes stay as they are; what ends with .gz would else be compressed, or decompressed.

    Args:
        secret: Name of the mounted Secret with credentials.
    """

    def __init__(self, uri: str, secret: str | None = None) -> None:
        self.uri, self.secret = uri.rstrip("/"), secret
        scheme, _, rest = self.uri.partition("://")
        if scheme == "pvc":
            claim, _, path = rest.partition("/")
            self._fs: Any = fs.LocalFileSystem()
            self._root = f"{names.PVC_DIR}/{claim}/{path}".rstrip("/")
        elif scheme == "s3":
            self._fs = _s3(credentials(secret))
            self._root = rest
        else:
            raise RunError("SchemeUnknown", f"{uri}: only s3:// and pvc:// can be written")

    @classmethod
    def local(cls, path: Path) -> Folder:
        """A folder of this machine."""
        folder = cls.__new__(cls)
        folder.uri = folder._root = str(path)
        folder.secret = None
        folder._fs = fs.LocalFileSystem()
        return folder

    def child(self, name: str) -> str:
        """URI of something in the folder."""
        return f"{self.uri}/{name}"

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file."""
        with refusals(self.uri):
            self._fs.create_dir(self._path(name).rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(self._path(name), compression=None) as stream:
                stream.write(content)

    def replace(self, name: str, content: bytes) -> None:
        """Writes a small file whole or not at all, as object stores do anyway."""
        if not isinstance(self._fs, fs.LocalFileSystem):
            return self.write(name, content)
        self.write(f"{name}.new", content)
        self.move(f"{name}.new", name)

    def read(self, name: str) -> bytes | None:
        """Reads a small file, or None when it is not there."""
        with refusals(self.uri):
            if self._fs.get_file_info(self._path(name)).type != fs.FileType.File:
                return None
            with self._fs.open_input_stream(self._path(name), compression=None) as stream:
                return bytes(stream.read())

    def upload(self, source: Path, name: str) -> str:
        """Copies a local file, and returns the digest of what was copied.

        Of the copy, because its writer may go on writing.
        """
        hasher = hashlib.sha256()
        with refusals(self.uri), source.open("rb") as file:
            self._fs.create_dir(self._path(name).rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(self._path(name), compression=None) as stream:
                while chunk := file.read(CHUNK):
                    stream.write(chunk)
                    hasher.update(chunk)
        return f"sha256:{hasher.hexdigest()}"

    def download(self, name: str, target: Path) -> None:
        """Copies a file to a local one.

        Raises:
            RunError: there is no such file, or the storage refuses.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with refusals(self.child(name) if name else self.uri):
            with (
                self._fs.open_input_stream(self._path(name), compression=None) as stream,
                target.open("wb") as out,
            ):
                while chunk := stream.read(CHUNK):
                    out.write(chunk)

    def is_file(self) -> bool:
        """Whether the URI names a file, not a folder."""
        with refusals(self.uri):
            return bool(self._fs.get_file_info(self._root).type == fs.FileType.File)

    def files(self, name: str = "") -> list[str]:
        """Paths of all files under a name, relative to the folder."""
        with refusals(self.uri):
            selector = fs.FileSelector(self._path(name), recursive=True, allow_not_found=True)
            infos = self._fs.get_file_info(selector)
        prefix = len(self._root) + 1
        return sorted(info.path[prefix:] for info in infos if info.type == fs.FileType.File)

    def stats(self) -> list[tuple[str, int, int]]:
        """Path below the folder, size and time of change in ns of all files, sorted by path."""
        with refusals(self.uri):
            selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
            infos = self._fs.get_file_info(selector)
        prefix = len(self._root) + 1
        return sorted(
            (info.path[prefix:], info.size, info.mtime_ns or 0)
            for info in infos
            if info.type == fs.FileType.File
        )

    def stat(self, name: str) -> tuple[int, int] | None:
        """Size and time of change in ns of a file, or None when it is not there."""
        with refusals(self.uri):
            info = self._fs.get_file_info(self._path(name))
        return (info.size, info.mtime_ns or 0) if info.type == fs.FileType.File else None

    def open(self, name: str) -> Any:
        """A file for reading at any place, as pyarrow's NativeFile."""
        with refusals(self.child(name) if name else self.uri):
            return self._fs.open_input_file(self._path(name))

    def create(self, name: str) -> Any:
        """A new file for writing, as pyarrow's NativeFile; on S3 it is there once it is closed."""
        with refusals(self.child(name)):
            self._fs.create_dir(self._path(name).rpartition("/")[0], recursive=True)
            return self._fs.open_output_stream(self._path(name), compression=None)

    def sync(self, name: str) -> None:
        """Returns once a file on a claim, and its name, outlive the node; those on S3 do anyway."""
        if not isinstance(self._fs, fs.LocalFileSystem):
            return
        path = Path(self._path(name))
        with refusals(self.child(name)):
            for one in (path, path.parent):
                descriptor = os.open(one, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def move(self, name: str, target: str) -> None:
        """Renames a file; on S3 that is a copy within the server."""
        with refusals(self.child(name)):
            self._fs.move(self._path(name), self._path(target))

    def folders(self) -> list[str]:
        """Names of direct sub-folders."""
        with refusals(self.uri):
            selector = fs.FileSelector(self._root, recursive=False, allow_not_found=True)
            infos = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)

    def remove(self, name: str) -> None:
        """Deletes a sub-folder."""
        with refusals(self.uri):
            self._delete_folder(self._path(name))

    def clear(self) -> None:
        """Deletes the folder itself, if it is there."""
        with refusals(self.uri):
            if self._fs.get_file_info(self._root).type == fs.FileType.Directory:
                self._delete_folder(self._root)

    def _delete_folder(self, path: str) -> None:
        if not isinstance(self._fs, fs.LocalFileSystem):
            # The innermost first: some servers keep folders, and delete only those that are empty.
            selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
            infos = self._fs.get_file_info(selector)
            inner = [info.path for info in infos if info.type == fs.FileType.Directory]
            for one in sorted(inner, key=len, reverse=True):
                self._fs.delete_dir(one)
        self._fs.delete_dir(path)

    def delete(self, name: str) -> None:
        """Deletes a file, if it is there."""
        with refusals(self.uri):
            if self._fs.get_file_info(self._path(name)).type == fs.FileType.File:
                self._fs.delete_file(self._path(name))

    def check_writable(self) -> None:
        """Fails early and clearly where results could not be stored after hours of training."""
        self.write(".loopwright-write-check", b"")
        self.delete(".loopwright-write-check")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def _s3(values: dict[str, str]) -> Any:
    options: dict[str, Any] = {"region": values.get("AWS_REGION", "us-east-1")}
    # Names are looked up in it, too, for which the default, a second, is short on a busy node.
    options["connect_timeout"] = CONNECT_SECONDS
    if "AWS_ACCESS_KEY_ID" in values:
        options["access_key"] = values["AWS_ACCESS_KEY_ID"]
        options["secret_key"] = values.get("AWS_SECRET_ACCESS_KEY", "")
        if "AWS_SESSION_TOKEN" in values:
            options["session_token"] = values["AWS_SESSION_TOKEN"]
    if "AWS_ENDPOINT_URL" in values:
        options["endpoint_override"] = values["AWS_ENDPOINT_URL"]
    return fs.S3FileSystem(**options)


@contextmanager
def refusals(uri: str) -> Iterator[None]:
    """Turns a storage's refusal into one line that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise RunError(
            "StorageRefused", f"{uri}: access denied; check its secretRef: {error}"
        ) from error
    except FileNotFoundError as error:
        raise RunError(
            "StorageNotFound", f"{uri}: not found; create the bucket or claim"
        ) from error
    except OSError as error:
        text = str(error)
        if error.errno == 28 or "No space" in text:
            raise RunError("NoSpace", f"{uri}: no space left") from error
        if DENIED.search(text):
            raise RunError(
                "StorageRefused", f"{uri}: access denied; check its secretRef"
            ) from error
        if "NO_SUCH_BUCKET" in text or re.search(r"Bucket '.*' not found", text):
            raise RunError("StorageNotFound", f"{uri}: no such bucket; create it") from error
        # What remains are connections and servers, which may well work the next time.
        raise RunError("StorageFailed", f"{uri}: {text[:300]}", Cause.INFRASTRUCTURE) from error


def sha256(file: Path) -> str:
    """Digest of a local file, as `sha256:<hex>`."""
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def digest(path: Path) -> tuple[str, int]:
    """Digest and size of a file or folder, as DataSource.digest defines them."""
    if path.is_file():
        return sha256(path), path.stat().st_size
    files = [p for p in path.rglob("*") if p.is_file() and "/.." not in str(p)]
    # As `sort` does: by the text of the path, not by its parts.
    files.sort(key=lambda file: str(file.relative_to(path)).encode())
    lines = [f"{sha256(p).removeprefix('sha256:')}  {p.relative_to(path)}\n" for p in files]
    whole = hashlib.sha256("".join(lines).encode()).hexdigest()
    return f"sha256:{whole}", sum(p.stat().st_size for p in files)
