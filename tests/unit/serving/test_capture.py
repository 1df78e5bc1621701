"""What is kept of requests: chosen, handed over, redacted and written."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import jsonpath
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folders import linear, write
from pydantic import ValidationError

from eventually import eventually
from loopwright.api.capture import _PATH, CaptureConfig, DataCapture
from loopwright.serving import open_inference_pb2 as messages
from loopwright.serving import v2
from loopwright.serving.capture import bodies, layout
from loopwright.serving.capture.bodies import Redactor
from loopwright.serving.capture.frames import NOTHING, Body, Record, Unpacker, pack
from loopwright.serving.capture.layout import Origin
from loopwright.serving.capture.sampler import chosen
from loopwright.serving.capture.storage import CannotStore
from loopwright.serving.capture.writer import Writer, parquet
from loopwright.serving.grpc_server import NAME
from loopwright.serving.tensors import Tensor

ORIGIN = Origin("ep", "n", "main", "r1", "m-v1", "sha256:1", "ep-main-r1-predictor-abc")
URI = "pvc://captures/team"
PREDICT = "/v1/models/m:predict"
HOUR = 3600.0
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()


def capture(**more: Any) -> DataCapture:
    return DataCapture.model_validate({"destination": {"uri": URI}, **more})


def record(id: str = "a", time: float = NOON, **more: Any) -> Record:
    found = {"request": body(b'{"instances": [1]}'), "response": body(b'{"predictions": [2]}')}
    return Record(id, time, "v1", 200, 0.25, **{**found, **more})


def body(content: bytes, kind: str = bodies.JSON, json_length: int = 0) -> Body:
    return Body(kind, len(content), content, json_length)


class Memory:
    """A storage that may refuse some of its next files."""

    def __init__(self, *refusals: bool) -> None:
        self.files: dict[str, bytes] = {}
        self.refusals = list(refusals)

    def put(self, name: str, content: bytes) -> None:
        if self.refusals and self.refusals.pop(0):
            raise CannotStore("access denied")
        self.files[name] = content

    def rows(self) -> list[dict[str, Any]]:
        return [row for content in self.files.values() for row in table(content)]


def table(content: bytes) -> list[dict[str, Any]]:
    """The rows of a file, as another library reads them."""
    found: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return found


def writer(storage: Any, told: list[dict[str, Any]] | None = None, **more: Any) -> Writer:
    tell = [].append if told is None else told.append
    return Writer(ORIGIN, capture(**more), lambda: storage, tell, pauses=(0.0,))


# Choosing


def test_a_larger_sample_has_all_of_a_smaller_one() -> None:
    ids = [f"request-{i}" for i in range(20_000)]
    samples = [{one for one in ids if chosen(one, percent)} for percent in (1, 10, 50, 100)]
    assert samples[0] < samples[1] < samples[2] < samples[3] == set(ids)
    assert [len(one) / 200 for one in samples] == pytest.approx([1, 10, 50, 100], rel=0.15)


def test_all_processes_choose_the_same() -> None:
    """The rule is public: others sample by it, too."""
    assert [one for one in "abcdefghijklmnopqrstuvwxyz" if chosen(one, 10)] == list("djpsu")


# Frames


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 40))
@settings(deadline=None)
def test_frames_may_be_cut_anywhere(contents: Sequence[bytes], step: int) -> None:
    sent = [record(str(i), request=body(one), response=NOTHING) for i, one in enumerate(contents)]
    stream, unpacker = b"".join(map(pack, sent)), Unpacker()
    cut = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert [one for part in cut for one in unpacker.feed(part)] == sent


# Redaction


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("$.instances[*].email", {"instances": [{"email": "[redacted]", "age": 3}]}),
        ("$..email", {"instances": [{"email": "[redacted]", "age": 3}]}),
        ("$['instances']", {"instances": "[redacted]"}),
        ("$.instances[0]", {"instances": ["[redacted]"]}),
        ("$.nobody", {"instances": [{"email": "x", "age": 3}]}),
    ],
)
def test_redaction(path: str, left: object) -> None:
    found = Redactor([path]).text(bodies.JSON, b'{"instances":[{"email":"x","age":3}]}')
    assert json.loads(found or "") == left


def test_of_a_tensor_by_its_name_however_it_was_sent() -> None:
    redactor = Redactor(["$.inputs[?@.name=='age'].data", "$..data[0]"])
    inputs = [
        {"name": name, "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
        for name in ("age", "size")
    ]
    head = json.dumps({"inputs": inputs}).encode()
    raw = np.array([31, 32, 1.5, 2], "<f4").tobytes()
    found = orjson.loads(redactor.text(bodies.BINARY, head + raw, len(head)) or "")
    assert [one["data"] for one in found["inputs"]] == ["[redacted]", ["[redacted]", 2.0]]
    assert b"31" not in orjson.dumps(found)


@pytest.mark.parametrize("content", [b"no JSON", b"\xff", b"[" * 100_000])
def test_what_cannot_be_redacted_is_left_out(content: bytes) -> None:
    assert Redactor(["$.a"]).text(bodies.JSON, content) is None


def test_without_redaction_a_body_stays_as_it_was() -> None:
    assert Redactor([]).text(bodies.JSON, b'{ "a": 1 } not JSON') == '{ "a": 1 } not JSON'
    assert Redactor([]).text(bodies.JSON, b"\xff") is None


@given(st.from_regex(_PATH, fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_every_path_that_is_let_in_is_one(path: str) -> None:
    jsonpath.compile(path, strict=True)


@pytest.mark.parametrize("path", ["$", "a.b", "$.", "$[?@.a>1]", "$[", "$['a\"]", "$.a b", "$.é"])
def test_paths_that_are_not_let_in(path: str) -> None:
    with pytest.raises(ValidationError, match=r"must be a JSONPath|at least 2"):
        capture(redact=[path])


# Bodies


def test_binary_answers_become_json() -> None:
    tensor = Tensor("y", "float32", (-1,))
    request = v2.InferRequest({}, None, ["y", "t"], frozenset(["y", "t"]))
    values = [np.array([1.5, np.nan], np.float32), np.array(["ä", ""], object)]
    content, length = v2.encode("m", "", request, values, "id")
    assert length is not None
    found = json.loads(Redactor([]).text(bodies.BINARY, content, length) or "")
    assert found["outputs"] == [
        {"name": tensor.name, "shape": [2], "datatype": "FP32", "data": [1.5, None],
         "parameters": {}},
        {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["ä", ""], "parameters": {}},
    ]  # fmt: skip


@pytest.mark.parametrize("raw", [True, False])
def test_grpc_messages_become_json(raw: bool) -> None:
    request = messages.ModelInferRequest(model_name="m", id="7")
    one = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    if raw:
        request.raw_input_contents.append(np.array([1, 2], "<f4").tobytes())
    else:
        one.contents.fp32_contents.extend([1, 2])
    found = Redactor([]).text(bodies.GRPC_REQUEST, request.SerializeToString())
    assert json.loads(found or "") == {
        "model_name": "m", "id": "7", "outputs": [],
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}],
    }  # fmt: skip


@pytest.mark.parametrize("kind", [bodies.BINARY, bodies.GRPC_REQUEST, bodies.GRPC_RESPONSE])
@given(st.binary(max_size=60), st.integers(0, 60))
@settings(deadline=None)
def test_no_body_breaks_it(kind: str, content: bytes, length: int) -> None:
    Redactor(["$..a"]).text(kind, content, length)


# Files


def test_a_row_has_all_that_is_known() -> None:
    storage = Memory()
    made = writer(storage)
    made.take(record("a"))
    made.flush()
    [(name, content)] = storage.files.items()
    folder = "ep/main/year=2026/month=11/day=29/hour=12"
    assert name.startswith(f"{folder}/{ORIGIN.pod}-")
    assert table(content) == [
        {
            "request_id": "a", "time": datetime.fromtimestamp(NOON, UTC), "endpoint": "ep",
            "variant": "main", "revision": "r1", "model_version": "m-v1",
            "model_digest": "sha256:1", "protocol": "v1", "status": 200, "latency_seconds": 0.25,
            "request": '{"instances": [1]}', "request_bytes": 18,
            "response": '{"predictions": [2]}', "response_bytes": 20, "ce_id": "a",
            "ce_source": "/namespaces/n/modelendpoints/ep/main",
            "ce_type": "io.loopwright.inference", "ce_specversion": "1.0",
        }
    ]  # fmt: skip


def test_types_do_not_depend_on_what_is_in_a_file() -> None:
    empty = writer(Memory())._row(record(request=NOTHING, response=NOTHING), datetime.now(UTC))
    full = writer(Memory())._row(record(), datetime.now(UTC))
    schemas = [pq.read_schema(io.BytesIO(parquet([one]))) for one in (empty, full)]
    assert schemas[0].equals(schemas[1])
    assert str(schemas[0].field("time").type) == "timestamp[us, tz=UTC]"


def test_each_hour_has_files_of_its_own() -> None:
    storage = Memory()
    made = writer(storage)
    for id, moment in (("a", NOON), ("late", NOON - 1), ("b", NOON + HOUR)):
        made.take(record(id, moment))
    assert {row["request_id"] for row in storage.rows()} == {"a", "late"}
    made.flush()
    hours = sorted(name.split("/")[-2] for name in storage.files)
    assert hours == ["hour=11", "hour=12", "hour=13"]
    assert len({name.rpartition("-")[2] for name in storage.files}) == 3


def test_a_file_is_written_when_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loopwright.serving.capture.writer.MAX_ROWS", 3)
    storage = Memory()
    made = writer(storage)
    for i in range(4):
        made.take(record(str(i)))
    assert len(storage.rows()) == 3
    assert made.wait is not None


def test_nothing_is_due_without_rows() -> None:
    made = writer(Memory(), flushSeconds=1)
    assert made.wait is None
    made.take(record())
    assert made.wait is not None
    made.flush()
    assert made.wait is None


def test_a_refused_file_is_tried_again_and_then_given_up() -> None:
    told: list[dict[str, Any]] = []
    storage = Memory(True, False, True, True)
    made = writer(storage, told)
    made.take(record("a"))
    made.flush()
    made.take(record("b"))
    made.flush()
    made.take(record("c"))
    made.flush()
    assert [row["request_id"] for row in storage.rows()] == ["a", "c"]
    assert sum(one.get("dropped", 0) for one in told) == 1
    assert sum(one.get("failed", 0) for one in told) == 3
    assert [one["failing"] for one in told if "failing" in one] == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("main/year=2026/month=11/day=29/hour=11/pod-0-1234567890123456.parquet", True),
        ("main/year=2026/month=11/day=29/hour=11/pod-0-1234567890123456.parquet.new", True),
        ("main/year=2026/month=11/day=29/hour=12/pod-1234567890123456.parquet", False),
        ("main/year=2026/month=13/day=29/hour=11/pod-1234567890123456.parquet", False),
        ("main/year=2026/month=11/day=29/hour=11/report.parquet", False),
        ("main/year=2026/month=11/day=29/hour=11/x/pod-1234567890123456.parquet", False),
        ("year=2026/month=11/day=29/hour=11/pod-1234567890123456.parquet", False),
        ("../main/year=2026/month=11/day=29/hour=11/pod-1234567890123456.parquet", False),
        ("main/year=2026/month=11/day=29/hour=11/pod-123.parquet", False),
    ],
)
def test_only_own_files_of_hours_that_are_over_expire(name: str, ours: bool) -> None:
    assert layout.expired(name, datetime(2026, 11, 29, 12, 30, tzinfo=UTC)) is ours


def test_own_files_are_recognized() -> None:
    path = layout.path(ORIGIN, layout.folder(datetime.fromtimestamp(NOON, UTC)), 7)
    assert layout.expired(path.removeprefix("ep/"), datetime(2027, 1, 1, tzinfo=UTC))


# The server


def configure(file: Path, **more: Any) -> None:
    """Tells a server what to keep, as a ConfigMap in a volume does."""
    config = CaptureConfig(endpoint="ep", namespace="n", capture=capture(**more))
    new = file.with_suffix(".new")
    new.write_text(json.dumps(config.wire()))
    new.replace(file)


@pytest.fixture
def start(serving: Any, tmp_path: Path) -> Callable[..., Any]:
    """Starts a server that captures; what to keep as keywords."""

    def begin(**more: Any) -> Any:
        known = write(tmp_path / "model", linear())
        configure(tmp_path / "capture.json", **{"samplePercent": 100, "flushSeconds": 1, **more})
        return serving(
            env={"LOOPWRIGHT_CAPTURE_DIR": str(tmp_path / "claim"), "HOSTNAME": "pod-1"},
            model_dir=tmp_path / "model", model_digest=known, variant="main", revision="r1",
            capture_config=tmp_path / "capture.json", drain_seconds=0,
        ).wait_ready()  # fmt: skip

    return begin


def stored(tmp_path: Path) -> list[dict[str, Any]]:
    """All rows on the claim."""
    files = sorted((tmp_path / "claim/team/ep/main").rglob("*.parquet"))
    return [row for file in files for row in table(file.read_bytes())]


def metrics(server: Any) -> dict[str, float]:
    """What the server counts of capturing."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith("loopwright_capture_")]
    return {name: float(value) for name, _, value in found}


def dropped(server: Any) -> dict[str, float]:
    """Requests that were dropped, by reason."""
    return {
        name.partition('reason="')[2].partition('"')[0]: value
        for name, value in metrics(server).items()
        if "dropped" in name and value
    }


def child(server: Any) -> int:
    """The process that keeps a server's requests; 0 if there is none."""
    pid = server.process.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else 0


def ask(server: Any, id: str, rows: object) -> httpx.Response:
    headers = {"X-Request-Id": id}
    return httpx.post(f"{server.url}{PREDICT}", json={"instances": rows}, headers=headers)


def test_requests_of_all_protocols_are_kept(start: Any, tmp_path: Path) -> None:
    server = start(redact=["$.instances[*][0]"])
    assert ask(server, "one", [[1, 2, 3]]).json() == {"predictions": [[4.0, 5.0]]}
    assert ask(server, "bad", [[1, 2]]).status_code == 400
    v2_body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    httpx.post(f"{server.url}/v2/models/m/infer", json=v2_body, headers={"X-Request-Id": "two"})
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        request = messages.ModelInferRequest(model_name="m")
        request.inputs.add(name="x", datatype="FP32", shape=[1, 3]).contents.fp32_contents.extend(
            [1, 2, 3]
        )
        channel.unary_unary(
            f"/{NAME}/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )(request, metadata=[("x-request-id", "three")])
    eventually("all rows", lambda: len(stored(tmp_path)) == 4)
    rows = {row["request_id"]: row for row in stored(tmp_path)}
    assert json.loads(rows["one"]["request"]) == {"instances": [["[redacted]", 2, 3]]}
    assert json.loads(rows["one"]["response"]) == {"predictions": [[4.0, 5.0]]}
    assert (rows["bad"]["status"], rows["two"]["protocol"]) == (400, "v2")
    assert json.loads(rows["three"]["response"])["outputs"][0]["data"] == [4.0, 5.0]
    assert {row["revision"] for row in rows.values()} == {"r1"}
    assert all(0 < row["latency_seconds"] < 60 for row in rows.values())
    assert dropped(server) == {}


def test_what_waits_is_written_when_the_server_drains(start: Any, tmp_path: Path) -> None:
    server = start(flushSeconds=3600)
    for i in range(20):
        ask(server, str(i), [[1, 2, 3]])
    assert stored(tmp_path) == []
    server.terminate()
    assert server.process.wait(60) == 0
    assert {row["request_id"] for row in stored(tmp_path)} == {str(i) for i in range(20)}


def test_large_bodies_and_unwanted_ones_are_left_out(start: Any, tmp_path: Path) -> None:
    server = start(maxBodyBytes=256, mode="Request")
    ask(server, "small", [[1, 2, 3]])
    ask(server, "large", [[1, 2, 3]] * 100)
    eventually("both rows", lambda: len(stored(tmp_path)) == 2)
    rows = {row["request_id"]: row for row in stored(tmp_path)}
    assert (rows["large"]["request"], rows["large"]["request_bytes"] > 256) == (None, True)
    assert rows["small"]["request"] is not None
    assert {row["response"] for row in rows.values()} == {None}
    assert all(row["response_bytes"] for row in rows.values())


def test_what_is_kept_may_change_while_it_runs(start: Any, tmp_path: Path) -> None:
    server = start(flushSeconds=3600)
    ask(server, "before", [[1, 2, 3]])
    configure(tmp_path / "capture.json", samplePercent=100, flushSeconds=1, redact=["$.instances"])
    eventually("the change", lambda: len(stored(tmp_path)) == 1)
    eventually(
        "a redacted row",
        lambda: ask(server, "after", [[1, 2, 3]]).is_success and len(stored(tmp_path)) > 1,
    )
    rows = {row["request_id"]: row for row in stored(tmp_path)}
    assert json.loads(rows["after"]["request"]) == {"instances": "[redacted]"}
    (tmp_path / "capture.json").unlink()
    eventually("the end of it", lambda: _quiet(server))


def _quiet(server: Any) -> bool:
    """Whether a request is neither kept nor dropped."""
    before = metrics(server)
    assert ask(server, "late", [[1, 2, 3]]).is_success
    time.sleep(1.5)
    return metrics(server) == before


def test_a_storage_that_refuses_is_told_and_harms_nobody(start: Any, tmp_path: Path) -> None:
    (tmp_path / "claim").write_text("no folder")
    server = start()
    assert ask(server, "a", [[1, 2, 3]]).status_code == 200
    failing = 'loopwright_capture_failing{endpoint="m",variant="main"}'
    eventually("it to be told", lambda: metrics(server)[failing] == 1)
    eventually("the drop", lambda: dropped(server) == {"upload_failed": 1})
    (tmp_path / "claim").unlink()
    assert ask(server, "b", [[1, 2, 3]]).status_code == 200
    eventually("b", lambda: [row["request_id"] for row in stored(tmp_path)] == ["b"])
    eventually("recovery", lambda: metrics(server)[failing] == 0)


def test_a_writer_that_dies_costs_records_and_no_requests(start: Any, tmp_path: Path) -> None:
    server = start(flushSeconds=3600)
    ask(server, "a", [[1, 2, 3]])
    os.kill(child(server), signal.SIGKILL)
    eventually("a drop", lambda: ask(server, "b", [[1, 2, 3]]).is_success and dropped(server))
    eventually("the loss", lambda: dropped(server).get("writer_lost", 0) >= 1)
    eventually("another one", lambda: child(server))


def test_one_that_cannot_keep_up_is_not_waited_for(start: Any, tmp_path: Path) -> None:
    server = start(maxBodyBytes=1_048_576, flushSeconds=3600)
    stopped = child(server)
    os.kill(stopped, signal.SIGSTOP)
    try:
        large = b'{"instances": [[1, 2, 3]]}' + b" " * 1_000_000
        for _ in range(12):
            assert httpx.post(f"{server.url}{PREDICT}", content=large).is_success
        assert set(dropped(server)) == {"queue_full"}
    finally:
        os.kill(stopped, signal.SIGCONT)


@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_what_makes_no_sense_keeps_nothing(serving: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "capture.json").write_text(text)
    write(tmp_path / "model", linear())
    server = serving(model_dir=tmp_path / "model", capture_config=tmp_path / "capture.json")
    server.wait_ready()
    assert ask(server, "a", [[1, 2, 3]]).is_success
    assert metrics(server)['loopwright_capture_failing{endpoint="m",variant=""}'] == 1
