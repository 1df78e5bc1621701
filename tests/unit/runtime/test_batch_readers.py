"""Reading lines: what is bad is told by its line, and takes no other line along."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from loopwright.api.batchtransform import BatchInput
from loopwright.runtime.batch import plan, readers
from loopwright.runtime.batch.records import Letter
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder


def _read(
    folder: Path, format: str, size: int = 1 << 20
) -> tuple[list[tuple[int, Any]], list[Letter]]:
    """Lines and records, and what could not be read."""
    options = BatchInput.model_validate({"uri": "pvc://data/in", "format": format})
    source = Folder.local(folder)
    made = plan.make(source, options, plan.listing(source, options), size)
    good, bad, done = [], [], 0
    for shard in made.shards:
        for one in readers.read(source, options, shard):
            bad += one.letters
            done += one.bytes
            if one.block is not None:
                good += list(zip(map(int, one.block.lines), one.block.rows(), strict=True))
    # Or nobody could tell how long it will take.
    assert done == made.size
    return good, bad


@pytest.mark.parametrize("size", [1 << 20, 8])
@pytest.mark.parametrize("block", [1 << 20, 5])
def test_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, block: int) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", block)
    lines = ["a,b", "1,x", '2,"y, z"', "3", '4,"open', "5,w", "", "6,v,u", "7,t"]
    (tmp_path / "a.csv").write_text("\ufeff" + "\r\n".join(lines))
    good, bad = _read(tmp_path, "csv", size)
    assert good == [
        (2, {"a": "1", "b": "x"}), (3, {"a": "2", "b": "y, z"}), (6, {"a": "5", "b": "w"}),
        (9, {"a": "7", "b": "t"}),
    ]  # fmt: skip
    assert [(one.line, one.reason, one.record) for one in bad] == [
        (4, "Unparsable", "3"), (5, "Unparsable", '4,"open'), (8, "Unparsable", "6,v,u"),
    ]  # fmt: skip
    assert "1 fields, where the first line has 2" in bad[0].message


def test_a_quote_that_opens_and_closes_across_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\nx","y\nz","w\n1,2\n')
    good, bad = _read(tmp_path, "csv")
    assert good[-1] == (4, {"a": "1", "b": "2"})
    assert len(good) + len(bad) == 3


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\nx\n\xff\ny\n")
    good, bad = _read(tmp_path, "csv")
    assert [line for line, _ in good] == [2, 4]
    assert [one.line for one in bad] == [3]


def test_a_csv_header_is_not_a_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    assert _read(tmp_path, "csv") == ([], [])
    (tmp_path / "a.csv").write_text("a,a\n1,2\n")
    with pytest.raises(RunError, match="the first line must name each column, once"):
        _read(tmp_path, "csv")


def test_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n\n{"x": \n[1, 2]\n{"x": NaN}\n7')
    good, bad = _read(tmp_path, "jsonl")
    assert good == [(1, {"x": 1}), (4, [1, 2]), (6, 7)]
    assert [one.line for one in bad] == [3, 5]


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("schön\r\n\nzwei\n".encode() + b"\xff\n")
    good, bad = _read(tmp_path, "text")
    assert good == [(1, {"text": "schön"}), (3, {"text": "zwei"})]
    assert [one.line for one in bad] == [4]


def test_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", 10)
    content = gzip.compress(b'{"x": 1}\n{"x": 2}\n')
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    assert _read(tmp_path, "jsonl")[0] == [(1, {"x": 1}), (2, {"x": 2})]
    (tmp_path / "a.jsonl.gz").write_bytes(content[:-9])
    with pytest.raises(RunError, match="is no whole gzip file") as cut:
        _read(tmp_path, "jsonl")
    assert cut.value.permanent


def test_a_file_without_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", 10)
    monkeypatch.setattr(readers, "MAX_LINE", 25)
    (tmp_path / "a.jsonl").write_bytes(b"1\n" + b"x" * 100)
    with pytest.raises(RunError, match=r"a\.jsonl: line 2 is longer than"):
        _read(tmp_path, "jsonl")
