"""The Open Inference Protocol over REST, with its extension for binary tensors.

A binary request is JSON of as many bytes as the header Inference-Header-Content-Length says,
followed by the raw bytes of those inputs that have a parameter `binary_data_size`, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from loopwright.serving.errors import Refused
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import (
    DATATYPES,
    TOO_LARGE,
    Array,
    Tensor,
    size_of,
    to_bytes,
    to_json,
)
from loopwright.serving.v1 import parsed


@dataclass(frozen=True)
class InferRequest:
    """A decoded request."""

    inputs: Mapping[str, Array]
    id: str | None
    outputs: Sequence[str]
    """Names of those that are wanted, in order."""
    binary: frozenset[str]
    """Of those, the ones to send as raw bytes."""


def decode(signature: Signature, body: bytes, json_length: int | None) -> InferRequest:
    """The request in a body.

    Args:
        json_length: Bytes of JSON at its beginning; the rest is raw. None: all.

    Raises:
        Refused: it is none for this model.
    """
    if json_length is None:
        found, raw = parsed(body), memoryview(b"")
    elif 0 <= json_length <= len(body):
        whole = memoryview(body)
        found, raw = parsed(whole[:json_length]), whole[json_length:]
    else:
        raise Refused("Inference-Header-Content-Length is more than the body has")
    inputs = found.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise Refused(f'expected {{"inputs": [...]}} with {signature}')
    signature.check_names([str(one.get("name")) for one in inputs])
    arrays, at = {}, 0
    for one in inputs:
        tensor = signature.inputs[str(one.get("name"))]
        size = _parameters(one).get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _input(tensor, one)
            continue
        if type(size) is not int or not 0 <= size <= len(raw) - at:
            raise tensor.refuse(f"binary_data_size is {size!r}, and {len(raw) - at} bytes are left")
        arrays[tensor.name] = tensor.from_bytes(raw[at : at + size], shape_of(tensor, one))
        at += size
    if at != len(raw):
        raise Refused(f"{len(raw) - at} bytes are left after all inputs with binary_data_size")
    outputs, binary = _outputs(signature, found)
    return InferRequest(arrays, _id(found), outputs, binary)


def encode(
    name: str, version: str, request: InferRequest, arrays: Sequence[Array], id: str
) -> tuple[bytes, int | None]:
    """The answer, and how many bytes of it are JSON when raw ones follow.

    Args:
        id: Of the answer, if the request's body has none.
    """
    outputs: list[dict[str, Any]] = []
    raw = []
    for output, array in zip(request.outputs, arrays, strict=True):
        kind = "str" if array.dtype.kind in "OU" else array.dtype.name
        one: dict[str, Any] = {
            "name": output,
            "shape": array.shape,
            "datatype": DATATYPES[kind],
        }
        if output in request.binary:
            raw.append(to_bytes(array))
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = to_json(array.ravel())
        outputs.append(one)
    answer: dict[str, Any] = {"model_name": name, "id": request.id or id, "outputs": outputs}
    if version:
        answer["model_version"] = version
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *raw]), len(text)) if raw else (text, None)


def shape_of(tensor: Tensor, found: Mapping[str, Any]) -> list[int]:
    """The shape that an input says it has.

    Raises:
        Refused: it says none, or another datatype than the model's.
    """
    shape, datatype = found.get("shape"), found.get("datatype")
    if datatype != tensor.datatype:
        raise tensor.refuse(f"its datatype is {datatype!r}"[:200])
    if not isinstance(shape, list) or not all(type(one) is int and one >= 0 for one in shape):
        raise tensor.refuse("its shape is no list of whole numbers")
    if size_of(shape) >= TOO_LARGE:
        raise tensor.refuse("its shape is too large")
    return shape


def _input(tensor: Tensor, found: Mapping[str, Any]) -> Array:
    shape = shape_of(tensor, found)
    if not isinstance(data := found.get("data"), list):
        raise tensor.refuse("its data is no list")
    return tensor.from_json(data, shape)


def _outputs(signature: Signature, found: Mapping[str, Any]) -> tuple[list[str], frozenset[str]]:
    """The outputs that are wanted, and those of them that are wanted as raw bytes."""
    every = _parameters(found).get("binary_data_output") is True
    wanted = found.get("outputs")
    if not wanted:
        names = list(signature.outputs)
        return names, frozenset(names if every else ())
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise Refused(f"expected outputs to be a list of objects that name {signature.outputs}")
    names = [signature.output(one.get("name")) for one in wanted]
    if len(set(names)) < len(names):
        raise Refused("an output is asked for twice")
    binary = [
        name
        for name, one in zip(names, wanted, strict=True)
        if _parameters(one).get("binary_data", every) is True
    ]
    return names, frozenset(binary)


def _parameters(found: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = found.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refused("expected parameters to be an object")
    return parameters


def _id(found: Mapping[str, Any]) -> str | None:
    id = found.get("id")
    if id is not None and not isinstance(id, str):
        raise Refused("expected id to be text")
    return id or None
