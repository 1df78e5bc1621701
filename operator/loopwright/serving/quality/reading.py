"""Captured answers and labels, from files. Only what is asked for is kept, one file at a time."""

from __future__ import annotations

import asyncio
import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from loopwright.api.quality import Labels
from loopwright.serving.capture import layout
from loopwright.serving.capture.storage import CannotStore, Found, Storage

# A file is held in memory, as Parquet has its end first.
MAX_FILE_BYTES: Final = 64 << 20
# Of one window; more would take so long that the next one is over.
MAX_FILES: Final = 5_000
MAX_BYTES: Final = 1 << 30
# What clocks of storages may differ by.
SKEW: Final = timedelta(hours=1)
HOUR: Final = timedelta(hours=1)


class CannotJoin(Exception):
    """Something is in the way; the window is tried again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TooMuch(CannotJoin):
    """There is more than a window may have, and so it will stay."""


class Captured(NamedTuple):
    """A request."""

    id: str
    time: int
    """Microseconds since the epoch."""
    revision: str
    response: str | None
    """None if it is not there, or the request was refused."""
    version: str | None = None
    """Name of the ModelVersion that answered."""


def captured(storage: Storage, below: str, start: datetime, end: datetime) -> Iterator[Captured]:
    """Requests of one variant from `start` to before `end`.

    Args:
        below: The variant's folder.

    Raises:
        CannotJoin: files cannot be read.
    """
    first, last = (round(one.timestamp() * 1_000_000) for one in (start, end))
    for file in _bounded(_hours(storage, below, start, end)):
        for row in _stored(file, _content(storage, file, "CaptureUnreadable")):
            if first <= row.time < last:
                yield row


def _hours(storage: Storage, below: str, start: datetime, end: datetime) -> Iterator[Found]:
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour < end:
        try:
            yield from (
                one
                for one in storage.below(f"{below}/{layout.folder(hour)}")
                if one.name.endswith(".parquet")
            )
        except CannotStore as error:
            raise CannotJoin("CaptureUnreadable", str(error)) from error
        hour += HOUR


def _stored(file: Found, content: bytes) -> Iterator[Captured]:
    from arro3.core import DataType

    for batch in _batches(file, content, "CaptureUnreadable"):
        try:
            times = batch.column("time").cast(DataType.int64()).to_pylist()
            columns = [
                batch.column(name).to_pylist()
                for name in ("request_id", "revision", "status", "response", "model_version")
            ]
        except Exception as error:
            raise _unreadable("CaptureUnreadable", file, error) from error
        for time, id, revision, status, response, version in zip(times, *columns, strict=True):
            yield Captured(id, time, revision, response if status == 200 else None, version)


Row = tuple[str, Any, tuple[Any, ...]]
"""A request's id, its label, and other columns."""


def labels(
    storage: Storage,
    asked: Labels,
    more: Sequence[str],
    since: datetime,
    wanted: Callable[[str], bool],
) -> Iterator[Row]:
    """Labels of wanted requests, the newest last.

    Args:
        more: Names of other columns.
        since: When the first of the requests came; files of before have no labels of them.
        wanted: Whether a request's id is.

    Raises:
        CannotJoin: files cannot be read, or lack a column.
    """
    columns = (asked.request_id, asked.label, *more)
    try:
        found = [
            one
            for one in storage.below("")
            if one.name.endswith(tuple(_READERS)) and one.modified >= since - SKEW
        ]
    except CannotStore as error:
        raise CannotJoin("LabelsUnreadable", str(error)) from error
    for file in sorted(_bounded(found), key=lambda one: (one.modified, one.name)):
        content = _content(storage, file, "LabelsUnreadable")
        for values in _rows(file, content, columns):
            id, label, *others = values
            if id is not None and label is not None and wanted(str(id)):
                yield str(id), label, tuple(others)


def _rows(file: Found, content: bytes, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    suffix = file.name[file.name.rindex(".") :]
    try:
        yield from _READERS[suffix](file, content, columns)
    except (ValueError, csv.Error) as error:
        raise _unreadable("LabelsUnreadable", file, error) from error


def _parquet(file: Found, content: bytes, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    for batch in _batches(file, content, "LabelsUnreadable"):
        _check(file, columns, batch.schema.names)
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _csv(file: Found, content: bytes, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    rows = csv.DictReader(lines)
    _check(file, columns, rows.fieldnames or ())
    for row in rows:
        # An empty cell is no label.
        yield [row[name] or None for name in columns]


def _lines(file: Found, content: bytes, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    there: set[str] = set()
    rows = (orjson.loads(line) for line in io.BytesIO(content) if line.strip())
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError("a line is no object")
        there.update(row)
        yield [row.get(name) for name in columns]
    # One that is absent from some rows is null there.
    _check(file, columns, there)


_READERS: Final[dict[str, Callable[[Found, bytes, Sequence[str]], Iterator[Sequence[Any]]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _lines,
    ".ndjson": _lines,
}


def _check(file: Found, columns: Sequence[str], there: Any) -> None:
    missing = next((name for name in columns if name not in there), None)
    if missing is not None:
        text = f"{file.name} has no column '{missing}'; see quality.labels, slices and bias"
        raise CannotJoin("ColumnMissing", text)


def _batches(file: Found, content: bytes, reason: str) -> Sequence[Any]:
    try:
        found: Sequence[Any] = asyncio.run(_table(content)).to_batches()
        return found
    except Exception as error:
        raise _unreadable(reason, file, error) from error


async def _table(content: bytes) -> Any:
    """The table in a Parquet file.

    The library panics where a file is broken. Its plain reader does so where nothing can be caught,
    which would end this process again and again; the other turns a panic into an exception, but
    reads from storages alone. So the bytes become a file without a name.
    """
    from arro3.io import read_parquet_async
    from arro3.io.store import LocalStore

    with os.fdopen(os.memfd_create("parquet"), "wb") as whole:
        whole.write(content)
        whole.flush()
        return await read_parquet_async(str(whole.fileno()), store=LocalStore("/proc/self/fd"))


def _content(storage: Storage, file: Found, reason: str) -> bytes:
    try:
        # One that was deleted meanwhile has nothing to say.
        return storage.read(file.name) or b""
    except CannotStore as error:
        raise CannotJoin(reason, str(error)) from error


def _bounded(files: Iterator[Found] | list[Found]) -> Iterator[Found]:
    number = size = 0
    for file in files:
        number, size = number + 1, size + file.size
        if file.size > MAX_FILE_BYTES:
            raise TooMuch("TooMuch", f"{file.name} has more than {MAX_FILE_BYTES >> 20} MiB")
        if number > MAX_FILES or size > MAX_BYTES:
            text = f"a window has more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB to read"
            raise TooMuch("TooMuch", f"{text}; shorten everySeconds or write fewer files")
        if file.size:
            yield file


def _unreadable(reason: str, file: Found, error: BaseException) -> CannotJoin:
    return CannotJoin(reason, f"{file.name}: {' '.join(str(error).split())[:200]}")
