"""Shards: which parts of the input become which files of the output.

A plan follows from the input alone, never from the number of workers or from time: so two runs over
the same input write the same files, and an attempt knows what the last one has done.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from loopwright.api.batchtransform import BatchInput
from loopwright.runtime.errors import RunError, wrong
from loopwright.runtime.storage import Folder, refusals

CHUNK: Final = 4 << 20
MAX_FILES: Final = 4096
MIB: Final = 1 << 20


class Shard(BaseModel):
    """A part of the input: some of a file, or several whole images."""

    number: int
    files: list[str]
    """Paths below the input's URI; empty text for the URI itself."""
    start: int = 0
    """First byte, or first row group of a Parquet file."""
    stop: int = -1
    """The one after the last; -1 is the end."""
    line: int = 1
    """Number of the first line, or of the first row."""
    size: int
    """Bytes, to tell how far the work is."""


class Plan(BaseModel):
    """All shards of a job."""

    fingerprint: str
    """Of the input's files: their names, sizes and times of change."""
    shards: list[Shard]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(shard.size for shard in self.shards)


Listing = list[tuple[str, int, int]]


def listing(folder: Folder, options: BatchInput) -> Listing:
    """The input's files, sorted.

    Raises:
        RunError: there are none.
    """
    if folder.is_file():
        found = [("", *(folder.stat("") or (0, 0)))]
        return found
    there = folder.stats()
    if not there:
        raise wrong("InputMissing", f"there is nothing at {folder.uri}; check input.uri")
    chosen = [one for one in there if wanted(one[0], options.include, options.exclude)]
    if not chosen:
        text = f"input.include and input.exclude leave none of the {len(there)} files below"
        if not options.include and not options.exclude:
            text = f"names that begin with '_' or '.' are left out, and so are all {len(there)} in"
        raise wrong("InputEmpty", f"{text} {folder.uri}")
    return chosen


def wanted(path: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Whether a file below the input's URI is part of the input."""
    if any(part.startswith(("_", ".")) for part in path.split("/")):
        return False
    asked = list(include)
    if asked and not any(_regex(glob).fullmatch(path) for glob in asked):
        return False
    return not any(_regex(glob).fullmatch(path) for glob in exclude)


def _regex(glob: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return re.compile("".join(parts.get(token, re.escape(token)) for token in tokens), re.DOTALL)


def fingerprint(files: Listing) -> str:
    """Tells whether the input is still the same."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def make(folder: Folder, options: BatchInput, files: Listing, shard_bytes: int) -> Plan:
    """The plan of an input."""
    shards = [
        shard.model_copy(update={"number": number})
        for number, shard in enumerate(_shards(folder, options, files, shard_bytes))
    ]
    return Plan(fingerprint=fingerprint(files), shards=shards)


def _shards(
    folder: Folder, options: BatchInput, files: Listing, shard_bytes: int
) -> Iterator[Shard]:
    if options.format == "images":
        yield from _together(files, shard_bytes)
        return
    for name, size, _ in files:
        if options.format == "parquet":
            yield from _row_groups(folder, name, shard_bytes)
        elif size <= shard_bytes or gzipped(name or folder.uri, options.compression):
            yield Shard(number=0, files=[name], size=size)
        else:
            yield from _lines(folder, name, size, shard_bytes)


def gzipped(name: str, compression: str) -> bool:
    """Whether a file of lines is compressed."""
    return compression == "Gzip" or (compression == "Auto" and name.endswith(".gz"))


def _together(files: Listing, shard_bytes: int) -> Iterator[Shard]:
    names: list[str] = []
    total = 0
    for name, size, _ in files:
        if names and (total + size > shard_bytes or len(names) >= MAX_FILES):
            yield Shard(number=0, files=names, size=total)
            names, total = [], 0
        names.append(name)
        total += size
    yield Shard(number=0, files=names, size=total)


def parquet(folder: Folder, name: str) -> pq.ParquetFile:
    """An open Parquet file.

    Raises:
        RunError: it is none.
    """
    where = folder.child(name) if name else folder.uri
    file = folder.open(name)
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise wrong("FileDamaged", f"{where} is no Parquet file: {error}") from error


def _row_groups(folder: Folder, name: str, shard_bytes: int) -> Iterator[Shard]:
    with refusals(folder.uri):
        file = parquet(folder, name)
        metadata: Any = file.metadata
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    start, row, rows, total = 0, 1, 0, 0
    for index, group in enumerate(groups):
        size = sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        if index > start and total + size > shard_bytes:
            yield Shard(number=0, files=[name], start=start, stop=index, line=row, size=total)
            start, row, rows, total = index, row + rows, 0, 0
        rows += group.num_rows
        total += size
    yield Shard(number=0, files=[name], start=start, stop=len(groups), line=row, size=total)


def _lines(folder: Folder, name: str, size: int, shard_bytes: int) -> Iterator[Shard]:
    """Cuts a file at line ends; reads all of it, to know the number of each shard's first line."""
    start, line, seen, lines = 0, 1, 0, 0
    with refusals(folder.uri), folder.open(name) as stream:
        while chunk := stream.read(CHUNK):
            begin = 0
            while seen + len(chunk) - start >= shard_bytes:
                # The first line end at or after the wanted size.
                end = chunk.find(b"\n", max(begin, start + shard_bytes - 1 - seen))
                if end < 0:
                    break
                lines += chunk.count(b"\n", begin, end + 1)
                stop = seen + end + 1
                if stop >= size:
                    break
                yield Shard(
                    number=0, files=[name], start=start, stop=stop, line=line, size=stop - start
                )
                start, line, lines, begin = stop, line + lines, 0, end + 1
            lines += chunk.count(b"\n", begin)
            seen += len(chunk)
    if seen != size:
        raise RunError(
            "InputChanged", f"{folder.child(name)} is being written; wait until it is not"
        )
    yield Shard(number=0, files=[name], start=start, stop=size, line=line, size=size - start)
