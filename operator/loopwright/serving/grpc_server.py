"""The Open Inference Protocol over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import numpy as np

from loopwright.api.serving import FEEDBACK_ID
from loopwright.serving import open_inference_pb2 as messages
from loopwright.serving.errors import Refused
from loopwright.serving.service import REQUEST_ID, Service, request_id
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import (
    DATATYPES,
    TOO_LARGE,
    Array,
    Tensor,
    decoded,
    size_of,
    to_bytes,
)

NAME: Final = "inference.GRPCInferenceService"
# Which field of InferTensorContents holds a datatype's values; FP16 travels as raw bytes alone.
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}

Context = Any
Call = Callable[[Any, Context], Awaitable[Any]]


class GrpcServer:
    """Serves one model on a port."""

    def __init__(self, service: Service) -> None:
        self._service = service
        limit = service.settings.max_body_bytes
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        calls = (
            self.ServerLive, self.ServerReady, self.ServerMetadata,
            self.ModelReady, self.ModelMetadata, self.ModelInfer,
        )  # fmt: skip
        handlers = {call.__name__: _handler(call) for call in calls}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(NAME, handlers),)
        )

    async def start(self, host: str, port: int) -> int:
        """Begins to serve; returns the port, which the system chooses if it is 0.

        Raises:
            RuntimeError: the port is taken.
        """
        port = self._server.add_insecure_port(f"{host}:{port}")
        await self._server.start()
        return int(port)

    async def stop(self, seconds: float) -> None:
        """Takes no more calls, and gives those in work this long."""
        await self._server.stop(seconds)

    async def ServerLive(self, _: Any, __: Context) -> Any:  # noqa: N802 (the protocol's name)
        """Whether the process runs."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, _: Any, __: Context) -> Any:  # noqa: N802
        """Whether requests should come here."""
        return messages.ServerReadyResponse(ready=self._service.ready)

    async def ServerMetadata(self, _: Any, __: Context) -> Any:  # noqa: N802
        """Name and version of the server."""
        return messages.ServerMetadataResponse(**self._service.metadata())

    async def ModelReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Whether the model can be asked."""
        await self._check_model(request, context)
        return messages.ModelReadyResponse(ready=self._service.ready)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """The model's signature."""
        await self._check_model(request, context)
        return messages.ModelMetadataResponse(**self._service.model.metadata())

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Predicts."""
        given = dict(context.invocation_metadata() or ()).get(REQUEST_ID)
        id = request_id(given if isinstance(given, str) else None)
        taken = self._service.taken(id, "grpc")
        code, answer = await self._service.answer("grpc", id, lambda: self._infer(request, id))
        feedback = self._service.feedback.id(id)
        context.set_trailing_metadata(((REQUEST_ID, id), (FEEDBACK_ID, feedback)))
        if taken is not None:
            taken.called(request, code, answer)
        if isinstance(answer, str):
            await context.abort(_CODES.get(code, grpc.StatusCode.UNKNOWN), answer)
        return answer

    async def _infer(self, request: Any, id: str) -> Any:
        service, model = self._service, self._service.model
        service.check_model(request.model_name, request.model_version)
        wanted = [model.signature.output(one.name) for one in request.outputs]
        outputs = list(dict.fromkeys(wanted)) or list(model.signature.outputs)
        size = request.ByteSize()
        inputs = await service.direct.apart(size, decode, model.signature, request)
        arrays = await service.runner.run(inputs, outputs)
        raw = bool(request.raw_input_contents) or any(one.dtype == np.float16 for one in arrays)
        size = sum(one.nbytes for one in arrays)
        answer = await service.direct.apart(size, encode, outputs, arrays, raw)
        answer.model_name, answer.model_version = model.name, model.version
        answer.id = request.id or id
        return answer

    async def _check_model(self, request: Any, context: Context) -> None:
        try:
            self._service.check_model(request.name, request.version)
        except Refused as refusal:
            await context.abort(grpc.StatusCode.NOT_FOUND, refusal.message)


def decode(signature: Signature, request: Any) -> dict[str, Array]:
    """The model's inputs in a ModelInferRequest.

    Raises:
        Refused: they are not there.
    """
    signature.check_names([one.name for one in request.inputs])
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refused(f"there are {len(raw)} raw_input_contents for {len(request.inputs)} inputs")
    arrays = {}
    for index, one in enumerate(request.inputs):
        tensor, shape = signature.inputs[one.name], list(one.shape)
        if one.datatype != tensor.datatype:
            raise tensor.refuse(f"its datatype is {one.datatype!r}"[:200])
        if any(size < 0 for size in shape) or size_of(shape) >= TOO_LARGE:
            raise tensor.refuse("its shape is no list of sizes")
        if raw:
            if one.HasField("contents"):
                raise tensor.refuse("it has both contents and raw_input_contents")
            arrays[one.name] = tensor.from_bytes(raw[index], shape)
        else:
            arrays[one.name] = tensor.check(_values(tensor, one.contents), shape)
    return arrays


def encode(outputs: Sequence[str], arrays: Sequence[Array], raw: bool) -> Any:
    """The answer, without what it has from the request."""
    answer = messages.ModelInferResponse()
    for name, array in zip(outputs, arrays, strict=True):
        text = array.dtype.kind in "OU"
        datatype = DATATYPES["str" if text else array.dtype.name]
        one = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(to_bytes(array))
        else:
            values = [str(value).encode() for value in array.ravel()] if text else array.ravel()
            getattr(one.contents, _CONTENTS[datatype]).extend(values)
    return answer


def _values(tensor: Tensor, contents: Any) -> Array:
    """Flat values of an input's contents."""
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise tensor.refuse("it must be in raw_input_contents")
    values = getattr(contents, field)
    if tensor.dtype == "str":
        found = np.empty(len(values), dtype=object)
        found[:] = [decoded(tensor, one) for one in values]
        return found
    wide = np.array(values)
    if wide.dtype.kind in "ui":
        tensor.check_range(wide)
    return wide.astype(tensor.dtype)


def _handler(call: Call) -> Any:
    name = call.__name__
    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=getattr(messages, f"{name}Request").FromString,
        response_serializer=getattr(messages, f"{name}Response").SerializeToString,
    )
