"""Whatever is sent, the answer is 200 or says what was expected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_folders import two_inputs, write

from loopwright.serving.app import App
from loopwright.serving.loading import load
from loopwright.serving.service import Service
from loopwright.serving.settings import Settings

PREDICT, INFER = "/v1/models/m:predict", "/v2/models/m/infer"
LENGTH = "inference-header-content-length"

numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**63, 1e39, 255]))
leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5))
names = st.sampled_from(["a", "b", "text", "", "name", "shape", "data", "datatype", "parameters"])
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=20,
)
datatypes = st.sampled_from(["FP32", "INT8", "FP64", "BYTES", "?"])
sizes = st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**63, 2**64]))
parameters = st.fixed_dictionaries({}, optional={"binary_data_size": st.one_of(sizes, documents)})
tensors = st.fixed_dictionaries(
    {"name": st.one_of(names, documents)},
    optional={
        "shape": st.one_of(st.lists(sizes, max_size=4), documents),
        "datatype": st.one_of(datatypes, documents),
        "data": st.one_of(st.lists(numbers, max_size=6), documents),
        "parameters": st.one_of(parameters, documents),
    },
)
good = (
    {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
    {"name": "b", "shape": [1], "datatype": "INT8", "data": [3]},
    {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["word"]},
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An application of a model with inputs of three kinds."""
    folder: Path = tmp_path_factory.mktemp("model")
    content = two_inputs()
    text = ("text", onnx.TensorProto.STRING, ["batch"])
    content.graph.input.append(onnx.helper.make_tensor_value_info(*text))
    content.graph.node.append(onnx.helper.make_node("Identity", ["text"], ["same"]))
    content.graph.output.append(onnx.helper.make_tensor_value_info("same", *text[1:]))
    write(folder, content)
    chosen = Settings(model_name="m", model_dir=str(folder))
    service = Service.of(chosen, load(chosen))
    yield App(service)
    service.direct.close()


def answered(app: App, path: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Sends a request, looks at the answer, and returns its status."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
    asyncio.run(app(scope, receive, send))
    start, end = sent
    assert start["status"] in (200, 400), end["body"]
    if start["status"] == 400:
        assert set(json.loads(end["body"])) == {"error"}
        assert len(end["body"]) < 4096
        assert b"\n" not in end["body"]
    return int(start["status"])


def test_what_the_others_begin_with_is_right(app: App) -> None:
    row = {"a": [1, 2], "b": 3, "text": "word"}
    assert answered(app, PREDICT, json.dumps({"instances": [row]}).encode(), {}) == 200
    assert answered(app, INFER, json.dumps({"inputs": good}).encode(), {}) == 200


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([PREDICT, INFER]), st.binary(max_size=50), st.text(max_size=5))
def test_bytes(app: App, path: str, body: bytes, kind: str) -> None:
    answered(app, path, body, {})
    answered(app, path, body, {"content-type": kind.encode("ascii", "ignore").decode()})
    for length in ("0", "7", str(len(body))):
        headers = {"content-type": "application/octet-stream", LENGTH: length}
        answered(app, path, body, headers)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["instances", "inputs", "x"]), documents)
def test_documents_of_v1(app: App, key: str, document: Any) -> None:
    answered(app, PREDICT, json.dumps({key: document}).encode(), {})
    answered(app, PREDICT, json.dumps(document).encode(), {})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(names, documents, max_size=3), max_size=3))
def test_rows_of_v1(app: App, rows: list[Any]) -> None:
    answered(app, PREDICT, json.dumps({"instances": rows}).encode(), {})
    row = {"a": [1, 2], "b": 3, "text": "word", **(rows[0] if rows else {})}
    answered(app, PREDICT, json.dumps({"instances": [row]}).encode(), {})


@settings(max_examples=150, deadline=None)
@given(st.lists(tensors, max_size=3), documents, st.binary(max_size=20))
def test_inferences(app: App, inputs: list[Any], other: Any, raw: bytes) -> None:
    for body in (
        {"inputs": inputs},
        {"inputs": inputs, "outputs": other, "parameters": other, "id": other},
        {"inputs": [*good[:2], *inputs[:1]]},
        {
            "inputs": [
                {**one, **change} for one, change in zip(good, [*inputs, {}, {}, {}], strict=False)
            ]
        },
        {"inputs": good, "outputs": other, "parameters": other, "id": other},
    ):
        text = json.dumps(body).encode()
        answered(app, INFER, text, {"content-type": "application/json"})
        headers = {"content-type": "application/octet-stream", LENGTH: str(len(text))}
        answered(app, INFER, text + raw, headers)
