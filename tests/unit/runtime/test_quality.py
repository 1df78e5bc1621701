"""Checks of data: every kind, in columns and in objects, in one part or in several."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from loopwright.api.trainingjob import Input
from loopwright.api.validation import Validation
from loopwright.runtime import checking, quality, quality_report
from loopwright.runtime.errors import RunError
from loopwright.runtime.findings import Findings
from loopwright.runtime.storage import Folder

pytestmark = pytest.mark.timeout(60)


def _found(
    validation: dict[str, Any], data: pa.Table | list[Any], text: bool = False
) -> dict[tuple[str, str], tuple[int, int]]:
    """Total and failed of each check, by column and words."""
    asked = Validation.model_validate(validation)
    checker = quality.Checker(asked, text=text)
    size = data.num_rows if isinstance(data, pa.Table) else len(data)
    checker.add(data, "a", list(range(1, size + 1)))
    found = quality.finished(asked, checker.findings, checker.hashes().items())
    return {(one.column, one.check): (one.total, one.failed) for one in found.checks.values()}


TYPES: list[tuple[str, list[Any], int]] = [
    ("Integer", [1, 2, None], 0),
    ("Integer", [1.0, 2.5, None], 1),
    ("Number", [1, 2.5], 0),
    ("String", ["a", None], 0),
    ("String", [1], 1),
    ("Boolean", [True, False], 0),
    ("Boolean", [1, 0], 2),
    ("Timestamp", ["2026-01-01T00:00:00Z", "2026-01-01", "2026-01-01 00:00:00+01:00"], 1),
]


@pytest.mark.parametrize(("kind", "values", "failed"), TYPES)
def test_types(kind: str, values: list[Any], failed: int) -> None:
    asked = {"schema": {"columns": [{"name": "x", "type": kind}]}}
    there = sum(value is not None for value in values)
    key = ("x", f"is of type {kind}")
    assert _found(asked, pa.table({"x": values}))[key] == (there, failed)
    objects = [{"x": value} for value in values]
    # As JSON has it, 1.0 is no integer.
    expected = failed + (kind == "Integer" and 1.0 in values and not isinstance(values[0], int))
    assert _found(asked, objects)[key] == (there, expected)


def test_text_counts_as_what_can_be_read_from_it() -> None:
    table = pa.table(
        {
            "i": ["1", " 2 ", "", "x"],
            "n": ["1e3", "nan", "0x1", "2"],
            "b": ["true", "False", "1", ""],
        }
    )
    asked = {
        "schema": {
            "columns": [
                {"name": "i", "type": "Integer", "nullable": False},
                {"name": "n", "type": "Number"},
                {"name": "b", "type": "Boolean"},
            ]
        }
    }
    assert _found(asked, table, text=True) == {
        ("i", "is there"): (4, 0), ("n", "is there"): (4, 0), ("b", "is there"): (4, 0),
        ("i", "is of type Integer"): (3, 1), ("i", "is never missing"): (4, 1),
        ("n", "is of type Number"): (4, 2), ("b", "is of type Boolean"): (3, 1),
    }  # fmt: skip


def test_expectations() -> None:
    table = pa.table({"x": [1, 5, 9, None], "s": ["a", "b", "b", "abc"]})
    asked = {
        "expectations": [
            {"column": "x", "min": "2", "max": "8", "allowedValues": ["1", "5", "9.0"]},
            {"column": "s", "pattern": "[ab]", "unique": True},
        ]
    }
    assert _found(asked, table) == {
        ("x", "is at least 2"): (3, 1), ("x", "is at most 8"): (3, 1),
        ("x", "is one of 1, 5, 9.0"): (3, 0), ("s", "matches [ab]"): (4, 1),
        ("s", "never repeats"): (4, 1),
    }  # fmt: skip


def test_columns_that_are_not_there_and_others_that_are() -> None:
    asked = {
        "schema": {
            "columns": [{"name": "x"}, {"name": "y", "required": False}],
            "allowOthers": False,
        }
    }
    found = _found(asked, [{"z": 1}, {"z": 2}])
    assert found[("x", "is there")] == (2, 2)
    assert ("y", "is there") not in found
    assert found[("z", "has no other columns")][1] == 2


def test_objects_of_several_kinds() -> None:
    asked = {"schema": {"columns": [{"name": "x", "type": "Number", "nullable": False}]}}
    found = _found(asked, [{"x": 1}, {"x": "1"}, {"x": True}, {}, 7])
    assert found[("x", "is of type Number")] == (3, 2)
    assert found[("x", "is never missing")] == (5, 2)


def test_parts_add_up() -> None:
    asked = Validation.model_validate(
        {"expectations": [{"column": "x", "unique": True, "max": "5"}], "minRows": 7}
    )
    whole, hashes = Findings(), []
    for part in ([1, 2, 3], [3, 9, None]):
        checker = quality.Checker(asked, text=False)
        checker.add([{"x": value} for value in part], "a", [1, 2, 3])
        whole.merge(Findings.model_validate_json(checker.findings.model_dump_json()))
        hashes += list(checker.hashes().items())
    found = quality.finished(asked, whole, hashes)
    result = quality.verdict("data", found, None)
    assert not result.passed and (result.rows, result.checks, result.failed) == (6, 3, 3)
    assert "'x is at most 5' fails for 1 of 5 (first '9' at a:2)" in result.message
    assert "'x never repeats' fails for 1 of 5" in result.message
    assert "'at least 7 rows' fails for 1 of 7" in result.message
    column = found.columns["x"]
    assert (column.count, column.missing, column.min, column.max) == (5, 1, 1.0, 9.0)
    assert column.mean == pytest.approx(3.6)
    assert column.std == pytest.approx(np.std([1, 2, 3, 3, 9]))


def test_some_may_fail() -> None:
    asked = Validation.model_validate(
        {"expectations": [{"column": "x", "max": "5", "maxFailedPercent": "25"}]}
    )
    for values, passed in (([1, 2, 3, 9], True), ([1, 2, 9, 9], False)):
        checker = quality.Checker(asked, text=False)
        checker.add(pa.table({"x": values}), "a", [1, 2, 3, 4])
        assert quality.verdict("d", checker.findings, None).passed is passed


def test_a_pattern_that_is_none() -> None:
    asked = Validation.model_validate({"expectations": [{"column": "x", "pattern": "["}]})
    with pytest.raises(RunError, match="is no regular expression") as wrong:
        quality.Checker(asked, text=False)
    assert wrong.value.permanent


class _Outside(HTMLParser):
    found: list[str]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag for name, _ in attrs if name in ("src", "href")] + [tag] * (
            tag == "script"
        )


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    asked = Validation.model_validate({"expectations": [{"column": "<b>", "pattern": "<i>"}]})
    checker = quality.Checker(asked, text=False)
    checker.add([{"<b>": "<script>alert(1)</script>"}], "a", [1])
    result = quality.verdict("data", checker.findings, None)
    uri = quality_report.write(Folder.local(tmp_path), "data", checker.findings, result)
    page = Path(uri).read_text()
    parser = _Outside()
    parser.found = []
    parser.feed(page)
    assert not parser.found
    assert json.loads((tmp_path / "data.json").read_text())["passed"] is False


def _input(validation: dict[str, Any]) -> Input:
    source = {"name": "data", "source": {"uri": "pvc://c/x"}, "validation": validation}
    return Input.model_validate(source)


def test_inputs_of_a_training_job(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("x\n1\n7\n")
    (tmp_path / "in" / "sub" / "b.ndjson").write_text('{"x": 2}\n{\n')
    (tmp_path / "in" / "notes.md").write_text("nothing")
    asked = _input({"expectations": [{"column": "x", "max": "5"}]})
    reports = Folder.local(tmp_path / "quality")
    result = checking.check(asked, tmp_path / "in", reports)
    assert not result.passed and result.rows == 3
    assert "'x is at most 5' fails for 1 of 3 (first '7' at a.csv:3)" in result.message
    assert (
        "'every line can be read' fails for 1 of 4 (first '{' at sub/b.ndjson:2)" in result.message
    )
    assert result.report_uri and Path(result.report_uri).exists()
    assert checking.check(asked, tmp_path / "in" / "a.csv", None).rows == 2


def test_nothing_that_can_be_checked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(RunError, match="input 'data' has no file to check"):
        checking.check(_input({"minRows": 1}), tmp_path, None)
