"""Outcomes of answers, as clients report them."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import grpc
import pytest
from model_folders import linear

from loopwright.api.feedback import MAX_SERIES, FeedbackSnapshot
from loopwright.api.serving import FEEDBACK_ID, FEEDBACK_PATH
from loopwright.serving import seen
from loopwright.serving.errors import Refused
from loopwright.serving.feedback import MAX_BYTES, Feedback, parse
from loopwright.serving.grpc_server import NAME, GrpcServer
from loopwright.serving.open_inference_pb2 import ModelInferRequest, ModelInferResponse

PREDICT = "/v1/models/m:predict"
ROW = {"instances": [[1, 2, 3]]}
ABOUT = "next.0123abcd"


def item(number: int = 1, about: str = ABOUT, **more: Any) -> dict[str, Any]:
    """One outcome."""
    return {"id": f"{about}.r{number}", "name": "clicked", "value": 1, **more}


def body(*items: dict[str, Any]) -> bytes:
    """As a client sends it."""
    return json.dumps(list(items)).encode()


def sums(feedback: Feedback) -> dict[tuple[str, str], tuple[float, ...]]:
    """What was counted, by name and variant."""
    return {
        (one.name, one.about): (one.count, one.total, one.squares, one.parts, one.parts_total)
        for one in feedback.snapshot().counts
    }


async def test_an_answer_says_what_to_name_in_feedback(calling: Any) -> None:
    async with calling(linear(), variant="next") as client:
        answer = await client.post(PREDICT, json=ROW, headers={"x-request-id": "r1"})
        named = answer.headers[FEEDBACK_ID]
        assert re.fullmatch(r"next\.[0-9a-f]{8}\.r1", named)
        told = {"id": named, "name": "clicked", "value": 0.5}
        answer = await client.post(FEEDBACK_PATH, json=told)
        assert (answer.status_code, answer.json()) == (200, {"counted": 1})
        answer = await client.post(FEEDBACK_PATH, json=told)
        assert (answer.status_code, answer.json()) == (200, {"counted": 0})
        found = FeedbackSnapshot.model_validate_json((await client.get(FEEDBACK_PATH)).content)
        [one] = found.counts
        assert found.own == one.about == named.rpartition(".")[0]
        assert (one.name, one.count, one.total, one.squares) == ("clicked", 1, 0.5, 0.25)
        # Feedback is no request for a prediction: the monitor must not take it for traffic.
        assert client.service.metrics.registry.get_sample_value(
            "loopwright_serving_requests_total",
            {"endpoint": "m", "variant": "next", "protocol": "v1", "code": "200"},
        ) == 1  # fmt: skip


async def test_a_server_of_no_endpoint_takes_feedback_too(calling: Any) -> None:
    async with calling(linear()) as client:
        named = (await client.post(PREDICT, json=ROW)).headers[FEEDBACK_ID]
        answer = await client.post(FEEDBACK_PATH, json={"id": named, "name": "x", "value": 1})
        assert answer.json() == {"counted": 1}


async def test_counts_are_not_for_clients(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = await client.get(FEEDBACK_PATH, headers={"x-forwarded-for": "10.0.0.1"})
        assert (answer.status_code, answer.json()) == (405, {"error": "use POST"})


async def test_bad_feedback_is_refused_in_one_line(calling: Any) -> None:
    async with calling(linear()) as client:
        answer = await client.post(FEEDBACK_PATH, json={"id": "r1", "name": "x", "value": 1})
        assert answer.status_code == 400
        assert answer.json()["error"] == (
            "id must be what the header X-Feedback-Id of the answer says"
        )
        large = await client.post(FEEDBACK_PATH, content=b" " * (MAX_BYTES + 1))
        assert large.status_code == 413
        text = {"content-type": "text/plain"}
        assert (await client.post(FEEDBACK_PATH, content=b"{}", headers=text)).status_code == 400
        assert client.service.feedback.snapshot().counts == []


async def test_grpc_answers_say_it_in_their_metadata(calling: Any) -> None:
    service = calling(linear(), variant="next").service
    server = GrpcServer(service)
    port = await server.start("127.0.0.1", 0)
    request = ModelInferRequest(model_name="m")
    one = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    one.contents.fp32_contents.extend([1, 2, 3])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(
            f"/{NAME}/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        call = infer(request, metadata=(("x-request-id", "r7"),))
        await call
        told = dict(await call.trailing_metadata())
    await server.stop(0)
    assert told[FEEDBACK_ID] == f"{service.feedback.own}.r7"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"{", "expected JSON"),
        (b"[]", "1 to 1000 items"),
        (b"3", "expected objects such as"),
        (b'{"id": "next.0123abcd.r1", "name": "x"}', "expected objects such as"),
        (body(item(id=7)), "X-Feedback-Id"),
        (body(item(id="next.xyz.r1")), "X-Feedback-Id"),
        (body(item(id=f"{ABOUT}.{'r' * 129}")), "X-Feedback-Id"),
        (body(item(name="9lives")), "name must begin with a letter"),
        (body(item(name="x" * 33)), "name must begin with a letter"),
        (body(item(value=True)), "1 for a success"),
        (body(item(value="1")), "must be a number"),
        (body(item(value=1e10)), "between"),
        (body(item(more=1)), "expected objects such as"),
    ],
)
def test_what_is_no_feedback(wrong: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as refusal:
        parse(wrong)
    assert refusal.value.status == 400
    assert "\n" not in refusal.value.message


def test_one_bad_item_counts_nothing_of_the_rest() -> None:
    feedback = Feedback("main", "sha256:" + "0" * 64)
    with pytest.raises(Refused):
        feedback.take(body(item(1), item(2, value="x")))
    assert sums(feedback) == {}
    assert feedback.take(body(item(1), item(2))) == 2


def test_feedback_is_counted_for_the_variant_that_answered() -> None:
    feedback = Feedback("main", "sha256:" + "0" * 64)
    assert feedback.own == "main.00000000"
    feedback.take(body(item(1), item(2, value=0), item(3, "main.00000000"), item(4, value=-2)))
    assert sums(feedback) == {
        ("clicked", ABOUT): (3, -1.0, 5.0, 2, 1.0),
        ("clicked", "main.00000000"): (1, 1.0, 1.0, 1, 1.0),
    }  # fmt: skip


def test_a_request_counts_once_for_each_name() -> None:
    feedback = Feedback("main", "")
    assert feedback.take(body(item(1), item(1), item(1, name="bought"))) == 2
    assert feedback.take(body(item(1), item(1, name="bought"), item(2))) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "REMEMBERED", 1 << 8)
    feedback = Feedback("main", "")
    size = sys.getsizeof(feedback._seen._marks)
    for start in range(0, 100_000, 1000):
        feedback.take(body(*(item(start + number) for number in range(1000))))
    assert sys.getsizeof(feedback._seen._marks) == size
    # What came long ago is forgotten, what came last is not.
    assert feedback.take(body(item(99_999))) == 0
    assert feedback.take(body(*(item(number) for number in range(1000)))) > 900
    for number in range(MAX_SERIES - 1):
        feedback.take(body(item(name=f"n{number}")))
    with pytest.raises(Refused, match="use fewer"):
        feedback.take(body(item(name="more")))
    assert feedback.take(body(item(100_001))) == 1
