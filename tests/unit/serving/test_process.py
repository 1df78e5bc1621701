"""The server as a process: how it begins, stays alive under load, and ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from model_folders import linear, slow, write

from eventually import eventually
from loopwright.serving import open_inference_pb2 as messages
from loopwright.serving.grpc_server import NAME

PREDICT = "/v1/models/m:predict"
READY = "/v2/health/ready"
ROW = {"instances": [[1, 2, 3]]}
HELD = str(Path(__file__).with_name("held.py"))


def post(server: Any, path: str = PREDICT, body: object = ROW) -> httpx.Response:
    """A request on a connection of its own."""
    return httpx.post(f"{server.url}{path}", json=body, timeout=60)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "DigestMismatch: "),
        (lambda folder: (folder / "model.json").unlink(), "ModelNotFound: "),
        (lambda folder: write(folder, b"", format="pickle"), "DigestMismatch: "),
    ],
)
def test_a_model_that_must_not_be_served(
    serving: Any, tmp_path: Path, change: Callable[[Path], object], told: str
) -> None:
    known = write(tmp_path / "model", linear())
    change(tmp_path / "model")
    server = serving(model_dir=tmp_path / "model", model_digest=known)
    assert server.process.wait(60) == 1
    text = server.message.read_text()
    assert text.startswith(told)
    assert len(text.splitlines()) == 1
    assert json.loads(server.end().splitlines()[-1])["message"] == text


def test_nobody_is_told_what_is_served(serving: Any, tmp_path: Path) -> None:
    """The telemetry of onnxruntime would keep what it has to send in the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    digest = write(tmp_path / "model", linear())
    env = {"HOME": str(home), "XDG_CACHE_HOME": ""}
    server = serving(env=env, model_dir=tmp_path / "model", model_digest=digest).wait_ready()
    assert post(server).status_code == 200
    server.terminate()
    assert server.process.wait(60) == 0
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"LOOPWRIGHT_THREADS": "many"}, "--threads: invalid int value: 'many'"),
        ({"LOOPWRIGHT_MAX_BATCH_SIZE": "0"}, "--max_batch_size must not be 0"),
        ({"LOOPWRIGHT_ALLOW_MISSING": "yes"}, "--allow_missing: must be true or false, not 'yes'"),
    ],
)
def test_settings_that_cannot_be(serving: Any, settings: dict[str, str], told: str) -> None:
    server = serving(env=settings)
    assert server.process.wait(60) == 1
    assert told in server.end()
    assert told in server.message.read_text()


def test_variables_and_flags(serving: Any, tmp_path: Path) -> None:
    known = write(tmp_path / "model", linear())
    env = {
        "LOOPWRIGHT_MODEL_URI": str(tmp_path / "model"),
        "LOOPWRIGHT_MODEL_DIGEST": known,
        "LOOPWRIGHT_MODEL_NAME": "other",
        "LOOPWRIGHT_ENDPOINT": "shop",
        "LOOPWRIGHT_VARIANT": "blue",
    }
    server = serving(env=env).wait_ready()
    assert post(server).json() == {"predictions": [[4.0, 5.0]]}
    text = httpx.get(f"{server.url}/metrics").text
    assert 'endpoint="shop",protocol="v1",variant="blue"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_probes_are_answered_while_a_prediction_runs(serving: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", slow(10))
    server = serving(model_dir=tmp_path / "model", threads=2, grpc_port=0).wait_ready()
    done = threading.Event()

    def load() -> int:
        answers = [post(server, body={"instances": [[1]]}) for _ in range(2)]
        done.set()
        return sum(one.status_code == 200 for one in answers)

    with ThreadPoolExecutor() as pool, httpx.Client(base_url=server.url) as client:
        predictions = [pool.submit(load) for _ in range(3)]
        eventually("the server is busy", lambda: in_flight(client) == 3)
        answered = 0
        while not done.is_set():
            # None waits for a prediction, or it would be the only one.
            assert client.get(READY).status_code == 200
            answered += 1
        assert answered > 3
        assert [one.result() for one in predictions] == [2, 2, 2]


def in_flight(client: httpx.Client) -> float:
    """As the metrics tell."""
    text = client.get("/metrics").text
    [line] = [one for one in text.splitlines() if one.startswith("loopwright_serving_in_flight{")]
    return float(line.rpartition(" ")[2])


def test_a_drain(serving: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", linear())
    gate = tmp_path / "gate"
    flags = {"model_dir": tmp_path / "model", "drain_seconds": 4}
    server = serving(program=HELD, env={"GATE": str(gate)}, **flags).wait_ready()
    with ThreadPoolExecutor() as pool, httpx.Client(base_url=server.url) as client:
        early = [pool.submit(lambda: post(server).json()), pool.submit(infer, server)]
        eventually("requests in work", lambda: in_flight(client) == 2)
        server.terminate()
        eventually("a probe to fail", lambda: client.get(READY).status_code == 503)
        assert client.get("/v2/health/live").status_code == 200
        # Gateways have not all heard of it yet.
        late = pool.submit(post, server)
        eventually("one more", lambda: in_flight(client) == 3)
        eventually("the port to be closed", lambda: not listens(server))
        gate.touch()
        assert [one.result(60) for one in early] == [{"predictions": [[4.0, 5.0]]}, [4.0, 5.0]]
        assert late.result().status_code == 200
        assert late.result().headers["connection"] == "close"
    assert server.process.wait(60) == 0


def infer(server: Any) -> list[float]:
    """The same over gRPC."""
    x = messages.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])
    x.contents.fp32_contents.extend([1, 2, 3])
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{NAME}/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        found = call(messages.ModelInferRequest(model_name="m", inputs=[x]), timeout=60)
    return list(found.outputs[0].contents.fp32_contents)


def listens(server: Any) -> bool:
    """Whether a new connection is accepted."""
    try:
        httpx.get(f"{server.url}{READY}")
    except httpx.TransportError:
        return False
    return True


def test_a_second_signal_ends_it_at_once(serving: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", linear())
    server = serving(model_dir=tmp_path / "model", drain_seconds=600).wait_ready()
    server.terminate()
    eventually("it drains", lambda: httpx.get(f"{server.url}{READY}").status_code == 503)
    assert listens(server)
    server.terminate()
    assert server.process.wait(60) == 0


def test_two_servers_want_one_port(serving: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", linear())
    first = serving(model_dir=tmp_path / "model").wait_ready()
    for setting, port in (("http_port", first.port), ("grpc_port", first.grpc_port)):
        other = serving(model_dir=tmp_path / "model", **{setting: port})
        assert other.process.wait(60) == 1
        told = f"PortInUse: --{setting}={port} cannot be listened on; name another"
        assert other.message.read_text() == told


def test_bodies_of_many_megabytes_are_refused_and_the_connection_lives(
    serving: Any, tmp_path: Path
) -> None:
    write(tmp_path / "model", linear())
    flags = {"max_body_bytes": 1000, "grpc_port": 0}
    server = serving(model_dir=tmp_path / "model", **flags).wait_ready()
    with httpx.Client(base_url=server.url) as client:
        for body in (b" " * 20_000_000, iter([b" " * 5_000_000] * 4)):
            assert client.post(PREDICT, content=body).status_code == 413
        assert client.post(PREDICT, json=ROW).status_code == 200
