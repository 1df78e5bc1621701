"""The Open Inference Protocol over REST."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from model_folders import linear, same, two_inputs
from onnx import TensorProto

URL = "/v2/models/m/infer"
X = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 0.5, 0, 0]}


async def test_an_inference(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, json={"id": "7", "inputs": [X]})
        assert answer.json() == {
            "model_name": "m",
            "id": "7",
            "outputs": [
                {"name": "y", "shape": [2, 2], "datatype": "FP32", "data": [4.0, 5.0, 0.5, 0.0]}
            ],
        }
        assert client.counted("v2", 200) == 1


async def test_nested_data(calling: Any) -> None:
    async with calling(linear()) as client:
        nested = {**X, "data": [[1, 2, 3], [0.5, 0, 0]]}
        answer = await client.post(URL, json={"inputs": [nested]})
        assert answer.json()["outputs"][0]["data"] == [4.0, 5.0, 0.5, 0.0]


async def test_outputs_in_the_order_asked_for(calling: Any) -> None:
    inputs = [
        {"name": "b", "shape": [1], "datatype": "INT8", "data": [3]},
        {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
    ]
    async with calling(two_inputs()) as client:
        every = (await client.post(URL, json={"inputs": inputs})).json()["outputs"]
        assert [(one["name"], one["data"]) for one in every] == [("sum", [6.0]), ("twice", [6])]
        body = {"inputs": inputs, "outputs": [{"name": "twice"}, {"name": "sum"}]}
        found = (await client.post(URL, json=body)).json()["outputs"]
        assert [one["name"] for one in found] == ["twice", "sum"]


@pytest.mark.parametrize(
    ("kind", "datatype", "values"),
    [
        (TensorProto.BOOL, "BOOL", [True, False]),
        (TensorProto.UINT8, "UINT8", [0, 255]),
        (TensorProto.UINT16, "UINT16", [0, 65535]),
        (TensorProto.UINT32, "UINT32", [0, 2**32 - 1]),
        (TensorProto.UINT64, "UINT64", [0, 2**64 - 1]),
        (TensorProto.INT8, "INT8", [-128, 127]),
        (TensorProto.INT16, "INT16", [-32768, 32767]),
        (TensorProto.INT32, "INT32", [-(2**31), 2**31 - 1]),
        (TensorProto.INT64, "INT64", [-(2**63), 2**63 - 1]),
        (TensorProto.FLOAT16, "FP16", [-1.5, 0.25]),
        (TensorProto.FLOAT, "FP32", [-1.5, 3.0e38]),
        (TensorProto.DOUBLE, "FP64", [-1.5, 1e300]),
        (TensorProto.STRING, "BYTES", ["", "grün"]),
    ],
)
async def test_every_datatype(calling: Any, kind: int, datatype: str, values: list[Any]) -> None:
    one = {"name": "x", "shape": [2], "datatype": datatype, "data": values}
    async with calling(same(kind)) as client:
        answer = (await client.post(URL, json={"inputs": [one]})).json()
        # FP32 has fewer digits than JSON.
        got = answer["outputs"][0]
        assert got["datatype"] == datatype
        if datatype == "FP32":
            assert (
                np.array(got["data"], np.float32).tolist() == np.array(values, np.float32).tolist()
            )
        else:
            assert got["data"] == values
        back = await binary(client, [{**one, "data": None}], raw_of(datatype, values), every=True)
        assert back[1] == raw_of(datatype, values)


def raw_of(datatype: str, values: list[Any]) -> bytes:
    """As the binary extension writes them."""
    if datatype == "BYTES":
        parts = [one.encode() for one in values]
        return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    names = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
    return np.array(values, names.get(datatype, datatype.lower())).tobytes()


async def binary(
    client: Any, inputs: list[dict[str, Any]], raw: bytes, every: bool = False
) -> tuple[dict[str, Any], bytes]:
    """A request whose first input is raw; the answer's JSON and what follows it."""
    first = {k: v for k, v in inputs[0].items() if k != "data"}
    first["parameters"] = {"binary_data_size": len(raw)}
    body: dict[str, Any] = {"inputs": [first, *inputs[1:]]}
    if every:
        body["parameters"] = {"binary_data_output": True}
    text = json.dumps(body).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(text)),
    }
    answer = await client.post(URL, content=text + raw, headers=headers)
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    return json.loads(answer.content[:length]), answer.content[length:]


async def test_raw_input_and_output(calling: Any) -> None:
    raw = np.array(X["data"], np.float32).tobytes()
    async with calling(linear()) as client:
        answer, rest = await binary(client, [X], raw)
        assert answer["outputs"][0]["data"] == [4.0, 5.0, 0.5, 0.0]
        assert rest == b""
        answer, rest = await binary(client, [X], raw, every=True)
        assert answer["outputs"] == [
            {
                "name": "y",
                "shape": [2, 2],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 16},
            }
        ]
        assert np.frombuffer(rest, np.float32).tolist() == [4.0, 5.0, 0.5, 0.0]


async def test_one_output_raw(calling: Any) -> None:
    asked = {"name": "y", "parameters": {"binary_data": True}}
    async with calling(linear()) as client:
        answer = await client.post(URL, json={"inputs": [X], "outputs": [asked]})
        assert answer.headers["content-type"] == "application/octet-stream"
        length = int(answer.headers["inference-header-content-length"])
        assert np.frombuffer(answer.content[length:], np.float32).tolist() == [4.0, 5.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "z"}, "expected inputs x FP32 of shape [-1,3]; found z"),
        ({"name": 1}, "found 1"),
        ({"datatype": "FP64"}, "its datatype is 'FP64'; expected FP32 of shape [-1,3]"),
        ({"datatype": None}, "its datatype is None"),
        ({"shape": [3, 2]}, "its shape is [3,2]"),
        ({"shape": [6]}, "its shape is [6]"),
        ({"shape": [2, 2]}, "shape [2,2] came with data of [6]"),
        ({"shape": [-1, 3]}, "no list of whole numbers"),
        ({"shape": [True, 3]}, "no list of whole numbers"),
        ({"shape": "2"}, "no list of whole numbers"),
        ({"shape": [2**40, 2**40]}, "its shape is too large"),
        ({"shape": [0, 3], "data": []}, "has no values"),
        ({"data": None}, "its data is no list"),
        ({"data": [[1, 2], [3, 0.5], [0, 0]]}, "came with data of [3,2]"),
        ({"data": [1, 2, 3, 4, 5, 1e300]}, "not finite"),
        ({"parameters": 5}, "expected parameters to be an object"),
        ({"parameters": {"binary_data_size": 4}}, "binary_data_size is 4, and 0 bytes are left"),
        ({"parameters": {"binary_data_size": True}}, "binary_data_size is True"),
    ],
)
async def test_what_is_wrong_with_an_input_is_told(
    calling: Any, change: dict[str, Any], told: str
) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, json={"inputs": [{**X, **change}]})
        assert answer.status_code == 400
        assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, 'expected {"inputs": [...]} with x FP32'),
        ({"inputs": X}, 'expected {"inputs": [...]}'),
        ({"inputs": [5]}, 'expected {"inputs": [...]}'),
        ({"inputs": []}, "found none"),
        ({"inputs": [X, X]}, "found x, x"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "no output 'z'; there are y"),
        ({"inputs": [X], "outputs": ["y"]}, "expected outputs to be a list of objects"),
        ({"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]}, "asked for twice"),
        ({"inputs": [X], "id": 7}, "expected id to be text"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told(calling: Any, body: Any, told: str) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, json=body)
        assert answer.status_code == 400
        assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"\0" * 23, "23 bytes are no whole number of values"),
        (b"\0" * 20, "shape [2,3] came with data of [5]"),
        (np.array([1, 2, 3, 4, 5, np.nan], np.float32).tobytes(), "not finite"),
    ],
)
async def test_wrong_raw_bytes(calling: Any, raw: bytes, told: str) -> None:
    async with calling(linear()) as client:
        answer, _ = await binary(client, [X], raw)
        assert told in answer["error"]


@pytest.mark.parametrize("raw", [b"\1", b"\5\0\0\0a", b"\1\0\0\0\xff"])
async def test_wrong_raw_text(calling: Any, raw: bytes) -> None:
    async with calling(same(TensorProto.STRING)) as client:
        answer, _ = await binary(client, [{"name": "x", "shape": [1], "datatype": "BYTES"}], raw)
        assert "cut off" in answer["error"] or "not UTF-8" in answer["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "9" * 30, "0"])
async def test_wrong_lengths_of_json(calling: Any, length: str) -> None:
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": length,
    }
    async with calling(linear()) as client:
        answer = await client.post(URL, content=json.dumps({"inputs": [X]}), headers=headers)
        assert answer.status_code == 400


async def test_bytes_left_over(calling: Any) -> None:
    text = json.dumps({"inputs": [X]})
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(text)),
    }
    async with calling(linear()) as client:
        answer = await client.post(URL, content=text + "more", headers=headers)
        assert "4 bytes are left after all inputs" in answer.json()["error"]
