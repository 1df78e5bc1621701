"""Writes a shard's results, the same bytes for the same records, and hashes them on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.runtime.batch.paths import Filter
from loopwright.runtime.batch.records import Array, Bad, Block
from loopwright.runtime.errors import wrong

# Rows that make a row group; readers skip and spread by them.
GROUP_ROWS: Final = 65536
GROUP_BYTES: Final = 32 << 20
_JSON: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True)
class Results:
    """What the model gave for records, and the records if they are joined."""

    source: Block | None
    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def part(self, first: int, last: int) -> Results:
        """Some of them."""
        source = None if self.source is None else self.source.part(first, last)
        return Results(source, {name: array[first:last] for name, array in self.columns.items()})

    def named(self, joined: Sequence[str]) -> dict[str, Array]:
        """Results by the names that they are written with: none is a joined column's."""
        taken = set(joined)
        return {f"predicted_{n}" if n in taken else n: a for n, a in self.columns.items()}

    def table(self) -> pa.Table:
        """As columns.

        Raises:
            Bad: the records have none.
        """
        table = self.source.table() if self.source is not None else None
        columns = {} if table is None else dict(zip(table.column_names, table.columns, strict=True))
        for name, array in self.named(list(columns)).items():
            columns[name] = _arrow(array)
        return pa.table(columns)

    def rows(self) -> list[Any]:
        """As objects; a record that is none is joined as `record`."""
        columns = {name: _squeezed(array) for name, array in self.columns.items()}
        names = list(columns)
        rows = [
            dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
        if self.source is None:
            return rows
        return [_joined(record, row) for record, row in zip(self.source.rows(), rows, strict=True)]

    def plain_rows(self) -> list[Any]:
        """As `rows`, without numpy, as JSONPath wants them."""
        found: list[Any] = orjson.loads(orjson.dumps(self.rows(), default=str, option=_JSON))
        return found


def _joined(record: Any, row: dict[str, Any]) -> dict[str, Any]:
    source = record if isinstance(record, dict) else {"record": record}
    return {**source, **{f"predicted_{n}" if n in source else n: v for n, v in row.items()}}


def _squeezed(array: Array) -> Any:
    """A number for a row of one, and text or numbers that JSON knows."""
    found = array.reshape(len(array)) if array.shape[1:] == (1,) else array
    if found.dtype.kind not in "fiub" or found.dtype == np.float16:
        return found.astype(np.float32) if found.dtype == np.float16 else found.tolist()
    return (
        found.tolist()
        if found.ndim == 1 and found.dtype.kind != "f"
        else np.ascontiguousarray(found)
    )


def _arrow(array: Array) -> pa.Array:
    shape = array.shape[1:]
    if shape == (1,):
        array, shape = array.reshape(len(array)), ()
    flat = array.reshape(-1)
    found = pa.array(flat.tolist(), pa.string()) if flat.dtype.kind in "OU" else pa.array(flat)
    for size in reversed(shape):
        found = pa.FixedSizeListArray.from_arrays(found, size)
    return found


class Output:
    """Turns results into what is written of them, by `outputFilter`.

    Raises:
        RunError: the format cannot hold what the filter finds.
    """

    def __init__(self, spec: BatchTransformSpec) -> None:
        self.format: str = spec.output_format
        text = spec.data_processing.output_filter
        self._filter = (
            Filter(text, "dataProcessing.outputFilter") if text not in (None, "$") else None
        )

    def rows(self, results: Results) -> list[Any]:
        """For JSON lines: what the filter finds in each."""
        if self._filter is None:
            return results.rows()
        return [self._filter.of(row) for row in results.plain_rows()]

    def table(self, results: Results) -> pa.Table:
        """For formats with columns: those that the filter names."""
        table = results.table()
        if self._filter is None:
            return table
        names = self._filter.names
        loose = results.source is not None and results.source.names() is None
        if names is not None and loose:
            for name in set(names) - set(table.column_names):
                # A field that none of these objects has.
                table = table.append_column(name, pa.nulls(table.num_rows))
        if names is None or not set(names) <= set(table.column_names):
            raise wrong(
                "FilterInvalid",
                f"dataProcessing.outputFilter {self._filter.text} must name columns for"
                f" {self.format}; there are {', '.join(table.column_names)[:200]}; for any other"
                " path set output.format: jsonl",
            )
        return table.select(list(dict.fromkeys(names)))


class Sink(io.RawIOBase):
    """Counts and hashes what goes through it.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._hash, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        """Nothing else."""
        return True

    def write(self, data: Any) -> int:
        """All of it."""
        view = memoryview(data)
        self._stream.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """What it wrote to is there after this."""
        if not self.closed:
            self._stream.close()
        super().close()

    @property
    def digest(self) -> str:
        """Of all that was written."""
        return f"sha256:{self._hash.hexdigest()}"


class Writer(Protocol):
    """A file that is being written."""

    def write(self, results: Results) -> None:
        """Adds results.

        Raises:
            Bad: one of them does not fit the others; nothing is added.
        """

    def close(self) -> None:
        """Writes what is left."""


def writer(sink: Sink, output: Output, compression: str) -> Writer:
    """The writer of the output's format."""
    if output.format == "parquet":
        return ParquetWriter(sink, output)
    # Without a time and a name, which would differ from run to run.
    to: Any = gzip.GzipFile("", "wb", 6, sink, mtime=0) if compression == "Gzip" else sink
    return JsonWriter(to, output) if output.format == "jsonl" else CsvWriter(to, output)


def ending(format: str, compression: str) -> str:
    """Of a file's name."""
    return f"{format}.gz" if compression == "Gzip" and format != "parquet" else format


class JsonWriter:
    """JSON lines."""

    def __init__(self, to: Any, output: Output) -> None:
        self._to, self._output = to, output

    def write(self, results: Results) -> None:
        """A line for each."""
        rows = self._output.rows(results)
        self._to.write(b"".join(orjson.dumps(row, default=str, option=_JSON) for row in rows))

    def close(self) -> None:
        """Nothing is left but what gzip holds."""
        if isinstance(self._to, gzip.GzipFile):
            self._to.close()


class _Table:
    """What formats with columns share: the first block's columns are the file's."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.schema: Any = None

    def table(self, results: Results) -> pa.Table:
        table = self._shaped(self._output.table(results))
        if self.schema is None:
            # A field of which nothing is known yet can still become text.
            self.schema = pa.schema(
                (one.name, pa.string() if pa.types.is_null(one.type) else one.type)
                for one in table.schema
            )
        if table.schema == self.schema:
            return table
        names = self.schema.names
        try:
            if extra := set(table.column_names) - set(names):
                raise ValueError(
                    f"column {min(extra)} is not in the records before; name columns in"
                    " dataProcessing.outputFilter, or set output.format: jsonl"
                )
            rows = table.num_rows
            filled = [
                table.column(one.name)
                if one.name in table.column_names
                else pa.nulls(rows, one.type)
                for one in self.schema
            ]
            return pa.table(filled, names=names).cast(self.schema)
        except (pa.ArrowException, ValueError) as error:
            raise Bad(
                "WrongType", f"the record's columns are not those of the others: {error}"
            ) from error

    def _shaped(self, table: pa.Table) -> pa.Table:
        return table


class ParquetWriter(_Table):
    """A Parquet file with row groups of `GROUP_ROWS`, or of `GROUP_BYTES` where rows are large."""

    def __init__(self, sink: Sink, output: Output) -> None:
        super().__init__(output)
        self._sink, self._held, self._rows, self._bytes = sink, list[pa.Table](), 0, 0
        self._writer: Any = None

    def write(self, results: Results) -> None:
        """Holds them until a row group is full."""
        table = self.table(results)
        self._held.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """The last row group and the footer."""
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            # Hardly a number that a model gives comes twice; looking for that takes long.
            often = [one.name for one in self.schema if not _is_floating(one.type)]
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, "w"), self.schema, use_dictionary=often
            )
        self._writer.write_table(pa.concat_tables(self._held), row_group_size=GROUP_ROWS)
        self._held, self._rows, self._bytes = [], 0, 0


def _is_floating(kind: Any) -> bool:
    while pa.types.is_nested(kind) and kind.num_fields == 1:
        kind = kind.field(0).type
    return bool(pa.types.is_floating(kind))


class CsvWriter(_Table):
    """CSV with a header line; a result of several numbers becomes several columns."""

    def __init__(self, to: Any, output: Output) -> None:
        super().__init__(output)
        self._to, self._begun = to, False

    def write(self, results: Results) -> None:
        """A line for each."""
        table = self.table(results)
        buffer = io.BytesIO()
        options = pa.csv.WriteOptions(include_header=not self._begun)
        pa.csv.write_csv(table, buffer, options)
        self._to.write(buffer.getvalue())
        self._begun = True

    def close(self) -> None:
        """Nothing is left but what gzip holds."""
        if isinstance(self._to, gzip.GzipFile):
            self._to.close()

    def _shaped(self, table: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            if pa.types.is_fixed_size_list(column.type) and not pa.types.is_nested(
                column.type.value_type
            ):
                flat = column.combine_chunks().flatten()
                size = column.type.list_size
                values = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
                columns |= {f"{name}_{i}": pa.array(values[:, i]) for i in range(size)}
            elif pa.types.is_nested(column.type):
                texts = [orjson.dumps(v, default=str).decode() for v in column.to_pylist()]
                columns[name] = pa.array(texts, pa.string())
            else:
                columns[name] = column
        return pa.table(columns)
