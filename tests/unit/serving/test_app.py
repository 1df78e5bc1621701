"""What the REST side does besides predicting: probes, refusals, limits, identities and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from model_folders import linear, lookup

from loopwright.serving import asgi
from loopwright.serving.app import App

PREDICT = "/v1/models/m:predict"
INFER = "/v2/models/m/infer"
ROW = {"instances": [[1, 2, 3]]}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", {"status": "alive"}),
        ("/v1/models", {"models": ["m"]}),
        ("/v1/models/m", {"name": "m", "ready": True}),
        ("/v2/models", {"models": ["m"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/m/ready", {"name": "m", "ready": True}),
        ("/v2/models/m/versions/7/ready", {"name": "m", "ready": True}),
        (
            "/v2/models/m/versions/7",
            {
                "name": "m",
                "versions": ["7"],
                "platform": "onnxruntime_onnxv1",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
            },
        ),
    ],
)
async def test_questions(calling: Any, path: str, answer: object) -> None:
    async with calling(linear(), model_version="7") as client:
        assert (await client.get(path)).json() == answer


async def test_the_server_describes_itself(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = (await client.get("/v2")).json()
        assert (answer["name"], answer["extensions"]) == ("loopwright", ["binary_tensor_data"])


async def test_a_version_can_be_asked_for(calling: Any) -> None:
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    async with calling(linear(), model_version="7") as client:
        answer = await client.post("/v2/models/m/versions/7/infer", json=body)
        assert answer.json()["model_version"] == "7"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/models/n/infer", "there is no model n; this server has m in version 7"),
        ("/v1/models/n:predict", "there is no model n; this server has m"),
        ("/v2/models/m/versions/8/infer", "there is no model m in version 8"),
        ("/v2/models/m/versions/8", "there is no model m in version 8"),
        ("/v2/models/n", "there is no model n"),
        ("/nothing", "there is nothing at /nothing"),
        ("/v2/models/m/explode", "there is nothing at /v2/models/m/explode"),
    ],
)
async def test_other_paths(calling: Any, path: str, told: str) -> None:
    async with calling(linear(), model_version="7") as client:
        for answer in (await client.get(path), await client.post(path, json={})):
            assert answer.status_code == 404
            assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", INFER, "POST"), ("POST", "/metrics", "GET")]
)
async def test_other_methods(calling: Any, method: str, path: str, allowed: str) -> None:
    async with calling(linear()) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("id", ["a", "0f-1.2:3/4", "x" * 128])
async def test_the_clients_request_id_comes_back(calling: Any, id: str) -> None:
    async with calling(linear()) as client:
        answer = await client.post(PREDICT, json=ROW, headers={"x-request-id": id})
        assert answer.headers["x-request-id"] == id
        answer = await client.post(PREDICT, json={}, headers={"x-request-id": id})
        assert (answer.status_code, answer.headers["x-request-id"]) == (400, id)


@pytest.mark.parametrize("id", ["", "a b", "x" * 129, "ä"])
async def test_unfit_request_ids_are_replaced(calling: Any, id: str) -> None:
    async with calling(linear()) as client:
        headers = {b"x-request-id": id.encode("latin-1")}
        answer = await client.post(PREDICT, json=ROW, headers=headers)
        assert len(answer.headers["x-request-id"]) == 32


async def test_the_request_id_is_the_id_of_an_inference(calling: Any) -> None:
    one = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    async with calling(linear()) as client:
        headers = {"x-request-id": "abc"}
        answer = await client.post(INFER, json={"inputs": [one]}, headers=headers)
        assert answer.json()["id"] == "abc"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    for part in parts:
        yield part


async def test_a_body_in_pieces(calling: Any) -> None:
    async with calling(linear()) as client:
        text = json.dumps(ROW).encode()
        answer = await client.post(PREDICT, content=pieces(text[:5], text[5:]))
        assert answer.json() == {"predictions": [[4.0, 5.0]]}


async def test_a_body_that_is_too_large(calling: Any) -> None:
    async with calling(linear(), max_body_bytes=64) as client:
        for body in (b" " * 65, pieces(b" " * 40, b" " * 40)):
            answer = await client.post(PREDICT, content=body)
            assert answer.status_code == 413
            assert answer.json() == {"error": "the body is larger than 64 bytes"}
        assert (await client.post(PREDICT, json=ROW)).status_code == 200
        assert client.counted("v1", 413) == 2


async def test_a_body_that_does_not_come(calling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.01)
    async with calling(linear()) as client:
        never = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            await never.wait()

        answer = await client.post(PREDICT, content=body())
        assert answer.status_code == 408


async def test_a_client_that_goes_away(calling: Any) -> None:
    async with calling(linear()) as client:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await App(client.service)(scope, receive, send)
        assert sent == []
        assert client.counted("v1", 499) == 1
        assert client.service.in_flight == 0


async def test_too_many_requests_at_once(calling: Any) -> None:
    async with calling(linear(), max_in_flight=1) as client:
        client.service.in_flight = 1
        answer = await client.post(PREDICT, json=ROW)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        client.service.in_flight = 0
        assert (await client.post(PREDICT, json=ROW)).status_code == 200
        assert client.counted("v1", 503) == 1


async def test_inputs_that_only_the_model_can_refuse(calling: Any) -> None:
    async with calling(lookup()) as client:
        assert (await client.post(PREDICT, json={"instances": [3]})).json() == {
            "predictions": [3.0]
        }
        answer = await client.post(PREDICT, json={"instances": [4]})
        assert answer.status_code == 400
        assert "the model cannot take these inputs" in answer.json()["error"]


async def test_a_model_that_fails(
    calling: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(linear()) as client:

        def fail(*_: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(type(client.service.model), "run", fail)
        answer = await client.post(PREDICT, json=ROW, headers={"x-request-id": "abc"})
        assert answer.status_code == 500
        assert answer.json() == {
            "error": "the model failed; the server's log says why, at request abc"
        }
        assert "secret detail" in caplog.text
        assert client.counted("v1", 500) == 1


async def test_a_drain_is_seen_by_probes_and_connections(calling: Any) -> None:
    async with calling(linear()) as client:
        assert "connection" not in (await client.post(PREDICT, json=ROW)).headers
        client.service.ready = False
        for path in ("/v2/health/ready", "/v2/models/m/ready", "/v1/models/m"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert (await client.get("/v2/health/live")).status_code == 200
        answer = await client.post(PREDICT, json=ROW)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_metrics(calling: Any) -> None:
    settings = {"endpoint": "shop", "variant": "blue", "model_version": "7"}
    async with calling(linear(), **settings) as client:
        await client.post(PREDICT, json=ROW)
        await client.post(PREDICT, json={})
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        lines = set(answer.text.splitlines())
        own = 'endpoint="shop"'
        counted = "loopwright_serving_requests_total"
        for line in (
            f'{counted}{{code="200",{own},protocol="v1",variant="blue"}} 1.0',
            f'{counted}{{code="400",{own},protocol="v1",variant="blue"}} 1.0',
            f'{counted}{{code="500",{own},protocol="v1",variant="blue"}} 0.0',
            f'loopwright_serving_request_seconds_count{{{own},variant="blue"}} 1.0',
            f'loopwright_serving_in_flight{{{own},variant="blue"}} 0.0',
        ):
            assert line in lines
        [info] = [one for one in lines if one.startswith("loopwright_serving_model_info{")]
        assert 'model="m"' in info
        assert 'version="7"' in info
        assert "_created" not in answer.text
