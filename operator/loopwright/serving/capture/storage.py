"""Where captured requests go: a folder of a bucket, or of a mounted claim."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from loopwright.api import names
from loopwright.api.capture import CaptureDestination
from loopwright.serving.capture.layout import expired, past

# Of one answer to a listing.
PAGE: Final = 1000
# Elsewhere in tests.
ENV_CLAIM: Final = "LOOPWRIGHT_CAPTURE_DIR"
ENV_SECRETS: Final = "LOOPWRIGHT_SECRETS_DIR"


class CannotStore(Exception):
    """The storage did not take a file, or did not say what is there; the message says why."""


@dataclass(frozen=True)
class Found:
    """A file."""

    name: str
    """Below the storage's folder."""
    size: int
    """Bytes."""
    modified: datetime
    """When it was last written."""


class Storage(Protocol):
    """A folder."""

    def put(self, name: str, content: bytes) -> None:
        """Writes a file whole or not at all.

        Raises:
            CannotStore: it is not there.
        """

    def expired(self, endpoint: str, before: datetime) -> Iterator[str]:
        """Our own files of an endpoint, of hours that were over by then, the oldest of each variant
        first.

        Raises:
            CannotStore: the storage refuses.
        """

    def delete(self, files: list[str]) -> None:
        """Deletes files.

        Raises:
            CannotStore: the storage refuses.
        """

    def below(self, folder: str) -> Iterator[Found]:
        """All files below a folder, in no order; none if it is not there.

        Raises:
            CannotStore: the storage refuses.
        """

    def read(self, name: str) -> bytes | None:
        """A file; None if it is not there.

        Raises:
            CannotStore: the storage refuses.
        """


def open_storage(destination: CaptureDestination, claims: Path | None = None) -> Storage:
    """The folder of a destination, with its credentials as they are now.

    Args:
        claims: Where claims are mounted by name; by default the destination's own is where model
            servers have it.

    Raises:
        CannotStore: there are no credentials, or they make no sense.
    """
    if destination.claim is not None:
        rest = destination.uri.removeprefix("pvc://").partition("/")[2]
        own = Path(os.environ.get(ENV_CLAIM, names.CAPTURE_DIR))
        return Claim((own if claims is None else claims / destination.claim) / rest)
    return Bucket(destination.uri, credentials(destination))


def credentials(destination: CaptureDestination) -> Mapping[str, str]:
    """AWS_* values: the mounted Secret's if one is named, else the environment's.

    Raises:
        CannotStore: it has none.
    """
    if destination.secret_ref is None:
        return os.environ
    root, name = Path(os.environ.get(ENV_SECRETS, names.SECRETS_DIR)), destination.secret_ref.name
    found = {file.name: file.read_text().strip() for file in (root / name).glob("AWS_*")}
    if "AWS_ACCESS_KEY_ID" not in found:
        raise CannotStore(f"Secret '{name}' is missing, or has no AWS_ACCESS_KEY_ID")
    return found


class Claim:
    """A folder of a file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, content: bytes) -> None:
        """Writes a file; it is there, also after a crash of the node, once it has its name."""
        path = self._root / name
        new = path.with_name(f"{path.name}.new")
        with self._refusals(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(path)

    def expired(self, endpoint: str, before: datetime) -> Iterator[str]:
        """Files of the hours before."""
        root = self._root / endpoint
        with self._refusals(endpoint):
            for variant in _folders(root):
                for hour in _hours(variant):
                    if not past(str(hour.relative_to(root)), before):
                        break
                    for file in sorted(hour.iterdir()):
                        if expired(str(file.relative_to(root)), before) and not file.is_symlink():
                            yield str(file.relative_to(self._root))

    def delete(self, files: list[str]) -> None:
        """Deletes files, and folders of hours, days, months and years that are empty then."""
        for name in files:
            path = self._root / name
            with self._refusals(name):
                path.unlink(missing_ok=True)
            for folder in list(path.parents)[:4]:
                try:
                    folder.rmdir()
                except OSError:
                    break

    def below(self, folder: str) -> Iterator[Found]:
        """Files below a folder; links are not followed."""
        with self._refusals(folder):
            for parent, _, files in os.walk(self._root / folder, onerror=_unless_missing):
                for name in files:
                    path = Path(parent, name)
                    told = path.lstat()
                    if not path.is_symlink():
                        modified = datetime.fromtimestamp(told.st_mtime, UTC)
                        yield Found(str(path.relative_to(self._root)), told.st_size, modified)

    def read(self, name: str) -> bytes | None:
        """A file."""
        with self._refusals(name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotStore(f"{name}: {error.strerror or error}") from error


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _hours(variant: Path) -> Iterator[Path]:
    """Folders of hours, the oldest first."""
    for year in _folders(variant, "year="):
        for month in _folders(year, "month="):
            for day in _folders(month, "day="):
                yield from _folders(day, "hour=")


def _folders(parent: Path, prefix: str = "") -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(
        one for one in parent.iterdir()
        if one.name.startswith(prefix) and one.is_dir() and not one.is_symlink()
    )  # fmt: skip


class Bucket:
    """A folder of a bucket on any S3 server.

    Args:
        values: AWS_* values.
    """

    def __init__(self, uri: str, values: Mapping[str, str]) -> None:
        from obstore.store import S3Store

        config: Any = {"region": values.get("AWS_REGION", "us-east-1")}
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            if values is not os.environ and key in values:
                config[key.lower()] = values[key]
        endpoint = values.get("AWS_ENDPOINT_URL_S3") or values.get("AWS_ENDPOINT_URL")
        client: Any = {"connect_timeout": "5s", "timeout": "60s"}
        if endpoint:
            config["endpoint"] = endpoint
            client["allow_http"] = endpoint.startswith("http://")
        retry: Any = {"max_retries": 2}
        with self._refusals(uri):
            self._store = S3Store.from_url(
                uri.rstrip("/"), config=config, client_options=client, retry_config=retry
            )

    def put(self, name: str, content: bytes) -> None:
        """Writes an object, which S3 publishes as a whole."""
        with self._refusals(name):
            self._store.put(name, content, use_multipart=False)

    def expired(self, endpoint: str, before: datetime) -> Iterator[str]:
        """Files of the hours before; a variant's listing ends with the first that stays."""
        with self._refusals(endpoint):
            variants = self._store.list_with_delimiter(endpoint)["common_prefixes"]
            for variant in sorted(variants):
                yield from self._of(endpoint, str(variant), before)

    def _of(self, endpoint: str, variant: str, before: datetime) -> Iterator[str]:
        for page in self._store.list(variant, chunk_size=PAGE):
            for one in page:
                name = str(one["path"])
                below = name.removeprefix(f"{endpoint}/")
                if expired(below, before):
                    yield name
                elif not past(below, before) and "/year=" in below:
                    # Keys come in their order, and so do hours.
                    return

    def delete(self, files: list[str]) -> None:
        """Deletes objects."""
        with self._refusals(files[0] if files else ""):
            self._store.delete(files)

    def below(self, folder: str) -> Iterator[Found]:
        """Objects whose keys begin with a folder."""
        with self._refusals(folder):
            for page in self._store.list(folder or None, chunk_size=PAGE):
                for one in page:
                    yield Found(str(one["path"]), int(one["size"]), one["last_modified"])

    def read(self, name: str) -> bytes | None:
        """An object."""
        with self._refusals(name):
            try:
                return bytes(self._store.get(name).bytes())
            except FileNotFoundError:
                return None

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            refusals = exceptions.PermissionDeniedError, exceptions.UnauthenticatedError
            text = " ".join(str(error).split()).partition(" Debug source")[0]
            # A listing that is refused is an error like any other to the library.
            if isinstance(error, refusals) or "403 Forbidden" in text:
                text = "access denied; check the Secret of secretRef"
            raise CannotStore(f"{name}: {text[:300]}") from error
