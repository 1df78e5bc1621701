"""From columns of data to the tensors that a baseline's features are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from loopwright.runtime.batch.records import Array, Block, Columns
from loopwright.sketch import Feature, Layout
from loopwright.sketch.extract import COLUMNS, TEXT

_NUMBERS: Final = "fiub"
# Of a field of CSV in place of a number.
_WORDS: Final = {"true": 1.0, "false": 0.0, "nan": np.nan}


@dataclass(frozen=True)
class _Tensor:
    """One of the model's inputs."""

    name: str
    """In the baseline."""
    column: str
    """The column that holds all of a row's values."""
    features: tuple[Feature, ...]
    size: int
    """Values of a row; 0: any number."""
    method: str

    @property
    def tabular(self) -> bool:
        """Whether each feature may have a column of its own."""
        return self.method == COLUMNS


class Feeder:
    """Finds a model's inputs in data whose columns are named as the model's features; an input may
    also be one column, of its own name, that holds all of a row's values.

    Args:
        layout: Of the baseline.
        only: Name of the model's first input, for a baseline that does not name it.
    """

    def __init__(self, layout: Layout, only: str) -> None:
        self._tensors = list(_tensors(layout, only))
        self._absent = {f.name: one.column for one in self._tensors for f in one.features}
        self._absent |= {
            f.name: f.name for one in self._tensors if one.tabular for f in one.features
        }
        self._features = len(self._absent)

    @property
    def seen(self) -> bool:
        """Whether any feature was there."""
        return len(self._absent) < self._features

    def absent(self) -> dict[str, str]:
        """Features that no block had, each with the column that it would be in."""
        return dict(self._absent)

    def feeds(self, block: Block) -> tuple[dict[str, Array], int]:
        """Inputs by name; and how many rows are left out of one, as they are of another form."""
        columns = _Columns(block)
        found: dict[str, Array] = {}
        refused = 0
        for one in self._tensors:
            if one.tabular and any(columns.has(feature.name) for feature in one.features):
                found[one.name] = self._table(one, columns)
            elif columns.has(one.column):
                self._note(feature.name for feature in one.features)
                found[one.name], unfit = _whole(one, columns)
                refused += unfit
            elif one.tabular:
                # Another file may have it, so that it is missing here.
                found[one.name] = np.full((len(block), one.size), np.nan)
        return found, refused

    def _table(self, one: _Tensor, columns: _Columns) -> Array:
        self._note(feature.name for feature in one.features if columns.has(feature.name))
        parts = [columns.of(feature, feature.name) for feature in one.features]
        if all(part.dtype.kind in _NUMBERS for part in parts):
            return np.column_stack([part.astype(np.float64) for part in parts])
        table = np.empty((columns.rows, len(parts)), dtype=object)
        for place, part in enumerate(parts):
            table[:, place] = part
        return table

    def _note(self, names: Iterator[str]) -> None:
        for name in names:
            self._absent.pop(name, None)


def _tensors(layout: Layout, only: str) -> Iterator[_Tensor]:
    seen: dict[str, _Tensor] = {}
    for group in layout.groups:
        source, features = group.source, layout.features[group.places]
        known = seen.get(source.tensor)
        before = known.features if known is not None else ()
        seen[source.tensor] = _Tensor(
            source.tensor, source.tensor or only, (*before, *features), source.size, source.method
        )
    yield from seen.values()


class _Columns:
    """A block's columns."""

    def __init__(self, block: Block) -> None:
        self.rows = len(block)
        self._table = block.columns if isinstance(block, Columns) else None
        self._text = isinstance(block, Columns) and block.text
        rows = [] if self._table is not None else block.rows()
        self._objects = [row if isinstance(row, dict) else {} for row in rows]
        self._names = (
            set(self._table.column_names)
            if self._table is not None
            else {name for row in self._objects for name in row}
        )

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._names

    def get(self, name: str) -> Array:
        """Its values: numbers, or any objects; all missing when there is none."""
        if name not in self._names:
            return np.full(self.rows, np.nan)
        if self._table is None:
            return _array(pd.Series([row.get(name) for row in self._objects]))
        column = self._table.column(name)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        if pa.types.is_nested(column.type):
            return _objects(column.to_pylist())
        found = _array(column.to_pandas())
        if not self._text:
            return found
        blank = pd.Series(found, dtype=object).str.strip() == ""
        found[blank.to_numpy()] = None
        return found

    def of(self, feature: Feature, name: str) -> Array:
        """Its values as a feature has them: text of a CSV file as the numbers that it reads as."""
        texts = any(isinstance(one, str) for one in feature.profile.categories)
        if not self._text or self._table is None or texts or name not in self._names:
            return self.get(name)
        found = _cast(self._table.column(name))
        return _numbers(self.get(name)) if found is None else found


def _array(series: pd.Series) -> Array:
    kind = None if series.dtype.kind in _NUMBERS else object
    return np.array(series, dtype=kind)


def _objects(values: Sequence[Any]) -> Array:
    # Filled afterwards: numpy would make a table of lists of the same length.
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found


def _cast(column: Any) -> Array | None:
    """Texts as numbers; None when one is something else."""
    trimmed = pc.utf8_trim_whitespace(column)
    known = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    try:
        found: Array = pc.cast(known, pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return found


def _numbers(values: Array) -> Array:
    """The same one by one; what reads as no number stays as it is."""
    series = pd.Series(values, dtype=object)
    found = np.array(pd.to_numeric(series, errors="coerce"), dtype=np.float64)
    rest = np.isnan(found) & series.notna().to_numpy()
    words = series[rest].str.strip().str.lower()
    found[rest] = words.map(_WORDS).to_numpy(np.float64)
    wrong = np.flatnonzero(rest)[~words.isin(list(_WORDS)).to_numpy()]
    if not len(wrong):
        return found
    kept: Array = found.astype(object)
    kept[wrong] = values[wrong]
    return kept


def _whole(one: _Tensor, columns: _Columns) -> tuple[Array, int]:
    """A column that holds all of a row's values as a tensor, and how many rows do not fit."""
    single = one.tabular and one.size == 1
    values = columns.of(one.features[0], one.column) if single else columns.get(one.column)
    if one.method == TEXT or values.dtype.kind in _NUMBERS:
        return values, 0
    if single and not any(isinstance(value, list) for value in values):
        return values, 0
    rows = [row for value in values.tolist() if (row := _row(one, value)) is not None]
    refused = len(values) - len(rows)
    return (np.stack(rows) if rows else np.empty((0, one.size))), refused


def _row(one: _Tensor, value: Any) -> Array | None:
    try:
        row = np.asarray(value)
    except ValueError:
        return None
    fits = not one.size or row.size == one.size
    if value is None or not fits:
        return None
    return row.reshape(-1) if row.dtype.kind in _NUMBERS else row.astype(object).reshape(-1)
