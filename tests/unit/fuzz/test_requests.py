"""What clients send to model servers."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from fuzzing import altered, damaged, documents, fuzzed, text
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from kserve_events import headers as event_headers
from prometheus_client import CollectorRegistry

from loopwright.serving import grpc_server, v1, v2
from loopwright.serving import open_inference_pb2 as messages
from loopwright.serving.app import _check_type, _json_length, forwarded
from loopwright.serving.capture import bodies, events
from loopwright.serving.capture.frames import Body, Record
from loopwright.serving.capture.pairing import Pairs
from loopwright.serving.errors import Refused
from loopwright.serving.feedback import Feedback
from loopwright.serving.metrics import UNPAIRED
from loopwright.serving.quality.values import Unreadable, answers
from loopwright.serving.service import request_id
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import Tensor

INPUTS = (
    Tensor("a", "float32", (-1, 2), missing=True), Tensor("b", "int8", (-1,)),
    Tensor("text", "str", (-1,)), Tensor("wide", "uint64", (-1,)), Tensor("yes", "bool", (-1,)),
)  # fmt: skip
SIGNATURE = Signature({one.name: one for one in INPUTS}, {"y": Tensor("y", "float32", (-1, 2))})
FLAT = {"a": [1, 2.5], "b": [3], "text": ["w"], "wide": [7], "yes": [True]}
SHAPES = {"a": [1, 2], "b": [1], "text": [1], "wide": [1], "yes": [1]}
V1 = {"instances": [{"a": [1, 2.5], "b": 3, "text": "w", "wide": 7, "yes": True}]}
V2: dict[str, Any] = {
    "id": "i", "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    "inputs": [
        {"name": name, "shape": SHAPES[name], "datatype": SIGNATURE.inputs[name].datatype,
         "data": data, "parameters": {}}
        for name, data in FLAT.items()
    ],
}  # fmt: skip
RAW = np.array([1, 2.5], "<f4").tobytes()
BINARY = {**V2, "inputs": [
    {**V2["inputs"][0], "parameters": {"binary_data_size": len(RAW)}}, *V2["inputs"][1:],
]}  # fmt: skip


def check(arrays: Any) -> None:
    """Whether a model is given what its signature promises."""
    for name, array in arrays.items():
        tensor = SIGNATURE.inputs[name]
        assert array.ndim == len(tensor.shape)
        assert tensor.dtype == "str" or array.dtype == np.dtype(tensor.dtype)


@fuzzed("request of v1", document=altered(V1))
def test_v1(document: Any) -> bool:
    try:
        check(v1.decode(SIGNATURE, text(document)))
    except Refused as refusal:
        assert refusal.status == 400
        assert len(refusal.message) < 2048
        return False
    return True


@fuzzed("request of v2", document=altered(V2))
def test_v2(document: Any) -> bool:
    try:
        check(v2.decode(SIGNATURE, text(document), None).inputs)
    except Refused as refusal:
        assert len(refusal.message) < 2048
        return False
    return True


@fuzzed(
    "binary tensors of v2", document=altered(BINARY), raw=damaged([RAW]), cut=st.integers(-3, 3)
)
def test_binary(document: Any, raw: bytes, cut: int) -> bool:
    head = text(document)
    try:
        check(v2.decode(SIGNATURE, head + raw, len(head) + cut).inputs)
    except Refused:
        return False
    return True


def _infer(raw: bool) -> bytes:
    request = messages.ModelInferRequest(model_name="m", id="i")
    fields = {"a": "fp32_contents", "b": "int_contents", "text": "bytes_contents",
              "wide": "uint64_contents", "yes": "bool_contents"}  # fmt: skip
    for name, tensor in SIGNATURE.inputs.items():
        one = request.inputs.add(name=name, datatype=tensor.datatype, shape=SHAPES[name])
        values = [one.encode() if isinstance(one, str) else one for one in FLAT[name]]  # type: ignore[union-attr,attr-defined]
        if not raw:
            getattr(one.contents, fields[name]).extend(values)
        elif tensor.dtype == "str":
            request.raw_input_contents.append(b"\1\0\0\0w")
        else:
            request.raw_input_contents.append(np.array(values, tensor.dtype).tobytes())
    content: bytes = request.SerializeToString()
    return content


GRPC = [_infer(raw=False), _infer(raw=True)]


def test_the_samples_are_right() -> None:
    check(v1.decode(SIGNATURE, text(V1)))
    check(v2.decode(SIGNATURE, text(V2), None).inputs)
    check(v2.decode(SIGNATURE, text(BINARY) + RAW, len(text(BINARY))).inputs)
    for content in GRPC:
        check(grpc_server.decode(SIGNATURE, messages.ModelInferRequest.FromString(content)))


@fuzzed("request of gRPC", content=damaged(GRPC))
def test_grpc(content: bytes) -> bool:
    try:
        # Of what is no message, grpc itself tells the client.
        request = messages.ModelInferRequest.FromString(content)
        check(grpc_server.decode(SIGNATURE, request))
    except (DecodeError, Refused):
        return False
    return True


def test_a_shape_of_a_million_dimensions_is_refused_at_once() -> None:
    """Multiplying them would take hours."""
    shape = [2**62] * 1_000_000
    with pytest.raises(Refused, match="too large"):
        v2.decode(
            SIGNATURE,
            text({"inputs": [{**V2["inputs"][0], "shape": shape}, *V2["inputs"][1:]]}),
            None,
        )
    request = messages.ModelInferRequest.FromString(GRPC[0])
    request.inputs[0].shape.extend(shape)
    with pytest.raises(Refused, match="list of sizes"):
        grpc_server.decode(SIGNATURE, request)


@pytest.mark.parametrize("value", ["a" * 100_000, [["a" * 100_000]]])
def test_a_long_text_among_numbers_takes_no_more_memory_than_it_has(value: Any) -> None:
    """numpy would make an array in which each number has as much room as the text."""
    rows = [[1.0, 2.0]] * 10_000
    body = text({"instances": [*rows, [1.0, value]]})
    signature = Signature({"a": Tensor("a", "float32", (-1, 2))}, SIGNATURE.outputs)
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            v1.decode(signature, body)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


FEEDBACK = [{"id": "main.01234567.abc", "name": "clicked", "value": 1}] * 2


@fuzzed(
    "feedback of clients", body=st.one_of(altered(FEEDBACK).map(text), damaged([text(FEEDBACK)]))
)
def test_feedback(body: bytes) -> bool:
    feedback = Feedback("main", "sha256:01234567")
    try:
        feedback.take(body)
    except Refused as refusal:
        assert refusal.status == 400
        return False
    feedback.snapshot().model_dump_json()
    return True


@fuzzed(
    "headers of requests",
    headers=st.dictionaries(
        st.sampled_from([b"content-type", b"inference-header-content-length", b"content-encoding"]),
        st.one_of(
            st.binary(max_size=20), st.sampled_from([b"application/json", b"12", b"identity"])
        ),
    ),
    id=st.text(max_size=200),
)
def test_headers(headers: dict[bytes, bytes], id: str) -> bool:
    forwarded(headers.items())
    assert 1 <= len(request_id(id)) <= 128
    assert request_id(id).isascii()
    try:
        _check_type(headers, b"application/json")
        _json_length(headers)
    except Refused:
        return False
    return True


PATHS = [
    "$.instances[*].email",
    "$..email..email",
    "$.inputs[?@.name=='text'].data",
    "$..*",
    "$[0]",
]


@fuzzed(
    "bodies that are captured",
    body=st.one_of(damaged([text(V1), text(BINARY) + RAW, *GRPC]), documents.map(text)),
    kind=st.sampled_from([bodies.JSON, bodies.BINARY, bodies.GRPC_REQUEST, bodies.GRPC_RESPONSE]),
    length=st.integers(0, 900),
    paths=st.lists(st.sampled_from(PATHS), max_size=2),
)
def test_captured_bodies(body: bytes, kind: str, length: int, paths: list[str]) -> bool:
    found = bodies.Redactor(paths).text(kind, body, length)
    assert found is None or isinstance(found, str)
    return found is not None


def test_what_cannot_be_redacted_is_not_kept() -> None:
    nested: Any = "secret"
    for _ in range(900):
        nested = {"email": nested}
    assert bodies.Redactor(["$..email..email..email"]).text(bodies.JSON, text(nested)) is None


RESPONSES = [
    {"predictions": [[0.1, 0.9], [0.4, 0.6]]},
    {"outputs": [{"name": "y", "shape": [2, 2], "data": [0.1, 0.9, 0.4, 0.6]}]},
]


@fuzzed(
    "answers that were captured",
    document=st.sampled_from(RESPONSES).flatmap(altered),
    numbers=st.booleans(),
    output=st.sampled_from([None, "y", "z"]),
)
def test_captured_answers(document: Any, numbers: bool, output: str | None) -> bool:
    from loopwright.api.quality import Answer

    try:
        found = answers(json.dumps(document), Answer(output=output), numbers=numbers)
    except Unreadable:
        return False
    assert all(one is None or isinstance(one, float | str) for one in found)
    return True


NOW = 1_796_126_400.0
OWNER = events.Owner("loans", "n", "predictor")
EVENT = {
    name.lower().encode(): value.encode() for name, value in event_headers("a", at=NOW).items()
}
VALUES = [
    b"", b"a", b"a b", b"n", b"1.0", b"0.3", b"application/cloudevents+json", b"NaN", b"\xff",
    events.RESPONSE.encode(), b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
    b"2026-12-01T12:00:60Z", b"2026-12-01t12:00:00z", "\u0661".encode() * 20, b"9" * 5000,
]  # fmt: skip


@fuzzed(
    "events of KServe's logger",
    examples=200,
    changed=st.dictionaries(
        st.sampled_from(sorted(EVENT)),
        st.one_of(st.sampled_from([None, *VALUES]), damaged([*EVENT.values()])),
        max_size=3,
    ),
)
def test_events(changed: dict[bytes, bytes | None]) -> bool:
    sent = {name: value for name, value in (EVENT | changed).items() if value is not None}
    try:
        event = events.read(sent, OWNER, NOW)
    except Refused as refusal:
        assert refusal.status in (400, 403, 415)
        assert len(refusal.message) < 2048
        return False
    assert request_id(event.id) == event.id
    assert -events.PAST <= event.time - NOW <= events.FUTURE
    return True


HALVES = st.tuples(
    st.sampled_from("ab"), st.sampled_from([events.REQUEST, events.RESPONSE]), st.integers(0, 3)
)


@fuzzed("pairs of events", examples=200, sent=st.lists(HALVES, max_size=12))
def test_each_event_is_in_one_row(sent: list[tuple[str, str, int]]) -> bool:
    rows: list[Record] = []
    counter = UNPAIRED.make(CollectorRegistry())
    unpaired = {one: counter.labels("e", "v", one) for one in ("request", "response")}
    pairs = Pairs(rows.append, unpaired, 60.0)
    for id, type, second in sent:
        content = f"{id}{second}{type}".encode()
        event = events.Event(id, type, NOW + second, str(second))
        pairs.take(event, Body(bodies.JSON, len(content), content))
    pairs.end()
    found = [one.content for row in rows for one in (row.request, row.response) if one.content]
    assert sorted(found) == sorted({f"{id}{second}{type}".encode() for id, type, second in sent})
    assert all(row.seconds is None or row.seconds >= 0 for row in rows)
    return len(rows) < len(sent)
