"""Checks data against a Validation, block by block: blocks and shards add up to one verdict.

pandera checks each block; what needs all rows at once, that values do not repeat, is kept here as
eight bytes a row.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

from loopwright.api.validation import Expectation, Validation, ValidationResult
from loopwright.runtime.errors import wrong
from loopwright.runtime.findings import (
    MAX_EXAMPLES,
    Array,
    Check,
    Column,
    Example,
    Findings,
    numbers,
)

MAX_SHOWN: Final = 80
MAX_TOLD: Final = 4
INTEGER: Final = re.compile(r"[+-]?[0-9]+")
TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
COLUMN_THERE: Final = "is there"
NO_OTHERS: Final = "has no other columns"
NOT_NULL: Final = "is never missing"
UNIQUE: Final = "never repeats"
ROWS: Final = "rows"


def _of_objects(rows: Sequence[Any]) -> pd.DataFrame:
    """A data frame that changes no value's type; what is no object has no fields."""
    objects = [row if isinstance(row, dict) else {} for row in rows]
    names = dict.fromkeys(name for row in objects for name in row)
    columns = {n: pd.Series([row.get(n) for row in objects], dtype=object) for n in names}
    return pd.DataFrame(columns, index=range(len(objects)))


class Checker:
    """Checks one part of the data.

    Args:
        text: Whether all values are text of which the type is not known, as in CSV.

    Raises:
        RunError: a pattern is no regular expression.
    """

    def __init__(self, validation: Validation, *, text: bool) -> None:
        self._validation, self._text = validation, text
        self.findings = Findings()
        self._hashes: dict[str, list[Array]] = {}
        schema = validation.schema_
        self._known = {one.name: one for one in schema.columns} if schema else {}
        self._expected = {one.column: one for one in validation.expectations or []}
        self._names = list(dict.fromkeys([*self._known, *self._expected]))
        self._checks = {name: self._of(name) for name in self._names}

    def add(
        self, data: pa.Table | Sequence[Any], file: str, lines: Sequence[int | None] | Array
    ) -> None:
        """Checks rows: columns, or objects as JSON has them.

        Args:
            lines: Where each is.
        """
        frame = self._frame(data) if isinstance(data, pa.Table) else _of_objects(data)
        rows = len(frame)
        if not rows:
            return
        self.findings.rows += rows
        for name in self._names:
            if name in frame:
                self.findings.columns.setdefault(name, Column(name=name)).add(frame[name])
        self._count(frame)
        failed = self._failures(frame)
        for (column, check), cases in failed.items():
            mine = self._check(column, check)
            mine.failed += rows if cases is None else len(cases)
            mine.total += rows if check == NO_OTHERS else 0
            for index, value in [] if cases is None else cases[: MAX_EXAMPLES - len(mine.examples)]:
                line = lines[index]
                mine.examples.append(
                    Example(
                        file=file,
                        line=None if line is None else int(line),
                        value=str(value)[:MAX_SHOWN],
                    )
                )
        for name, one in self._expected.items():
            if one.unique and name in frame:
                there = frame[name].dropna()
                self._hashes.setdefault(name, []).append(pd.util.hash_array(there.to_numpy()))

    def hashes(self) -> dict[str, Array]:
        """Of the values that must not repeat, by column."""
        return {name: np.concatenate(parts) for name, parts in self._hashes.items()}

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        columns = {}
        for name in table.column_names:
            series = (
                table.column(name).to_pandas()
                if name in self._names
                else pd.Series(0, range(table.num_rows))
            )
            if self._text and name in self._names:
                stripped = series.str.strip()
                series = stripped.mask(stripped == "")
            columns[name] = series
        return pd.DataFrame(columns)

    def _of(self, name: str) -> list[tuple[str, Any]]:
        """Checks of a column's values: in words, and what tells which values pass."""
        found: list[tuple[str, Any]] = []
        known, expected = self._known.get(name), self._expected.get(name)
        if known is not None and known.type is not None:
            kind, text = known.type, self._text
            found.append((f"is of type {kind}", lambda s: _of_type(s, kind, text)))
        if expected is not None:
            found += _expected(expected)
        return found

    def _count(self, frame: pd.DataFrame) -> None:
        """Counts values towards the checks, so that those which pass are known too."""
        for name in self._names:
            known = self._known.get(name)
            if known is not None and known.required:
                self._check(name, COLUMN_THERE).total += len(frame)
            if name not in frame:
                continue
            there = int(frame[name].notna().sum())
            if known is not None and not known.nullable:
                self._check(name, NOT_NULL).total += len(frame)
            for check, _ in self._checks[name]:
                self._check(name, check).total += there

    def _check(self, column: str, check: str) -> Check:
        expected = self._expected.get(column)
        typed = check in (COLUMN_THERE, NOT_NULL) or check.startswith("is of type")
        allowed = 0.0 if expected is None or typed else float(expected.max_failed_percent)
        key = f"{column}\0{check}"
        made = Check(column=column, check=check, allowed_percent=allowed)
        return self.findings.checks.setdefault(key, made)

    def _failures(self, frame: pd.DataFrame) -> dict[tuple[str, str], list[tuple[int, Any]] | None]:
        """Failed rows and values by column and check; None stands for all rows."""
        columns = {
            name: pandera.Column(
                None,
                [
                    pandera.Check(_passing(test), name=check, error=check)
                    for check, test in self._checks[name]
                ],
                nullable=name not in self._known or self._known[name].nullable,
                required=name in self._known and self._known[name].required,
            )
            for name in self._names
        }
        others = self._validation.schema_ is None or self._validation.schema_.allow_others
        found: dict[tuple[str, str], list[tuple[int, Any]] | None] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pandera.DataFrameSchema(columns, strict=not others).validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as errors:
            for case in errors.failure_cases.itertuples():
                column, check = str(case.column), str(case.check)
                if check == "column_in_dataframe":
                    found[str(case.failure_case), COLUMN_THERE] = None
                elif check == "column_in_schema":
                    found[str(case.failure_case), NO_OTHERS] = None
                else:
                    check = NOT_NULL if check == "not_nullable" else check
                    cases = found.setdefault((column, check), [])
                    assert cases is not None
                    cases.append((int(case.index), case.failure_case))
        return found


def _passing(test: Any) -> Any:
    """A check that gives pandera what it wants: whether each value passes."""
    return lambda series: pd.Series(test(series), series.index).astype(bool)


def _expected(one: Expectation) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    if one.min is not None:
        low = float(one.min)
        found.append((f"is at least {one.min}", lambda s: numbers(s) >= low))
    if one.max is not None:
        high = float(one.max)
        found.append((f"is at most {one.max}", lambda s: numbers(s) <= high))
    if one.allowed_values is not None:
        allowed = one.allowed_values
        words = ", ".join(allowed)
        words = words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}..."
        found.append((f"is one of {words}", lambda s: _allowed(s, allowed)))
    if one.pattern is not None:
        try:
            pattern = re.compile(one.pattern)
        except re.error as error:
            text = f"validation: {one.pattern!r} is no regular expression: {error}"
            raise wrong("ValidationInvalid", text) from error
        match = pattern.fullmatch
        found.append(
            (
                f"matches {one.pattern[:MAX_SHOWN]}",
                lambda s: s.map(lambda v: match(str(v)) is not None),
            )
        )
    return found


def _of_type(series: pd.Series, kind: str, text: bool) -> Any:
    if series.dtype.kind in "iufbM":
        return pd.Series(_fits(series, kind), series.index)
    one = {
        "Integer": lambda v: _is_integer(v, text),
        "Number": lambda v: _is_number(v, text),
        "String": lambda v: isinstance(v, str),
        "Boolean": lambda v: isinstance(v, bool) or (text and str(v).lower() in ("true", "false")),
        "Timestamp": _is_time,
    }[kind]
    return series.map(one).astype(bool)


def _fits(series: pd.Series, kind: str) -> Any:
    """Of a column that is of one type as a whole; with missing values, integers are floats."""
    found = series.dtype.kind
    if kind == "Integer" and found == "f":
        values = series.to_numpy()
        return np.isfinite(values) & (values == np.floor(values))
    kinds = {"Integer": "iu", "Number": "iuf", "Boolean": "b", "Timestamp": "M", "String": ""}
    return np.full(len(series), found in kinds[kind])


def _is_integer(value: Any, text: bool) -> bool:
    if text:
        return INTEGER.fullmatch(str(value)) is not None
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: Any, text: bool) -> bool:
    if text:
        try:
            return math.isfinite(float(value))
        except ValueError:
            return False
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    if not isinstance(value, str):
        return hasattr(value, "isoformat")
    return TIME.fullmatch(value) is not None


def _allowed(series: pd.Series, allowed: Sequence[str]) -> Any:
    if series.dtype.kind in "iuf":
        values = pd.to_numeric(pd.Series(list(allowed)), errors="coerce").dropna()
        return series.isin(values)
    return series.map(_text).isin(allowed)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def finished(
    validation: Validation, findings: Findings, hashes: Iterable[tuple[str, Array]]
) -> Findings:
    """The findings of all parts, with the checks that need all rows.

    Args:
        hashes: Column and hashes of its values, part by part.
    """
    whole: dict[str, list[Array]] = {}
    for name, part in hashes:
        whole.setdefault(name, []).append(part)
    for one in validation.expectations or []:
        if one.unique:
            values = np.concatenate(whole.get(one.column, [np.empty(0, np.uint64)]))
            repeated = len(values) - len(np.unique(values))
            findings.checks[f"{one.column}\0{UNIQUE}"] = Check(
                column=one.column, check=UNIQUE, allowed_percent=float(one.max_failed_percent),
                total=len(values), failed=repeated,
            )  # fmt: skip
    if validation.min_rows is not None:
        few = max(0, validation.min_rows - findings.rows)
        findings.checks[ROWS] = Check(
            column="",
            check=f"at least {validation.min_rows} rows",
            total=findings.rows + few,
            failed=few,
        )
    return findings


def verdict(name: str, findings: Findings, report_uri: str | None) -> ValidationResult:
    """What the status says."""
    failed = [check for check in findings.checks.values() if not check.passed]
    told = "; ".join(_told(check) for check in failed[:MAX_TOLD])
    more = f"; and {len(failed) - MAX_TOLD} more" if len(failed) > MAX_TOLD else ""
    return ValidationResult(
        name=name, passed=not failed, rows=findings.rows, checks=len(findings.checks),
        failed=len(failed), message=f"{told}{more}"[:512], report_uri=report_uri,
    )  # fmt: skip


def _told(check: Check) -> str:
    what = f"{check.column} {check.check}" if check.column else check.check
    if check.found:
        return f"'{what}' fails: {check.found}"
    where = ""
    if check.examples:
        one = check.examples[0]
        line = "" if one.line is None else f":{one.line}"
        where = f" (first {one.value!r} at {one.file}{line})"
    return f"'{what}' fails for {check.failed} of {check.total}{where}"
