"""Where a model directory lies: a local folder, a mounted claim or a bucket; read file by file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from loopwright.api import names
from loopwright.serving.errors import CannotServe

REMEDY = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what the key may read"


class Source(Protocol):
    """A folder of files."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """A file's content, or None when there is no such file.

        Raises:
            CannotServe: the storage refuses.
        """

    def names(self) -> list[str]:
        """Names of the files directly in it, sorted.

        Raises:
            CannotServe: the storage refuses.
        """


def open_source(uri: str, env: Mapping[str, str] = os.environ) -> Source:
    """The folder at a URI or local path.

    Raises:
        CannotServe: nothing reads such a URI.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return LocalFolder(uri, Path(uri))
    if scheme == "pvc":
        return LocalFolder(uri, Path(names.PVC_DIR) / rest)
    if scheme == "s3":
        return Bucket(uri, env)
    raise CannotServe("SchemeUnknown", f"{uri}: use s3://bucket/path, pvc://claim/path or a folder")


class LocalFolder:
    """A folder of this machine; claims are mounted as the training jobs mount them."""

    def __init__(self, uri: str, path: Path) -> None:
        self.uri, self._path = uri, path

    def read(self, name: str) -> bytes | None:
        """A file's content, or None."""
        with self._refusals(name):
            return (self._path / name).read_bytes()
        return None

    def names(self) -> list[str]:
        """Names of the files directly in it."""
        with self._refusals(""):
            return sorted(path.name for path in self._path.iterdir() if path.is_file())
        return []

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """Goes on after the block when there is no such file or folder."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError as error:
            me = f"user {os.getuid()}, group {os.getgid()}"
            raise CannotServe(
                "StorageRefused",
                f"{self.uri}/{name}: {me} may not read it; set fsGroup or its mode",
            ) from error
        except OSError as error:
            raise CannotServe("StorageFailed", f"{self.uri}/{name}: {error}") from error


class Bucket:
    """A folder of a bucket on any S3 server, with credentials as the AWS SDKs find them in pods."""

    def __init__(self, uri: str, env: Mapping[str, str]) -> None:
        # Loaded where it is needed: most pods mount their model.
        from obstore.store import S3Store

        self.uri = uri.rstrip("/")
        endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
        config: Any = {"region": env.get("AWS_REGION", "us-east-1")}
        if endpoint:
            config["endpoint"] = endpoint
        # A model may be gigabytes; what must not take long is finding that nobody answers.
        client: Any = {"connect_timeout": "10s", "timeout": "1h"}
        if endpoint and endpoint.startswith("http://"):
            client["allow_http"] = True
        self._store = S3Store.from_url(self.uri, config=config, client_options=client)

    def read(self, name: str) -> bytes | None:
        """A file's content, or None."""
        with self._refusals(name):
            return bytes(self._store.get(name).bytes())
        return None

    def names(self) -> list[str]:
        """Names of the files directly in it."""
        with self._refusals(""):
            found = self._store.list_with_delimiter()["objects"]
            return sorted(one["path"].rpartition("/")[2] for one in found)
        return []

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError:
            return
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise CannotServe("StorageRefused", f"{self.uri}: access denied; {REMEDY}") from error
        except exceptions.BaseError as error:
            raise CannotServe("StorageFailed", f"{self.uri}/{name}: {error}") from error
