"""The Open Inference Protocol over gRPC, on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from model_folders import linear, lookup, same, two_inputs
from onnx import TensorProto

from loopwright.serving import open_inference_pb2 as pb
from loopwright.serving.grpc_server import NAME, GrpcServer

Call = Callable[..., Any]
Dialling = Callable[..., AbstractAsyncContextManager[Call]]


@pytest.fixture
def dialling(calling: Any) -> Dialling:
    """Serves a model; gives a function that calls a method with a request's fields."""

    @asynccontextmanager
    async def dial(content: onnx.ModelProto, **settings: Any) -> AsyncIterator[Call]:
        client = calling(content, **settings)
        server = GrpcServer(client.service)
        port = await server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

            async def call(method: str, **fields: Any) -> Any:
                metadata = fields.pop("metadata", None)
                request = getattr(pb, f"{method}Request")(**fields)
                function = channel.unary_unary(
                    f"/{NAME}/{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=getattr(pb, f"{method}Response").FromString,
                )
                return await function(request, metadata=metadata)

            call.client = client  # type: ignore[attr-defined]
            yield call
        await server.stop(0)

    return dial


def tensor(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    """An input."""
    one = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents:
        one.contents.CopyFrom(pb.InferTensorContents(**contents))
    return one


X = tensor("x", "FP32", [2, 3], fp32_contents=[1, 2, 3, 0.5, 0, 0])


async def test_questions(dialling: Dialling) -> None:
    async with dialling(linear(), model_version="7") as call:
        assert (await call("ServerLive")).live
        assert (await call("ServerReady")).ready
        assert (await call("ServerMetadata")).name == "loopwright"
        assert (await call("ModelReady", name="m")).ready
        found = await call("ModelMetadata", name="m", version="7")
        assert (found.name, list(found.versions)) == ("m", ["7"])
        assert (found.inputs[0].name, list(found.inputs[0].shape)) == ("x", [-1, 3])
        call.client.service.ready = False
        assert not (await call("ServerReady")).ready


async def test_an_inference(dialling: Dialling) -> None:
    async with dialling(linear()) as call:
        found = await call("ModelInfer", model_name="m", id="7", inputs=[X])
        assert (found.model_name, found.id) == ("m", "7")
        [y] = found.outputs
        assert (y.name, y.datatype, list(y.shape)) == ("y", "FP32", [2, 2])
        assert list(y.contents.fp32_contents) == [4.0, 5.0, 0.5, 0.0]
        assert call.client.counted("grpc", 200) == 1


async def test_raw_contents(dialling: Dialling) -> None:
    raw = np.array([1, 2, 3], np.float32).tobytes()
    async with dialling(linear()) as call:
        inputs = [tensor("x", "FP32", [1, 3])]
        found = await call("ModelInfer", model_name="m", inputs=inputs, raw_input_contents=[raw])
        assert np.frombuffer(found.raw_output_contents[0], np.float32).tolist() == [4.0, 5.0]
        assert not found.outputs[0].HasField("contents")


@pytest.mark.parametrize(
    ("kind", "datatype", "field", "values"),
    [
        (TensorProto.BOOL, "BOOL", "bool_contents", [True, False]),
        (TensorProto.INT8, "INT8", "int_contents", [-128, 127]),
        (TensorProto.INT64, "INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        (TensorProto.UINT16, "UINT16", "uint_contents", [0, 65535]),
        (TensorProto.UINT64, "UINT64", "uint64_contents", [0, 2**64 - 1]),
        (TensorProto.DOUBLE, "FP64", "fp64_contents", [-1.5, 1e300]),
        (TensorProto.STRING, "BYTES", "bytes_contents", ["grün".encode(), b""]),
    ],
)
async def test_every_field(
    dialling: Dialling, kind: int, datatype: str, field: str, values: list[Any]
) -> None:
    async with dialling(same(kind)) as call:
        inputs = [tensor("x", datatype, [2], **{field: values})]
        found = await call("ModelInfer", model_name="m", inputs=inputs)
        assert list(getattr(found.outputs[0].contents, field)) == values


async def test_half_precision_is_raw(dialling: Dialling) -> None:
    raw = np.array([1.5], np.float16).tobytes()
    async with dialling(same(TensorProto.FLOAT16)) as call:
        inputs = [tensor("x", "FP16", [1])]
        found = await call("ModelInfer", model_name="m", inputs=inputs, raw_input_contents=[raw])
        assert list(found.raw_output_contents) == [raw]
        with pytest.raises(grpc.aio.AioRpcError, match="must be in raw_input_contents"):
            await call("ModelInfer", model_name="m", inputs=inputs)


async def test_one_output(dialling: Dialling) -> None:
    inputs = [tensor("b", "INT8", [1], int_contents=[3]),
              tensor("a", "FP32", [1, 2], fp32_contents=[1, 2])]  # fmt: skip
    async with dialling(two_inputs()) as call:
        wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="twice")]
        found = await call("ModelInfer", model_name="m", inputs=inputs, outputs=wanted)
        assert [(one.name, list(one.contents.int_contents)) for one in found.outputs] == [
            ("twice", [6])
        ]


async def test_request_ids(dialling: Dialling) -> None:
    async with dialling(linear()) as call:
        metadata = (("x-request-id", "abc"),)
        found = await call("ModelInfer", model_name="m", inputs=[X], metadata=metadata)
        assert found.id == "abc"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model_name": "n"}, "there is no model n; this server has m"),
        ({"inputs": []}, "expected inputs x FP32 of shape [-1,3]; found none"),
        ({"inputs": [tensor("z", "FP32", [1, 3])]}, "found z"),
        ({"inputs": [tensor("x", "FP64", [1, 3])]}, "its datatype is 'FP64'"),
        ({"inputs": [tensor("x", "FP32", [-1, 3])]}, "no list of sizes"),
        ({"inputs": [tensor("x", "FP32", [1, 3])]}, "shape [1,3] came with data of [0]"),
        ({"inputs": [tensor("x", "FP32", [1, 3], int_contents=[1, 2, 3])]}, "data of [0]"),
        ({"inputs": [tensor("x", "FP32", [1, 3], fp32_contents=[1, 2, np.nan])]}, "not finite"),
        ({"raw_input_contents": [b"", b""]}, "2 raw_input_contents for 1 inputs"),
        ({"raw_input_contents": [b"abcd"]}, "both contents and raw_input_contents"),
        (
            {"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name="z")]},
            "no output 'z'; there are y",
        ),
    ],
)
async def test_what_is_wrong_is_told(dialling: Dialling, fields: dict[str, Any], told: str) -> None:
    async with dialling(linear()) as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("ModelInfer", **{"model_name": "m", "inputs": [X], **fields})
        code, status = (404, "NOT_FOUND") if "model_name" in fields else (400, "INVALID_ARGUMENT")
        assert told in caught.value.details()
        assert caught.value.code().name == status
        assert call.client.counted("grpc", code) == 1


async def test_whole_numbers_are_not_made_to_fit(dialling: Dialling) -> None:
    async with dialling(same(TensorProto.INT8)) as call:
        with pytest.raises(grpc.aio.AioRpcError, match="a value is out of range"):
            inputs = [tensor("x", "INT8", [1], int_contents=[128])]
            await call("ModelInfer", model_name="m", inputs=inputs)


async def test_inputs_that_only_the_model_can_refuse(dialling: Dialling) -> None:
    async with dialling(lookup()) as call:
        with pytest.raises(grpc.aio.AioRpcError, match="cannot take these inputs") as caught:
            inputs = [tensor("i", "INT64", [1], int64_contents=[4])]
            await call("ModelInfer", model_name="m", inputs=inputs)
        assert caught.value.code().name == "INVALID_ARGUMENT"


async def test_other_models_are_not_ready(dialling: Dialling) -> None:
    async with dialling(linear()) as call:
        for method in ("ModelReady", "ModelMetadata"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(method, name="n")
            assert caught.value.code().name == "NOT_FOUND"


async def test_requests_that_are_too_large(dialling: Dialling) -> None:
    async with dialling(linear(), max_body_bytes=100) as call:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call("ModelInfer", model_name="m", id="x" * 200, inputs=[X])
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"
