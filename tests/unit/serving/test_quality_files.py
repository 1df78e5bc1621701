"""Files of answers and labels that are broken, odd or too many; and what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from quality_worlds import END, World, ids, response, same

from loopwright.api.monitoring_status import MonitorState
from loopwright.api.quality import Quality
from loopwright.serving.quality import reading
from loopwright.serving.quality.joining import Sample
from loopwright.serving.quality.reading import Captured


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path / "captures"))
    monkeypatch.setenv("LOOPWRIGHT_LABELS_DIR", str(tmp_path))
    return World(tmp_path)


def test_storage_in_trouble_is_told_and_the_window_judged_later(world: World) -> None:
    world.capture(same(ids(30), 1))
    world.label(same(ids(30), 1))
    half = world.labels / "half.jsonl"
    half.write_text('{"request_id": "1", "lab')
    found = world.turn()
    assert set(found) == {("main", ""), ("next", "")}
    assert (found["main", ""].state, found["main", ""].reason) == (
        MonitorState.UNKNOWN, "LabelsUnreadable",
    )  # fmt: skip
    assert found["main", ""].message.startswith("half.jsonl: ")
    half.write_text('{"request_id": "x", "label": 1}\n')
    assert world.main().recent == [False]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_a_column_that_is_missing_is_named(world: World, name: str) -> None:
    world.asks(labels={"label": "paid"})
    world.capture(same(ids(30), 1))
    world.label(same(ids(30), 1), name)
    found = world.turn()["main", ""]
    assert found.reason == "ColumnMissing"
    assert found.message.startswith(f"{name} has no column 'paid'")


def test_a_column_that_only_some_rows_have(world: World) -> None:
    world.asks(slices=[{"column": "region"}])
    world.capture(same(ids(40), 1))
    world.label(same(ids(40), 1))
    assert world.turn()["main", ""].reason == "ColumnMissing"
    lines = (world.labels / "a.jsonl").read_text().replace("}", ', "region": "n"}', 25)
    (world.labels / "a.jsonl").write_text(lines)
    found = world.main()
    assert found.quality is not None
    assert (found.samples, found.quality.worst_slice) == (40, "region=n")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_files_that_make_no_sense(world: World, name: str) -> None:
    world.capture(same(ids(30), 1))
    (world.labels / name).write_bytes(b"\xff\xfe\x00PAR1")
    found = world.turn()["main", ""]
    assert found.state is MonitorState.UNKNOWN
    assert found.reason in ("LabelsUnreadable", "ColumnMissing")
    assert name in found.message


def test_a_broken_file_of_parquet_ends_nothing(world: World) -> None:
    world.capture(same(ids(30), 1))
    world.label(same(ids(30), 1), "a.parquet")
    whole = (world.labels / "a.parquet").read_bytes()
    for at in range(4, len(whole), 7):
        (world.labels / "a.parquet").write_bytes(whole[:at] + b"\xff" * 3 + whole[at + 3 :])
        world.rounds = None
        (world.root / "ep/_quality/answers.json").unlink(missing_ok=True)
        found = world.turn()
        assert ("main", "") in found, at


def test_too_much_for_a_window_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILES", 1)
    world.capture(same(ids(30), 1))
    world.capture(same(ids(30, "b"), 1))
    found = world.turn()["main", ""]
    assert (found.state, found.reason, found.window_end) == (MonitorState.UNKNOWN, "TooMuch", END)
    monkeypatch.setattr(reading, "MAX_FILES", 9)
    assert world.turn()["main", ""] == found


def test_memory_is_bounded_by_a_fair_sample(world: World) -> None:
    sample = Sample(world.config.monitors[0].measures, most=100)
    for i in range(1000):
        sample.take("main", Captured(f"{i}", i, "r1", response(i % 2)))
    assert 40 <= len(sample.ids()) <= 100
    found = sample.join((f"{i}", 1, ()) for i in range(1000))["main", "r1"]
    assert found.captured == found.labelled == len(sample.ids())
    assert 0.3 < found.total.right / found.total.rows < 0.7


@pytest.mark.parametrize(
    ("body", "answer", "wanted"),
    [
        ({"predictions": [[0.1, 0.7, 0.2]]}, {}, "1"),
        ({"predictions": ["cat"]}, {}, "cat"),
        ({"predictions": [0.7]}, {"cutoff": "0.5"}, "1"),
        ({"predictions": [[-0.1]]}, {"cutoff": "0"}, "0"),
        ({"outputs": [{"name": "label", "shape": [1], "data": [2]}]}, {}, "2"),
        (
            {"outputs": [
                {"name": "label", "shape": [1], "data": [2]},
                {"name": "p", "shape": [1, 2], "data": [0.9, 0.1]},
            ]},
            {"output": "p"}, "0",
        ),
        ({"predictions": [[0.1, None]]}, {}, None),
        ({"outputs": []}, {}, None),
        ({"outputs": [{"name": "x", "shape": [2], "data": [1]}]}, {}, None),
        ({"error": "no"}, {}, None),
    ],
)  # fmt: skip
def test_where_a_prediction_is(body: Any, answer: dict[str, str], wanted: str | None) -> None:
    labels = {"uri": "pvc://lake/labels"}
    quality = Quality.model_validate({"labels": labels, "answer": answer})
    sample = Sample(quality)
    sample.take("main", Captured("1", 1, "r1", json.dumps(body)))
    found = sample.join([("1", wanted if wanted is not None else "x", ())])["main", "r1"]
    assert (found.total.right, found.unusable) == ((0, 1) if wanted is None else (1, 0))


@pytest.mark.parametrize("label", [True, 1, 1.0, "1", " 1.0 "])
def test_classes_are_the_same_however_they_are_stored(world: World, label: Any) -> None:
    sample = Sample(world.config.monitors[0].measures)
    sample.take("main", Captured("1", 1, "r1", '{"predictions": [1]}'))
    assert sample.join([("1", label, ())])["main", "r1"].total.right == 1
