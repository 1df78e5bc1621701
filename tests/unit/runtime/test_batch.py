"""Batches from end to end: everything but Ray, which the tests' pool plays."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batches import FakePool, World, world
from fake_s3 import BUCKET, fake_s3
from model_folders import WEIGHTS, lookup, same, two_inputs, write
from onnx import TensorProto
from PIL import Image

from loopwright.api.report import RunState
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.batch import driver, plan
from loopwright.runtime.storage import Folder

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A claim with a model."""
    return world(tmp_path, monkeypatch)


def _expected(rows: list[list[float]]) -> list[list[float]]:
    return (np.asarray(rows, np.float32) @ WEIGHTS).tolist()  # type: ignore[no-any-return]


ROWS = [[float(n), 2.0, 0.5] for n in range(10)]


def test_json_lines(batch: World) -> None:
    batch.write("a.jsonl", "".join(f"{json.dumps({'x': row, 'id': 7})}\n" for row in ROWS))
    report = batch.run(batch.config())
    assert report.state is RunState.SUCCEEDED, report
    assert [row["y"] for row in batch.rows()] == _expected(ROWS)
    assert (report.records.read, report.records.written, report.records.failed) == (10, 10, 0)
    assert report.outputs is not None and report.outputs.files == 1
    assert report.model_digest == batch.digest
    assert not (batch.root / "out" / "_staging-u1").exists()


def test_rows_without_names(batch: World) -> None:
    batch.write("a.jsonl", "".join(f"{json.dumps(row)}\n" for row in ROWS))
    batch.run(batch.config())
    assert [row["y"] for row in batch.rows()] == _expected(ROWS)


def test_csv_columns_in_order(batch: World) -> None:
    batch.write("a.csv", "a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS))
    report = batch.run(batch.config("csv"))
    assert report.state is RunState.SUCCEEDED, report
    text = (batch.root / "out" / "part-00000.csv").read_text().splitlines()
    assert text[0] == '"y_0","y_1"'
    assert [list(map(float, line.split(","))) for line in text[1:]] == _expected(ROWS)


def test_csv_joined_and_filtered(batch: World) -> None:
    batch.write("a.csv", "id,a,b,c\n" + "".join(f"n{a},{a},{b},{c}\n" for a, b, c in ROWS))
    processing = {
        "inputFilter": "$['a', 'b', 'c']", "joinSource": "Input", "outputFilter": "$['id', 'y_0']",
    }  # fmt: skip
    report = batch.run(batch.config("csv", dataProcessing=processing))
    assert report.error is not None and "must name columns for csv" in report.error.message
    processing["outputFilter"] = "$['id', 'y']"
    report = batch.run(batch.config("csv", dataProcessing=processing))
    assert report.state is RunState.SUCCEEDED, report
    text = (batch.root / "out" / "part-00000.csv").read_text().splitlines()
    assert text[0] == '"id","y_0","y_1"'
    assert text[1].startswith('"n0.0",')


@pytest.mark.parametrize("columns", ["list", "fixed", "scalars"])
def test_parquet(batch: World, columns: str) -> None:
    if columns == "scalars":
        table = pa.table({n: [row[i] for row in ROWS] for i, n in enumerate("abc")})
    else:
        kind = pa.list_(pa.float64(), 3 if columns == "fixed" else -1)
        table = pa.table({"id": list(range(10)), "x": pa.array(ROWS, kind)})
    path = batch.write("a.parquet", b"")
    pq.write_table(table, path, row_group_size=4)
    processing = {"joinSource": "Input"}
    report = batch.run(batch.config("parquet", dataProcessing=processing))
    assert report.state is RunState.SUCCEEDED, report
    found = pq.read_table(batch.root / "out" / "part-00000.parquet")
    assert found.column("y").to_pylist() == _expected(ROWS)
    assert found.column_names == [*table.column_names, "y"]


def test_two_inputs_by_name(batch: World) -> None:
    digest = write(batch.root / "model", two_inputs())
    batch.write("a.jsonl", '{"a": [1, 2], "b": 3, "c": 0}\n{"a": [4, 5], "b": 6}\n')
    report = batch.run(batch.config(digest=digest))
    assert report.state is RunState.SUCCEEDED, report
    assert batch.rows() == [{"sum": 6.0, "twice": 6}, {"sum": 15.0, "twice": 12}]


def test_text(batch: World) -> None:
    digest = write(batch.root / "model", same(TensorProto.STRING))
    batch.write("a.txt", "eins\nzwei\n")
    processing = {"joinSource": "Input"}
    report = batch.run(batch.config("text", digest=digest, dataProcessing=processing))
    assert report.state is RunState.SUCCEEDED, report
    assert batch.rows() == [{"text": "eins", "y": "eins"}, {"text": "zwei", "y": "zwei"}]


def test_images(batch: World) -> None:
    digest = write(batch.root / "model", same(TensorProto.FLOAT, ["batch", 1, 2, 3]))
    for name, value in (("b", 255), ("a", 0)):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2), (value, value, value)).save(buffer, "PNG")
        batch.write(f"{name}.png", buffer.getvalue())
    batch.write("c.png", b"no image")
    report = batch.run(
        batch.config(
            "images", digest=digest, dataProcessing={"joinSource": "Input"},
            errors={"maxFailedRecords": 1},
        )
    )  # fmt: skip
    assert report.state is RunState.SUCCEEDED, report
    first, second = batch.rows()
    assert first == {"file": "a.png", "y": [[[0.0] * 3] * 2]}
    assert second == {"file": "b.png", "y": [[[1.0] * 3] * 2]}
    [letter] = batch.letters()
    assert (letter["file"], letter["line"], letter["reason"]) == ("c.png", None, "Unparsable")


def test_gzip_in_and_out(batch: World) -> None:
    batch.write("a.jsonl.gz", gzip.compress(b'{"x": [1, 2, 3]}\n'))
    report = batch.run(batch.config(output={"compression": "Gzip"}))
    assert report.state is RunState.SUCCEEDED, report
    content = (batch.root / "out" / "part-00000.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress(content)) == {"y": [4.0, 5.0]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.y", [4.0, 5.0]),
        ("$.y[0]", 4.0),
        ("$['id', 'y']", [7, [4.0, 5.0]]),
        ("$.y[?@ > 4]", [5.0]),
    ],
)
def test_output_filters(batch: World, path: str, expected: Any) -> None:
    batch.write("a.jsonl", '{"in": {"row": [1, 2, 3]}, "id": 7}\n')
    processing = {"inputFilter": "$.in.row", "joinSource": "Input", "outputFilter": path}
    report = batch.run(batch.config(dataProcessing=processing))
    assert report.state is RunState.SUCCEEDED, report
    assert batch.rows() == [expected]


def test_a_filter_that_is_none(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n')
    report = batch.run(batch.config(dataProcessing={"inputFilter": "$["}))
    assert report.error is not None
    assert (report.error.reason, report.error.permanent) == ("FilterInvalid", True)


POISON = [
    ("{", "Unparsable"),
    ('{"z": [1, 2, 3]}', "MissingColumn"),
    ('{"x": [1, 2]}', "WrongType"),
    ('{"x": [1, 2, null]}', "WrongType"),
    ('{"x": ["1", 2, 3]}', "WrongType"),
    ('"text"', "WrongType"),
]


def test_bad_records_go_to_the_dead_letters_and_nowhere_else(batch: World) -> None:
    lines, expected, good = [], [], []
    for number in range(60):
        if number % 7 == 3:
            text, reason = POISON[number // 7 % len(POISON)]
            lines.append(text)
            expected.append((number + 1, reason))
        else:
            good.append([number, 0, 0])
            lines.append(json.dumps({"x": good[-1]}))
    batch.write("a.jsonl", "\n".join(lines))
    report = batch.run(batch.config(errors={"maxFailedRecords": 20}))
    assert report.state is RunState.SUCCEEDED, report
    assert [(one["line"], one["reason"]) for one in batch.letters()] == expected
    assert [row["y"] for row in batch.rows()] == _expected(good)
    assert sum(problem.count for problem in report.problems) == len(expected)
    assert report.outputs is not None
    assert report.outputs.dead_letter_uri == "pvc://data/out/_dead_letter/job.jsonl"


def test_a_row_that_the_model_fails_on(batch: World) -> None:
    digest = write(batch.root / "model", lookup())
    batch.write("a.jsonl", "".join(f'{{"i": {n}}}\n' for n in (0, 1, 9, 3)))
    report = batch.run(batch.config(digest=digest, errors={"maxFailedPercent": 25}))
    assert report.state is RunState.SUCCEEDED, report
    [letter] = batch.letters()
    assert (letter["line"], letter["reason"], letter["record"]) == (3, "ModelError", {"i": 9})
    assert batch.rows() == [{"y": 0.0}, {"y": 1.0}, {"y": 3.0}]


def test_csv_values_of_the_wrong_type(batch: World) -> None:
    batch.write("a.csv", "a,b,c\n1,2,3\n1,x,3\n1,,3\n4,5,6\n")
    report = batch.run(batch.config("csv", errors={"maxFailedRecords": 2}))
    assert report.state is RunState.SUCCEEDED, report
    assert [(one["line"], one["reason"]) for one in batch.letters()] == [
        (3, "WrongType"), (4, "WrongType"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({}, "errors allows"),
        ({"maxFailedRecords": 1}, "errors allows"),
        ({"maxFailedPercent": 19}, "2 of 10 records are bad, and errors.maxFailedPercent is 19"),
    ],
)
def test_too_many_bad_records(batch: World, errors: dict[str, Any], message: str) -> None:
    good = '{"x": [1, 2, 3]}\n' * 4
    batch.write("a.jsonl", f"{good}{{\n{good}{{\n")
    report = batch.run(batch.config(errors=errors))
    assert report.state is RunState.FAILED and report.error is not None
    assert report.error.reason == "TooManyFailedRecords" and report.error.permanent
    assert message in report.error.message and "a.jsonl:5: Unparsable" in report.error.message
    assert batch.letters()[0]["line"] == 5
    assert not (batch.root / "out" / "_SUCCESS").exists()
    assert not list((batch.root / "out").glob("part-*"))
    assert not (batch.root / "out" / "_staging-u1").exists()


def test_a_file_without_the_models_columns(batch: World) -> None:
    batch.write("a.csv", "a,b\n1,2\n")
    report = batch.run(batch.config("csv"))
    assert report.error is not None and report.error.permanent
    assert report.error.reason == "SchemaMismatch"
    assert "a.csv: the model takes FP32 of shape [-1,3] as x" in report.error.message
    errors = {"onSchemaMismatch": "DeadLetter", "maxFailedRecords": 1}
    report = batch.run(batch.config("csv", errors=errors))
    assert report.state is RunState.SUCCEEDED, report
    assert batch.letters()[0]["reason"] == "MissingColumn"
    assert batch.rows() == []


def test_nothing_to_do(batch: World) -> None:
    report = batch.run(batch.config())
    assert report.error is not None and report.error.reason == "InputMissing"
    batch.write("a.jsonl", "\n\n")
    report = batch.run(batch.config())
    assert report.error is not None and report.error.permanent
    assert (report.error.reason, report.error.message) == (
        "InputEmpty", "the 1 files at pvc://data/in hold no records",
    )  # fmt: skip


def test_a_model_that_was_changed(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n')
    with (batch.root / "model" / "model.onnx").open("ab") as file:
        file.write(b"x")
    report = batch.run(batch.config())
    assert report.error is not None and report.error.permanent
    assert report.error.reason == "DigestMismatch"


def test_two_runs_give_the_same_bytes(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MIB", 300)
    _many(batch)
    for name in ("out", "other"):
        target = {"uri": f"pvc://data/{name}", "compression": "Gzip"}
        report = batch.run(
            batch.config(
                uid=name, output=target, resume={"shardSizeMB": 1}, errors={"maxFailedRecords": 99}
            )
        )
        assert report.state is RunState.SUCCEEDED and report.shards.total > 3, report
    assert batch.published("out") == batch.published("other")


def _many(batch: World) -> None:
    for name in "ab":
        lines = [json.dumps({"x": [n, 1, 2]}) if n % 9 else "bad" for n in range(40)]
        batch.write(f"{name}.jsonl", "\n".join(lines))


def test_overwrite(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n')
    batch.write("b.jsonl", '{"x": [1, 2, 3]}\n')
    first = batch.run(batch.config())
    report = batch.run(batch.config(uid="u2"))
    assert report.error is not None and report.error.reason == "OutputExists"
    assert report.error.permanent
    report = batch.run(batch.config(uid="u2", output={"overwrite": "Skip"}))
    assert report.state is RunState.SUCCEEDED and report.skipped
    assert report.outputs == first.outputs
    (batch.root / "in" / "b.jsonl").unlink()
    batch.write("a.jsonl", '{"x": [0, 0, 1]}\n')
    (batch.root / "out" / "notes.txt").write_text("of somebody")
    report = batch.run(batch.config(uid="u3", output={"overwrite": "Replace"}))
    assert report.state is RunState.SUCCEEDED, report
    assert batch.rows() == [{"y": [1.0, 1.0]}]
    assert (batch.root / "out" / "notes.txt").exists()
    assert not (batch.root / "out" / "part-00001.jsonl").exists()


def test_a_report_that_got_lost(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n{\n')
    config = batch.config(errors={"maxFailedRecords": 1})
    first, again = batch.run(config), batch.run(config)
    assert again.state is RunState.SUCCEEDED and not again.skipped
    assert (again.outputs, again.records) == (first.outputs, first.records)
    assert again.shards.total == again.shards.done == 1


class Killed(BaseException):
    """The pod is gone."""


CHANGES = ("write", "create", "move", "delete", "remove")


def _killed_at(monkeypatch: pytest.MonkeyPatch, when: int, before: bool) -> None:
    """Kills the process at a change of the storage: before it, or when it was made."""
    left = [when]

    def killing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def change(self: Folder, *args: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and before:
                raise Killed
            result = original(self, *args)
            if left[0] == 0:
                raise Killed
            return result

        return change

    for name in CHANGES:
        monkeypatch.setattr(Folder, name, killing(name, getattr(Folder, name)))


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_any_change(batch: World, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    monkeypatch.setattr(plan, "MIB", 300)
    _many(batch)
    more = {"resume": {"shardSizeMB": 1}, "errors": {"maxFailedRecords": 99}}
    batch.run(batch.config(uid="calm", output={"uri": "pvc://data/calm"}, **more))
    calm = batch.published("calm")
    done = 0
    for when in range(1, 200):
        name = f"out{when}"
        config = batch.config(uid=name, output={"uri": f"pvc://data/{name}"}, **more)
        with monkeypatch.context() as patch:
            _killed_at(patch, when, before)
            try:
                batch.run(config)
                break
            except Killed:
                assert not (batch.root / name / "_SUCCESS").exists() or when > 10
        finished = list(FakePool.done)
        report = batch.run(config)
        assert report.state is RunState.SUCCEEDED, (when, report)
        assert batch.published(name) == calm, when
        # What was done is not done again.
        assert report.shards.resumed >= len(finished) or report.shards.done == report.shards.total
        done += 1
    assert done > 20


def test_done_shards_are_not_done_again(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        batch.write(f"{name}.jsonl", '{"x": [1, 2, 3]}\n')
    rows = FakePool.iter_rows

    def half(self: FakePool) -> Any:
        for number, row in enumerate(rows(self)):
            if number == 2:
                raise Killed
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(FakePool, "iter_rows", half)
        with pytest.raises(Killed):
            batch.run(batch.config())
    report = batch.run(batch.config())
    assert report.state is RunState.SUCCEEDED
    assert report.shards.resumed == 3 and FakePool.done == [3]
    assert len(batch.rows()) == 4


def test_without_resume_all_begins_anew(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        batch.write(f"{name}.jsonl", '{"x": [1, 2, 3]}\n')
    config = batch.config(resume={"enabled": False})
    with monkeypatch.context() as patch:
        patch.setattr(driver.Publication, "publish", _killed)
        with pytest.raises(Killed):
            batch.run(config)
    report = batch.run(config)
    assert report.shards.resumed == 0 and len(batch.rows()) == 2


def _killed(*_: object) -> None:
    raise Killed


def test_an_input_that_changed_meanwhile(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n')
    with monkeypatch.context() as patch:
        patch.setattr(driver.Publication, "publish", _killed)
        with pytest.raises(Killed):
            batch.run(batch.config())
    batch.write("a.jsonl", '{"x": [0, 0, 1]}\n{"x": [0, 0, 2]}\n')
    report = batch.run(batch.config())
    assert report.state is RunState.SUCCEEDED and report.shards.resumed == 0
    assert len(batch.rows()) == 2


PREDICTOR = """
import numpy as np
class Sum:
    def __init__(self, folder):
        self.add = len((folder / "extra.txt").read_text())
    def predict(self, columns):
        if (columns["a"] < 0).any():
            raise ValueError("negative")
        return {"sum": columns["a"] + columns["b"] + self.add}
"""


def test_a_class_of_the_image(
    batch: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopwright.runtime.batch import predictor

    (tmp_path / "summing.py").write_text(PREDICTOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(predictor, "WORK", tmp_path / "work")
    digest = write(batch.root / "model", b"12345", format="mine", name="extra.txt")
    (batch.root / "model" / "model.onnx").unlink()
    from model_folders import describe

    digest = describe(batch.root / "model", format="mine")
    batch.write("a.jsonl", '{"a": 1, "b": 2}\n{"a": -1, "b": 2}\n{"a": 5, "b": 6}\n')
    config = batch.config(
        digest=digest, predictor={"class": "summing:Sum"}, errors={"maxFailedRecords": 1}
    )
    report = batch.run(config)
    assert report.state is RunState.SUCCEEDED, report
    assert batch.rows() == [{"sum": 8}, {"sum": 16}]
    assert batch.letters()[0]["message"] == "ValueError: negative"
    report = batch.run(
        batch.config(
            uid="u2",
            output={"uri": "pvc://data/o2"},
            digest=digest,
            predictor={"class": "nowhere:X"},
        )
    )
    assert report.error is not None and report.error.reason == "PredictorFailed"
    assert report.error.cause is Cause.APPLICATION


def test_checks_of_the_data(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3], "id": 1}\n{"x": [1, 2, 3], "id": 1}\n')
    expectations = [{"column": "id", "unique": True, "min": "1"}]
    report = batch.run(batch.config(validation={"expectations": expectations}))
    assert report.error is not None and report.error.reason == "DataInvalid"
    assert report.error.permanent and report.validation is not None
    assert report.validation.message == "'id never repeats' fails for 1 of 2"
    assert not (batch.root / "out" / "_SUCCESS").exists()
    page = (batch.root / "out" / "_quality" / "report.html").read_text()
    assert "1 of 2 checks failed" in page
    validation = {"expectations": expectations, "onFailure": "Warn"}
    report = batch.run(batch.config(uid="u2", validation=validation))
    assert report.state is RunState.SUCCEEDED and report.validation is not None
    assert not report.validation.passed


def test_in_a_bucket(batch: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_s3(monkeypatch) as s3:
        monkeypatch.setattr(plan, "MIB", 40)
        s3.objects["in/a.jsonl"] = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
        config = batch.config(
            input={"uri": f"s3://{BUCKET}/in"}, output={"uri": f"s3://{BUCKET}/out"},
            resume={"shardSizeMB": 1},
        )  # fmt: skip
        report = batch.run(config)
        assert report.state is RunState.SUCCEEDED and report.shards.total > 2, report
        names = [key for key in sorted(s3.objects) if not key.endswith("/")]
        parts = [f"out/part-{number:05d}.jsonl" for number in range(report.shards.total)]
        assert names == ["in/a.jsonl", "out/_SUCCESS", "out/_manifest.json", *parts]
        lines = b"".join(s3.objects[name] for name in parts).splitlines()
        assert [json.loads(line)["y"] for line in lines] == _expected(ROWS)


def test_json_fields_that_only_some_have_become_columns(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3], "n": null}\n{"x": [1, 2, 3], "n": 7, "m": 1}\n')
    more = {"output": {"format": "parquet"}, "batching": {"batchSize": 1}}
    processing = {"joinSource": "Input", "outputFilter": "$['n', 'm', 'y', 'gone']"}
    report = batch.run(batch.config(dataProcessing=processing, **more))
    assert report.state is RunState.SUCCEEDED, report
    table = pq.read_table(batch.root / "out" / "part-00000.parquet")
    assert table.drop_columns("y").to_pylist() == [
        {"n": None, "m": None, "gone": None}, {"n": 7, "m": 1, "gone": None},
    ]  # fmt: skip


def test_values_of_other_types_in_one_column(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3], "n": 1}\n{"x": [1, 2, 3], "n": "one"}\n')
    config = batch.config(
        output={"format": "parquet"}, dataProcessing={"joinSource": "Input"},
        errors={"maxFailedRecords": 1},
    )  # fmt: skip
    report = batch.run(config)
    assert report.state is RunState.SUCCEEDED, report
    assert [(one["line"], one["reason"]) for one in batch.letters()] == [(2, "WrongType")]
    assert report.records.written == 1


def test_a_joined_column_keeps_its_name(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3], "y": "mine"}\n')
    batch.run(batch.config(dataProcessing={"joinSource": "Input"}))
    assert batch.rows() == [{"x": [1, 2, 3], "y": "mine", "predicted_y": [4.0, 5.0]}]


def test_large_rows_are_read_and_written_a_few_at_a_time(
    batch: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopwright.runtime.batch import readers, writers

    monkeypatch.setattr(readers, "PARQUET_BYTES", 100)
    monkeypatch.setattr(writers, "GROUP_BYTES", 30)
    pq.write_table(pa.table({"x": pa.array(ROWS, pa.list_(pa.float64()))}), batch.write("a", b""))
    report = batch.run(batch.config("parquet"))
    assert report.state is RunState.SUCCEEDED, report
    file = pq.ParquetFile(batch.root / "out" / "part-00000.parquet")
    assert file.num_row_groups > 1 and file.read().column("y").to_pylist() == _expected(ROWS)


def test_a_manifest_of_another_program(batch: World) -> None:
    batch.write("a.jsonl", '{"x": [1, 2, 3]}\n')
    out = batch.root / "out"
    out.mkdir()
    (batch.root / "kept").touch()
    for text in (
        '{"version": 1, "files": [{"path": "../kept", "size": 0}]}',
        "[]",
        "{",
        '{"a": 1}',
    ):
        (out / "_manifest.json").write_text(text)
        report = batch.run(batch.config(output={"overwrite": "Replace"}))
        assert report.state is RunState.SUCCEEDED, report
        (out / "_SUCCESS").unlink()
    assert (batch.root / "kept").exists()
