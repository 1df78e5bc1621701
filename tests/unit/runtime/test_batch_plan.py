"""Shards: which parts of the input they are, and that nothing is lost between them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.api.batchtransform import BatchInput
from loopwright.runtime.batch import plan, readers
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder


def _input(format: str, **more: object) -> BatchInput:
    return BatchInput.model_validate({"uri": "pvc://data/in", "format": format, **more})


def _planned(folder: Path, options: BatchInput, size: int) -> plan.Plan:
    source = Folder.local(folder)
    return plan.make(source, options, plan.listing(source, options), size)


@pytest.mark.parametrize(
    ("path", "include", "exclude", "wanted"),
    [
        ("a.csv", [], [], True),
        ("a/b.csv", ["*.csv"], [], False),
        ("a/b.csv", ["**/*.csv"], [], True),
        ("b.csv", ["**/*.csv"], [], True),
        ("a/b/c.csv", ["a/**"], [], True),
        ("a.csv", [], ["*.csv"], False),
        ("a1.csv", ["a?.csv"], [], True),
        ("a+1.csv", ["a+1.csv"], [], True),
        ("_SUCCESS", [], [], False),
        (".hidden/a.csv", [], [], False),
        ("a/_tmp/b.csv", ["**"], [], False),
    ],
)
def test_which_files_are_input(
    path: str, include: list[str], exclude: list[str], wanted: bool
) -> None:
    assert plan.wanted(path, include, exclude) is wanted


def test_nothing_to_read(tmp_path: Path) -> None:
    source = Folder.local(tmp_path)
    with pytest.raises(RunError, match=r"there is nothing at .*; check input\.uri") as nothing:
        plan.listing(source, _input("csv"))
    assert nothing.value.permanent and nothing.value.reason == "InputMissing"
    (tmp_path / "a.csv").write_text("x\n")
    with pytest.raises(RunError, match="leave none of the 1 files"):
        plan.listing(source, _input("csv", exclude=["*"]))


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=40),
    size=st.integers(1, 60),
    ended=st.booleans(),
)
def test_shards_of_lines_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    (folder / "a.jsonl").write_bytes(content)
    made = _planned(folder, _input("jsonl"), size)
    source, found, line = Folder.local(folder), b"", 1
    for shard in made.shards:
        assert shard.line == line
        part = b"".join(chunk for chunk, _ in readers._bytes(source, _input("jsonl"), shard))
        assert shard is made.shards[-1] or part.endswith(b"\n")
        found += part
        line += part.count(b"\n")
    assert found == content
    assert made.size == len(content)


def test_chunks_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK", 7)
    text = b"".join(b"%d\n" % n for n in range(100))
    (tmp_path / "a.text").write_bytes(text)
    made = _planned(tmp_path, _input("text"), 50)
    parts = [text[shard.start : shard.stop] if shard.stop > 0 else text for shard in made.shards]
    assert b"".join(parts) == text and len(parts) > 3
    assert [shard.line for shard in made.shards] == [
        1 + text[: shard.start].count(b"\n") for shard in made.shards
    ]


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": list(range(100))}), tmp_path / "a.parquet", row_group_size=10)
    made = _planned(tmp_path, _input("parquet"), 250)
    assert len(made.shards) > 2
    assert [shard.start for shard in made.shards[1:]] == [shard.stop for shard in made.shards[:-1]]
    source = Folder.local(tmp_path)
    reads = [one for shard in made.shards for one in readers.read(source, _input("parquet"), shard)]
    lines = [int(line) for one in reads if one.block for line in one.block.lines]
    assert lines == list(range(1, 101))


def test_images_go_together(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(b"x" * 10)
    made = _planned(tmp_path, _input("images"), 30)
    assert [len(shard.files) for shard in made.shards] == [3, 3, 1]
    assert [shard.number for shard in made.shards] == [0, 1, 2]


def test_a_compressed_file_is_one_shard(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"x" * 100)
    assert len(_planned(tmp_path, _input("csv"), 10).shards) == 1


def test_no_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet file at all")
    with pytest.raises(RunError, match=r"a\.parquet is no Parquet file"):
        _planned(tmp_path, _input("parquet"), 10)
