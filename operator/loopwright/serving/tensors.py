"""Named tensors: what a model takes and gives, and the checks that every request passes.

Values come as JSON, as raw bytes or as numpy arrays; they become the arrays that the model's
signature promises, or a refusal that says what was expected. numpy alone would turn "1" into 1.0,
1.5 into 1 and true into 1.0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loopwright.serving.errors import Refused

Array = NDArray[Any]

# numpy's name, that of the Open Inference Protocol, and ONNX's.
_TYPES: Final = (
    ("bool", "BOOL", "bool"),
    ("uint8", "UINT8", "uint8"),
    ("uint16", "UINT16", "uint16"),
    ("uint32", "UINT32", "uint32"),
    ("uint64", "UINT64", "uint64"),
    ("int8", "INT8", "int8"),
    ("int16", "INT16", "int16"),
    ("int32", "INT32", "int32"),
    ("int64", "INT64", "int64"),
    ("float16", "FP16", "float16"),
    ("float32", "FP32", "float"),
    ("float64", "FP64", "double"),
    ("str", "BYTES", "string"),
)
DATATYPES: Final = {name: datatype for name, datatype, _ in _TYPES}
FROM_ONNX: Final = {f"tensor({onnx})": name for name, _, onnx in _TYPES}
# Which kinds of JSON numbers, as numpy infers them, may become which kind of tensor.
_ACCEPTED: Final = {"b": "b", "u": "ui", "i": "ui", "f": "fui"}
# As numpy.
MAX_DIMENSIONS: Final = 64
# Of values: ONNX and numpy agree on 64 bits.
TOO_LARGE: Final = 2**63


@dataclass(frozen=True)
class Tensor:
    """A named tensor of a signature."""

    name: str
    dtype: str
    """numpy's name."""
    shape: tuple[int, ...]
    """Sizes; -1 where any will do."""
    missing: bool = False
    """Whether NaN may stand for a missing value."""

    @property
    def datatype(self) -> str:
        """The protocol's name of the element type."""
        return DATATYPES[self.dtype]

    @property
    def batched(self) -> bool:
        """Whether its first dimension is that of the rows of a batch."""
        return bool(self.shape) and self.shape[0] == -1

    def __str__(self) -> str:
        return f"{self.datatype} of shape [{','.join(map(str, self.shape))}]"

    def refuse(self, what: str) -> Refused:
        """A refusal that says what is expected instead."""
        return Refused(f"input {self.name}: {what}; expected {self}")

    def from_json(self, data: Any, shape: Sequence[int] | None = None) -> Array:
        """The tensor of JSON data: nested lists, or flat ones with a shape beside them.

        Raises:
            Refused: it is none.
        """
        if self.dtype == "str":
            return self.check(self._strings(data), shape)
        if _has_text(data):
            raise self.refuse("its values are text")
        try:
            found = np.array(data)
        except (ValueError, OverflowError) as error:
            raise self.refuse("its rows differ in length or are not numbers") from error
        if found.dtype.kind == "O" and self.missing and self.dtype.startswith("float"):
            found = self._with_missing(data)
        if found.dtype.kind == "f" and self.dtype == "uint64":
            found = _large(data, found)
        return self.from_array(found, shape)

    def from_array(self, found: Array, shape: Sequence[int] | None = None) -> Array:
        """The tensor of an array whose type may be another, as long as no value changes its kind.

        Raises:
            Refused: it is none.
        """
        if self.dtype == "str":
            return self.check(self._strings(found), shape)
        wanted = np.dtype(self.dtype)
        if found.dtype.kind not in _ACCEPTED[wanted.kind]:
            raise self.refuse(f"its values are {_kind(found)}")
        if found.dtype == wanted:
            return self.check(found, shape)
        if wanted.kind in "ui":
            self.check_range(found)
        with np.errstate(over="ignore"):
            return self.check(found.astype(wanted), shape)

    def from_bytes(self, data: bytes | memoryview, shape: Sequence[int]) -> Array:
        """The tensor of its raw little-endian bytes; text has its length in four bytes before it.

        Raises:
            Refused: it is none.
        """
        if self.dtype == "str":
            return self.check(self._texts(data), shape)
        if isinstance(data, memoryview) and memoryview(data.obj).nbytes > 2 * data.nbytes:
            # An array keeps alive all that it is a view of, however little of that it shows.
            data = bytes(data)
        wanted = np.dtype(self.dtype).newbyteorder("<")
        if len(data) % wanted.itemsize:
            raise self.refuse(f"{len(data)} bytes are no whole number of values")
        found = np.frombuffer(data, wanted)
        if self.dtype == "bool" and (found.view(np.uint8) > 1).any():
            raise self.refuse("a byte is neither 0 nor 1")
        return self.check(found, shape)

    def check(self, found: Array, shape: Sequence[int] | None = None) -> Array:
        """The array in the shape that came with it, if that is the signature's, and all finite.

        Raises:
            Refused: it is not.
        """
        if shape is not None and found.shape != tuple(shape):
            if found.ndim != 1 or found.size != size_of(shape):
                raise self.refuse(f"shape {_text(shape)} came with data of {_text(found.shape)}")
            found = found.reshape(tuple(shape))
        if len(found.shape) != len(self.shape) or any(
            size != wanted != -1 for size, wanted in zip(found.shape, self.shape, strict=True)
        ):
            raise self.refuse(f"its shape is {_text(found.shape)}")
        if not found.size:
            raise self.refuse(f"its shape {_text(found.shape)} has no values")
        if found.dtype.kind == "f" and not self._finite(found):
            raise self.refuse("a number is not finite, or missing")
        return found

    def check_range(self, found: Array) -> None:
        """Whether whole numbers fit into the tensor's element type.

        Raises:
            Refused: one does not.
        """
        limits = np.iinfo(self.dtype)
        if found.size and (int(found.min()) < limits.min or int(found.max()) > limits.max):
            raise self.refuse("a value is out of range")

    def _finite(self, found: Array) -> bool:
        return not np.isinf(found).any() if self.missing else bool(np.isfinite(found).all())

    def _strings(self, data: Any) -> Array:
        found = np.array(data, dtype=object)
        if not all(isinstance(one, str) for one in found.ravel()):
            raise self.refuse("its values are not all text, or its rows differ in length")
        return found

    def _texts(self, data: bytes | memoryview) -> Array:
        texts, at, whole = [], 0, bytes(data)
        while at < len(whole):
            if at + 4 > len(whole):
                raise self.refuse("a text's length is cut off")
            (length,) = struct.unpack_from("<I", whole, at)
            if at + 4 + length > len(whole):
                raise self.refuse("a text is cut off")
            texts.append(decoded(self, whole[at + 4 : at + 4 + length]))
            at += 4 + length
        # Filled afterwards: numpy would make of equally long texts what it likes.
        found = np.empty(len(texts), dtype=object)
        found[:] = texts
        return found

    def _with_missing(self, data: Any) -> Array:
        try:
            found = np.array(data, dtype=object)
            if not all(one is None or type(one) in (int, float) for one in found.ravel()):
                return found
            return found.astype(np.float64)
        except (ValueError, OverflowError, TypeError) as error:
            raise self.refuse("its rows differ in length or are not numbers") from error


def _has_text(data: Any) -> bool:
    """Whether a text is among the values. numpy would give each as much room as the longest."""
    level = data if isinstance(data, list) else [data]
    while list in (kinds := set(map(type, level))):
        if len(kinds) > 1:
            return False  # Of different depths, which numpy refuses.
        level = list(chain.from_iterable(level))
    return str in kinds


def _large(data: Any, found: Array) -> Array:
    """Whole numbers of more than 63 bits beside smaller ones; numpy takes those for float64."""
    exact = np.array(data, dtype=object)
    return exact.astype(np.uint64) if all(_is_uint64(one) for one in exact.ravel()) else found


def _is_uint64(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**64


def decoded(tensor: Tensor, data: bytes) -> str:
    """Text of a BYTES tensor.

    Raises:
        Refused: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise tensor.refuse("a text is not UTF-8") from error


def size_of(shape: Sequence[int]) -> int:
    """Number of values; exact, where numpy's integers could overflow. Of more dimensions than any
    array has it is too large: multiplying a million of them takes hours."""
    if len(shape) > MAX_DIMENSIONS:
        return TOO_LARGE
    size = 1
    for one in shape:
        size *= one
    return size


def to_bytes(array: Array) -> bytes:
    """Raw little-endian bytes."""
    if array.dtype.kind in "OU":
        parts = [str(one).encode() for one in array.ravel()]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def to_json(array: Array) -> Any:
    """What orjson can write; numbers that JSON does not know become null there."""
    return array.tolist() if array.dtype.kind in "OU" else np.ascontiguousarray(array)


def _kind(found: Array) -> str:
    kinds = {
        "b": "booleans",
        "U": "text",
        "O": "of several kinds",
        "f": "not whole numbers of its size",
    }
    return kinds.get(found.dtype.kind, "of another type")


def _text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
