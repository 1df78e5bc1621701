"""KServe's v1 protocol."""

from __future__ import annotations

from typing import Any

import pytest
from model_folders import linear, same, two_inputs
from onnx import TensorProto

URL = "/v1/models/m:predict"


async def test_rows_become_predictions(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, json={"instances": [[1, 2, 3], [0.5, 0, 0]]})
        assert answer.json() == {"predictions": [[4.0, 5.0], [0.5, 0.0]]}
        assert answer.headers["content-type"] == "application/json"
        assert client.counted("v1", 200) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"x": [1, 2, 3]}, {"x": [0.5, 0, 0]}]},
        {"inputs": [[1, 2, 3], [0.5, 0, 0]]},
        {"inputs": {"x": [[1, 2, 3], [0.5, 0, 0]]}},
        {"instances": [[1, 2, 3], [0.5, 0, 0]], "signature_name": "serving_default"},
    ],
)
async def test_other_ways_to_say_the_same(calling: Any, body: object) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, json=body)
        assert answer.json() == {"predictions": [[4.0, 5.0], [0.5, 0.0]]}


async def test_a_model_with_several_inputs_and_outputs(calling: Any) -> None:
    async with calling(two_inputs()) as client:
        rows = [{"a": [1, 2], "b": 3}, {"a": [0.5, 0], "b": -1}]
        answer = await client.post(URL, json={"instances": rows})
        assert answer.json() == {"predictions": [6.0, -0.5]}
        answer = await client.post(URL, json={"instances": [[1, 2]]})
        assert answer.status_code == 400
        expected = "one row for each of a FP32 of shape [-1,2], b INT8 of shape [-1]"
        assert expected in answer.json()["error"]


async def test_text(calling: Any) -> None:
    async with calling(same(TensorProto.STRING)) as client:
        answer = await client.post(URL, json={"instances": ["äpfel", ""]})
        assert answer.json() == {"predictions": ["äpfel", ""]}
        answer = await client.post(URL, json={"instances": ["a", 1]})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "expected JSON"),
        (b'{"instances": [[1, 2, NaN]]}', "no NaN or Infinity"),
        (b"[1]", "expected a JSON object"),
        (b"{}", 'expected {"instances": [...]} with rows of x FP32 of shape [-1,3]'),
        (b'{"instances": 5}', 'expected {"instances": [...]}'),
        (b'{"instances": {"x": [[1, 2, 3]]}}', 'expected {"instances": [...]}'),
        (b'{"instances": []}', "x: its shape is [0]; expected FP32 of shape [-1,3]"),
        (b'{"instances": [[1, 2]]}', "its shape is [1,2]"),
        (b'{"instances": [[1, 2, 3], [1, 2]]}', "rows differ in length"),
        (b'{"instances": [["1", "2", "3"]]}', "its values are text"),
        (b'{"instances": [[1, 2, "3"]]}', "its values are text"),
        (b'{"instances": [[true, false, true]]}', "its values are booleans"),
        (b'{"instances": [[1, 2, null]]}', "its values are of several kinds"),
        (b'{"instances": [[1, 2, 1e300]]}', "a number is not finite, or missing"),
        (b'{"instances": [[1, 2, %s]]}' % (b"9" * 400), "expected JSON"),
        (b'{"instances": [{"z": [1, 2, 3]}]}', "expected inputs x FP32 of shape [-1,3]; found z"),
        (b'{"instances": [{"x": [1, 2, 3], "y": 1}]}', "found x, y"),
        (b'{"instances": [{"x": [1, 2, 3]}, 5]}', "all instances to be objects"),
        (b'{"instances": [{"x": {"y": 1}}]}', "its values are of several kinds"),
        (b"[" * 100_000, "expected JSON"),
    ],
)
async def test_what_is_wrong_is_told(calling: Any, body: bytes, told: str) -> None:
    async with calling(linear()) as client:
        headers = {"content-type": "application/json"}
        answer = await client.post(URL, content=body, headers=headers)
        assert answer.status_code == 400
        assert told in answer.json()["error"]
        assert "\n" not in answer.text
        assert client.counted("v1", 400) == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [("1.5", "not whole numbers"), ("128", "out of range"), ("-129", "out of range"),
     ("99999999999999999999", "not whole numbers of its size")],
)  # fmt: skip
async def test_integers_are_not_made_to_fit(calling: Any, value: str, told: str) -> None:
    async with calling(same(TensorProto.INT8)) as client:
        headers = {"content-type": "application/json"}
        body = f'{{"instances": [{value}]}}'
        answer = await client.post(URL, content=body, headers=headers)
        assert answer.status_code == 400
        assert told in answer.json()["error"]


async def test_missing_values_where_the_model_may_have_them(calling: Any) -> None:
    async with calling(same(TensorProto.FLOAT), allow_missing=True) as client:
        answer = await client.post(URL, json={"instances": [1, None, 2.5]})
        assert answer.json() == {"predictions": [1.0, None, 2.5]}
        for wrong in ([1, None, "2"], [1, None, True], [[1], None], [1, 1e300]):
            answer = await client.post(URL, json={"instances": wrong})
            assert answer.status_code == 400, wrong


async def test_a_body_that_does_not_say_what_it_is(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, content=b'{"instances": [[1, 2, 3]]}')
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("header", "value", "told"),
    [
        ("content-type", "text/csv", "Content-Type is text/csv; expected application/json"),
        ("content-type", "application/octet-stream", "expected application/json"),
        ("content-encoding", "gzip", "expected a body without Content-Encoding"),
    ],
)
async def test_other_kinds_of_bodies(calling: Any, header: str, value: str, told: str) -> None:
    async with calling(linear()) as client:
        answer = await client.post(URL, content=b"1,2,3", headers={header: value})
        assert (answer.status_code, told in answer.json()["error"]) == (400, True)
