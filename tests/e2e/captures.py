"""Captured requests in the bucket."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq
from pyarrow import fs


class Captures:
    """What is in the bucket below a folder.

    Args:
        endpoint: Whose rows are read.
    """

    def __init__(self, bucket: fs.S3FileSystem, root: str, endpoint: str) -> None:
        self._bucket, self._root, self._endpoint = bucket, root, endpoint

    def files(self, below: str = "") -> list[str]:
        """Paths of all files."""
        selector = fs.FileSelector(f"{self._root}{below}", recursive=True, allow_not_found=True)
        found = self._bucket.get_file_info(selector)
        return sorted(one.path for one in found if one.type == fs.FileType.File)

    def all(self) -> list[dict[str, Any]]:
        """Captured requests."""
        tables = []
        for path in self.files(f"/{self._endpoint}"):
            if not path.endswith(".parquet") or "/year=2020/" in path:
                continue
            with self._bucket.open_input_stream(path) as stream:
                tables.append(pq.read_table(io.BytesIO(stream.read())))
        return [row for table in tables for row in table.to_pylist()]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Captured requests, by id."""
        return {row["request_id"]: row for row in self.all()}

    def put(self, name: str) -> None:
        """Makes a file."""
        with self._bucket.open_output_stream(f"{self._root}/{name}") as stream:
            stream.write(b"x")
