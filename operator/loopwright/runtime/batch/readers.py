"""Reads shards, block by block: what cannot be read is told apart from what can."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv

from loopwright.api.batchtransform import BatchInput
from loopwright.runtime.batch.plan import Shard, gzipped, parquet
from loopwright.runtime.batch.records import Bad, Block, Columns, Letter, Objects
from loopwright.runtime.errors import wrong
from loopwright.runtime.storage import Folder, refusals

BLOCK_BYTES: Final = 2 << 20
BLOCK_ROWS: Final = 8192
# Of a block of a Parquet file whose rows are large.
PARQUET_BYTES: Final = 32 << 20
BOM: Final = b"\xef\xbb\xbf"
# Nothing that a person calls a line; a file without line ends would fill the memory.
MAX_LINE: Final = 64 << 20
# What is shown of a line that cannot be read.
MAX_SHOWN: Final = 16 << 10


@dataclass(frozen=True)
class Read:
    """What was read at once."""

    block: Block | None
    letters: list[Letter] = field(default_factory=list)
    """What could not be read."""
    bytes: int = 0
    """How much of the shard's size it was."""


def read(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[Read]:
    """All records of a shard but those of images.

    Raises:
        RunError: a file as a whole cannot be read.
    """
    name = shard.files[0]
    with refusals(folder.child(name) if name else folder.uri):
        if options.format == "parquet":
            yield from _parquet(folder, shard)
            return
        parse = {"csv": _csv, "jsonl": _jsonl, "text": _text}[options.format]
        yield from parse(folder, options, shard)


def _parquet(folder: Folder, shard: Shard) -> Iterator[Read]:
    name, row = shard.files[0], shard.line
    file = parquet(folder, name)
    groups = list(range(shard.start, shard.stop))
    rows = sum(file.metadata.row_group(index).num_rows for index in groups)
    size = sum(file.metadata.row_group(index).total_byte_size for index in groups)
    most = max(1, min(BLOCK_ROWS, PARQUET_BYTES * rows // max(1, size)))
    try:
        for batch in file.iter_batches(most, row_groups=groups):
            lines = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            table = pa.Table.from_batches([batch])
            share = shard.size * batch.num_rows // max(1, rows)
            yield Read(Columns(shown(folder, name), lines, table), bytes=share)
    except pa.ArrowInvalid as error:
        raise wrong("FileDamaged", f"{folder.child(name)}: {error}") from error


def shown(folder: Folder, name: str) -> str:
    """How messages call a file."""
    return name or folder.uri.rpartition("/")[2]


def _chunks(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[tuple[int, bytes, int]]:
    """Whole lines of a shard, about `BLOCK_BYTES` at once: the number of the first, the lines, and
    how much of the shard's size they are."""
    line, rest, size = shard.line, b"", 0
    for chunk, read in _bytes(folder, options, shard):
        size += read
        whole, end, tail = chunk.rpartition(b"\n")
        if not end:
            rest += chunk
            if len(rest) > MAX_LINE:
                file = shown(folder, shard.files[0])
                raise wrong("FileDamaged", f"{file}: line {line} is longer than 64 MiB")
            continue
        text = rest + whole + end
        yield line, text, size
        line += text.count(b"\n")
        rest, size = tail, 0
    if rest:
        yield line, rest, size


def _bytes(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[tuple[bytes, int]]:
    """The content of a shard, and how many bytes of the file each part of it is."""
    name = shard.files[0]
    if gzipped(name or folder.uri, options.compression):
        at = 0
        try:
            with folder.open(name) as stream, gzip.GzipFile(fileobj=stream) as file:
                while chunk := file.read(BLOCK_BYTES):
                    before, at = at, stream.tell()
                    yield chunk, at - before
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            text = f"{folder.child(name)} is no whole gzip file: {error}; set input.compression"
            raise wrong("FileDamaged", text) from error
        return
    with folder.open(name) as stream:
        left = (stream.size() if shard.stop < 0 else shard.stop) - shard.start
        stream.seek(shard.start)
        while left > 0 and (chunk := stream.read(min(BLOCK_BYTES, left))):
            left -= len(chunk)
            yield chunk, len(chunk)


def _numbered(first: int, chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank."""
    lines = chunk.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, first):
        line = line.removesuffix(b"\r")
        if line.strip():
            yield number, line


def _unreadable(file: str, number: int, line: bytes, why: str) -> Letter:
    bad = Bad("Unparsable", why)
    return Letter(
        file, number, bad.reason, bad.message, line[:MAX_SHOWN].decode("utf-8", "replace")
    )


def _jsonl(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[Read]:
    file = shown(folder, shard.files[0])
    for first, chunk, size in _chunks(folder, options, shard):
        numbers, values, letters = [], [], []
        for number, line in _numbered(first, chunk.removeprefix(BOM) if first == 1 else chunk):
            try:
                values.append(orjson.loads(line))
                numbers.append(number)
            except orjson.JSONDecodeError as error:
                letters.append(_unreadable(file, number, line, f"no JSON: {error}"))
        yield Read(Objects(file, numbers, values), letters, size)


def _text(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[Read]:
    file = shown(folder, shard.files[0])
    for first, chunk, size in _chunks(folder, options, shard):
        numbers, values, letters = [], [], []
        for number, line in _numbered(first, chunk.removeprefix(BOM) if first == 1 else chunk):
            try:
                values.append(line.decode())
                numbers.append(number)
            except UnicodeDecodeError as error:
                letters.append(_unreadable(file, number, line, f"not UTF-8: {error}"))
        table = pa.table({"text": pa.array(values, pa.string())})
        yield Read(Columns(file, np.asarray(numbers, np.int64), table), letters, size)


def _csv(folder: Folder, options: BatchInput, shard: Shard) -> Iterator[Read]:
    """A record is a line: one with a quote that is not closed is bad, and takes no other along."""
    file = shown(folder, shard.files[0])
    names: list[str] | None = _header(folder, shard) if shard.start else None
    for first, chunk, size in _chunks(folder, options, shard):
        if names is None:
            head, _, chunk = chunk.removeprefix(BOM).partition(b"\n")
            names, first = _names(file, head), first + 1
        yield _parsed(file, names, first, chunk, size)


def _header(folder: Folder, shard: Shard) -> list[str]:
    name = shard.files[0]
    with folder.open(name) as stream:
        head = b""
        while b"\n" not in head and (chunk := stream.read(64 << 10)):
            head += chunk
    return _names(shown(folder, name), head.removeprefix(BOM).partition(b"\n")[0])


def _names(file: str, head: bytes) -> list[str]:
    try:
        names = _fields(head.removesuffix(b"\r"))
    except ValueError as error:
        raise wrong("FileDamaged", f"{file}: the first line names no columns: {error}") from error
    if len(set(names)) < len(names) or not all(names):
        raise wrong("FileDamaged", f"{file}: the first line must name each column, once")
    return names


def _parsed(file: str, names: list[str], first: int, chunk: bytes, size: int) -> Read:
    table = _fast(names, chunk)
    if table is not None:
        lines = np.arange(first, first + table.num_rows)
        return Read(Columns(file, lines, table, text=True), [], size)
    numbers, rows, letters = [], [], []
    for number, line in _numbered(first, chunk):
        try:
            row = _fields(line)
            if len(row) != len(names):
                raise ValueError(f"{len(row)} fields, where the first line has {len(names)}")
            rows.append(row)
            numbers.append(number)
        except ValueError as error:
            letters.append(_unreadable(file, number, line, str(error)))
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    table = pa.table({n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})
    return Read(Columns(file, np.asarray(numbers, np.int64), table, text=True), letters, size)


def _fast(names: list[str], chunk: bytes) -> pa.Table | None:
    """All lines as columns of text, if each line is one record without fault."""
    if not chunk.strip():
        return None
    options: dict[str, Any] = {
        "read_options": pa.csv.ReadOptions(
            column_names=names, use_threads=False, block_size=max(1 << 16, len(chunk) + 1)
        ),
        "parse_options": pa.csv.ParseOptions(ignore_empty_lines=False),
        "convert_options": pa.csv.ConvertOptions(column_types={n: pa.string() for n in names}),
    }
    try:
        table = pa.csv.read_csv(io.BytesIO(chunk), **options)
    except pa.ArrowInvalid:
        return None
    lines = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
    # A quote that is not closed swallows lines, or the last line's end.
    if table.num_rows != lines or not _ends_with(table, chunk):
        return None
    # A blank line is a record only here.
    blank = len(names) == 1 and not all(map(bytes.strip, chunk.splitlines()))
    return None if blank else table


def _ends_with(table: pa.Table, chunk: bytes) -> bool:
    last = chunk.removesuffix(b"\n").removesuffix(b"\r").rpartition(b"\n")[2]
    try:
        return _fields(last) == [column[-1].as_py() for column in table.columns]
    except ValueError:
        return False


def _fields(line: bytes) -> list[str]:
    """The fields of a line of CSV.

    Raises:
        ValueError: it is none.
    """
    try:
        [row] = csv.reader([line.decode()], strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return row
