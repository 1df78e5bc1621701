"""What is kept of a body: JSON text, whatever it was sent as, without what is to be redacted."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jsonpath
import orjson

JSON: Final = "json"
BINARY: Final = "binary"
"""Of v2: JSON, and then the raw bytes of some tensors."""
GRPC_REQUEST: Final = "grpc-request"
GRPC_RESPONSE: Final = "grpc-response"
REDACTED: Final = "[redacted]"


class Redactor:
    """Turns bodies into text.

    Args:
        paths: JSONPaths of what is replaced.

    Raises:
        jsonpath.JSONPathError: one is none.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = [jsonpath.compile(one, strict=True) for one in paths]

    def text(self, kind: str, body: bytes, json_length: int = 0) -> str | None:
        """The body as JSON, in which numbers that JSON does not know are null; None when it cannot
        be read, since then nobody can tell what is in it.

        Args:
            json_length: Bytes of JSON that it begins with, if it is of kind BINARY.
        """
        try:
            if kind == JSON and not self._paths:
                return body.decode()
            found = _READERS[kind](body, json_length)
            for path in self._paths:
                _redact(path, found)
            return orjson.dumps(found).decode()
        except Exception:
            # Whatever it is not, or is too deep for: several libraries have looked at it.
            return None


def _redact(path: Any, found: Any) -> None:
    # All matches first: what is replaced is not looked into any more.
    for match in list(path.finditer(found)):
        match.parent.obj[match.parts[-1]] = REDACTED


def _binary(body: bytes, json_length: int) -> Any:
    found, raw, at = orjson.loads(body[:json_length]), memoryview(body)[json_length:], 0
    for one in (*found.get("inputs", ()), *found.get("outputs", ())):
        size = (one.get("parameters") or {}).pop("binary_data_size", None)
        if size is not None:
            one["data"] = _values(one["datatype"], raw[at : at + size])
            at += size
    return found


def _request(body: bytes, _: int) -> Any:
    from loopwright.serving import open_inference_pb2 as messages

    found = messages.ModelInferRequest.FromString(body)
    return {
        "model_name": found.model_name,
        "id": found.id,
        "inputs": list(_tensors(found.inputs, found.raw_input_contents)),
        "outputs": [{"name": one.name} for one in found.outputs],
    }


def _response(body: bytes, _: int) -> Any:
    from loopwright.serving import open_inference_pb2 as messages

    found = messages.ModelInferResponse.FromString(body)
    return {
        "model_name": found.model_name,
        "id": found.id,
        "outputs": list(_tensors(found.outputs, found.raw_output_contents)),
    }


def _tensors(tensors: Sequence[Any], raw: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    for index, one in enumerate(tensors):
        if raw:
            data = _values(one.datatype, memoryview(raw[index]))
        else:
            # Only one of the fields has values.
            data = [v for _, values in one.contents.ListFields() for v in values]
            data = [v.decode() if isinstance(v, bytes) else v for v in data]
        yield {"name": one.name, "shape": list(one.shape), "datatype": one.datatype, "data": data}


def _values(datatype: str, data: memoryview) -> list[Any]:
    """A tensor's values of its raw bytes: a list, which JSONPaths can look into."""
    if datatype == "BYTES":
        return list(_texts(data))
    # Only here: most bodies are JSON, and numpy is as large as all the rest.
    import numpy as np

    from loopwright.serving.tensors import DATATYPES

    name = next(name for name, known in DATATYPES.items() if known == datatype)
    found: list[Any] = np.frombuffer(data, np.dtype(name).newbyteorder("<")).tolist()
    return found


def _texts(data: memoryview) -> Iterator[str]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield bytes(data[at + 4 : at + 4 + length]).decode()
        at += 4 + length


_READERS: Final[Mapping[str, Any]] = {
    JSON: lambda body, _: orjson.loads(body),
    BINARY: _binary,
    GRPC_REQUEST: _request,
    GRPC_RESPONSE: _response,
}
