"""KServe's v1 protocol: `{"instances": [...]}` becomes `{"predictions": [...]}`.

An instance is a row of the model's only input, or an object with one row for each input.
Predictions are the rows of the model's first output, as KServe's own servers give a classifier's
labels; whoever wants the probabilities beside them asks for them by name through v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from loopwright.serving.errors import Refused
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import Array, Tensor, to_json


def decode(signature: Signature, body: bytes) -> dict[str, Array]:
    """The model's inputs.

    Raises:
        Refused: the body does not hold them.
    """
    found = parsed(body)
    rows = found.get("instances", found.get("inputs"))
    if isinstance(rows, dict) and "instances" not in found:
        columns = rows
    elif not isinstance(rows, list):
        raise Refused(f'expected {{"instances": [...]}} with rows of {signature}')
    elif rows and isinstance(rows[0], dict):
        columns = _columns(signature, rows)
    elif len(signature.inputs) > 1:
        raise Refused(f"expected instances to be objects with one row for each of {signature}")
    else:
        columns = {name: rows for name in signature.inputs}
    signature.check_names(columns)
    return {
        name: one.from_json(columns[name], _shape(one, columns[name]))
        for name, one in signature.inputs.items()
    }


def encode(outputs: Sequence[Array]) -> bytes:
    """The answer."""
    return orjson.dumps({"predictions": to_json(outputs[0])}, option=orjson.OPT_SERIALIZE_NUMPY)


def parsed(body: bytes | memoryview) -> Mapping[str, Any]:
    """The JSON object of a body.

    Raises:
        Refused: it is none.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"expected JSON, which has no NaN or Infinity: {error}") from error
    if not isinstance(found, dict):
        raise Refused("expected a JSON object")
    return found


def _shape(tensor: Tensor, column: Any) -> tuple[int, int] | None:
    """Lets one number stand for a row of one, as in a data frame's columns."""
    flat = isinstance(column, list) and column and not isinstance(column[0], list)
    return (len(column), 1) if flat and tensor.shape[1:] == (1,) else None


def _columns(signature: Signature, rows: Sequence[Any]) -> dict[str, list[Any]]:
    for row in rows:
        if not isinstance(row, dict):
            raise Refused("expected all instances to be objects, as the first is")
        signature.check_names(row)
    return {name: [row[name] for row in rows] for name in signature.inputs}
