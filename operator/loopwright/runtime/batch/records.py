"""Blocks of records, in the form in which their file was read: columns, or objects row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

T = TypeVar("T")
Array = NDArray[Any]

MAX_RECORD: Final = 64 << 10
MAX_MESSAGE: Final = 256


class Bad(Exception):
    """Records that cannot be used.

    Attributes:
        reason: PascalCase: Unparsable, WrongType, MissingColumn, FilterEmpty or ModelError.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, " ".join(message.split())[:MAX_MESSAGE]


@dataclass(frozen=True)
class Letter:
    """A bad record with its place: what becomes a line of the dead-letter file."""

    file: str
    line: int | None
    reason: str
    message: str
    record: Any

    def line_of_json(self) -> bytes:
        """The line, with its end."""
        text = _json(vars(self))
        if len(text) > MAX_RECORD:
            text = _json(
                {**vars(self), "record": _json(self.record)[:MAX_RECORD].decode("utf-8", "replace")}
            )
        return text + b"\n"


def _json(value: Any) -> bytes:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=str, option=options)


class Block(Protocol):
    """Records of one file that follow each other."""

    @property
    def file(self) -> str:
        """Where they are from."""

    @property
    def lines(self) -> Sequence[int | None] | Array:
        """Where each is: its line or row from 1, or nothing for a file that is one record."""

    def __len__(self) -> int: ...

    def part(self, first: int, last: int) -> Block:
        """Some of them."""

    def take(self, which: Sequence[int]) -> Block:
        """Those with these numbers."""

    def names(self) -> list[str] | None:
        """Names of the columns; None where each record may have its own."""

    def rows(self) -> list[Any]:
        """The records as JSON has them."""

    def table(self) -> pa.Table:
        """The records as columns.

        Raises:
            Bad: they are no objects, or the types of a column's values differ.
        """


@dataclass(frozen=True)
class Columns:
    """Records of a file that has columns."""

    file: str
    lines: Array
    columns: pa.Table
    text: bool = False
    """Whether all values are text of which the type is not known, as in CSV."""

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def part(self, first: int, last: int) -> Columns:
        """Some of them, without copying."""
        some = self.columns.slice(first, last - first)
        return Columns(self.file, self.lines[first:last], some, self.text)

    def take(self, which: Sequence[int]) -> Columns:
        """Those with these numbers."""
        return Columns(self.file, self.lines[list(which)], self.columns.take(which), self.text)

    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns.column_names)

    def select(self, names: Sequence[str]) -> Columns:
        """Some of the columns."""
        return Columns(self.file, self.lines, self.columns.select(list(names)), self.text)

    def rows(self) -> list[Any]:
        """As objects."""
        return list(self.columns.to_pylist())

    def table(self) -> pa.Table:
        """As they are."""
        return self.columns


@dataclass(frozen=True)
class Objects:
    """Records of JSON lines, or what a JSONPath has found in records."""

    file: str
    lines: Sequence[int | None] | Array
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, last: int) -> Objects:
        """Some of them."""
        return Objects(self.file, self.lines[first:last], self.values[first:last])

    def take(self, which: Sequence[int]) -> Objects:
        """Those with these numbers."""
        lines, values = [self.lines[i] for i in which], [self.values[i] for i in which]
        return Objects(self.file, lines, values)

    def names(self) -> None:
        """Each has its own."""
        return None

    def rows(self) -> list[Any]:
        """As they are."""
        return list(self.values)

    def table(self) -> pa.Table:
        """Columns of the objects, in the order in which they first appear."""
        if not all(isinstance(value, dict) for value in self.values):
            raise Bad("WrongType", "the record is no JSON object, so it has no columns")
        try:
            names = dict.fromkeys(name for value in self.values for name in value)
            return pa.table({name: [value.get(name) for value in self.values] for name in names})
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise Bad("WrongType", f"values of a column differ in type: {error}") from error


@dataclass(frozen=True)
class Images:
    """Decoded images, of which each is a record."""

    file: str
    """Of the first; messages name each by its own."""
    files: Sequence[str]
    pixels: Sequence[Array]

    @property
    def lines(self) -> Sequence[None]:
        """A file that is one record has no lines."""
        return [None] * len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def part(self, first: int, last: int) -> Images:
        """Some of them."""
        return Images(self.files[first], self.files[first:last], self.pixels[first:last])

    def take(self, which: Sequence[int]) -> Images:
        """Those with these numbers."""
        files = [self.files[i] for i in which]
        return Images(files[0], files, [self.pixels[i] for i in which])

    def names(self) -> list[str]:
        """What can be joined."""
        return ["file"]

    def rows(self) -> list[Any]:
        """Their names; nobody wants pixels in text."""
        return [{"file": file} for file in self.files]

    def table(self) -> pa.Table:
        """Their names."""
        return pa.table({"file": pa.array(self.files, pa.string())})


def letter(block: Block, index: int, bad: Bad) -> Letter:
    """The dead letter of a block's record."""
    one = block.part(index, index + 1)
    line = one.lines[0]
    return Letter(
        one.file, None if line is None else int(line), bad.reason, bad.message, one.rows()[0]
    )


def halves(
    first: int, last: int, attempt: Callable[[int, int], T], refuse: Callable[[int, Bad], object]
) -> list[tuple[int, int, T]]:
    """Tries all records at once, and where that fails, each half: so bad ones are found alone.

    Args:
        attempt: Raises Bad.
        refuse: Is told the number of a record that failed by itself.

    Returns:
        First, last and result of what succeeded, in order.
    """
    if first == last:
        return []
    try:
        return [(first, last, attempt(first, last))]
    except Bad as bad:
        if last - first == 1:
            refuse(first, bad)
            return []
    middle = (first + last) // 2
    left = halves(first, middle, attempt, refuse)
    return left + halves(middle, last, attempt, refuse)


def concatenated(parts: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of several mini-batches, joined by name."""
    found = list(parts)
    if len(found) == 1:
        return dict(found[0])
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
