"""Runs the model: the model server's own predictor, a class of the user's image, or an endpoint."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopwright.api.baseline import Baseline
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform_status import BatchModel
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.batch import remote
from loopwright.runtime.batch.records import Array, Bad, Block, Columns, Images, Objects
from loopwright.runtime.errors import RunError, wrong
from loopwright.runtime.prestop import WORK
from loopwright.runtime.storage import Folder
from loopwright.serving import loading
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.model import Model
from loopwright.serving.settings import Settings
from loopwright.serving.tensors import Tensor

Feeds = Mapping[str, Array]

# A storage that fails may well work the next time; all else stays as it is.
_MAY_PASS: Final = ("StorageFailed",)


class Predictor(Protocol):
    """What predicts, in one process."""

    digest: str
    """Of the model.json that was verified; empty without one."""
    tensor: Tensor | None
    """The model's only input, if it has only one and a signature."""
    baseline: Baseline | None
    """What its training data looked like."""
    answered: set[str]
    """Which models of an endpoint have answered; who reads them may empty it."""

    def lacks(self, names: Sequence[str]) -> str:
        """What columns of these names do not have that the model needs; empty when nothing."""

    def feeds(self, block: Block) -> Feeds:
        """The model's inputs.

        Raises:
            Bad: a record does not fit.
        """

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Results by name, a row for each record.

        Raises:
            Bad: the model fails on a record.
        """


class ModelFolder:
    """A model directory as the model server's loader reads it."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self.uri = folder, folder.uri

    def read(self, name: str) -> bytes | None:
        """A file's content."""
        return self._folder.read(name)

    def names(self) -> list[str]:
        """Files directly in it."""
        return [name for name in self._folder.files() if "/" not in name]


def load(config: BatchConfig, threads: int = 1) -> Predictor:
    """The job's model, verified and warm.

    Args:
        threads: That one prediction may use.

    Raises:
        RunError: it cannot be used.
    """
    if config.endpoint is not None:
        return OnnxPredictor(remote.RemoteModel(config.endpoint, remote.concurrent(config)))
    model = model_of(config)
    source = ModelFolder(Folder(model.uri, model.secret))
    try:
        if config.spec.predictor is not None:
            return _by_class(config, model, source)
        settings = Settings(
            model_name=config.name,
            model_digest=model.digest or "",
            intra_op_threads=threads,
        )
        return OnnxPredictor(loading.load_from(settings, source))
    except CannotServe as error:
        passing = error.reason in _MAY_PASS
        cause = Cause.INFRASTRUCTURE if passing else Cause.APPLICATION
        raise RunError(error.reason, error.message, cause, permanent=not passing) from error


def model_of(config: BatchConfig) -> BatchModel:
    """The model of a job that has one.

    Raises:
        RunError: the operator has handed over neither a model nor an endpoint.
    """
    if config.model is None:
        raise wrong("ModelNotFound", "the operator names neither a model nor an endpoint")
    return config.model


class OnnxPredictor:
    """A verified ONNX model, or an endpoint that is asked like one."""

    def __init__(self, model: Model | remote.RemoteModel) -> None:
        self.answered = model.answered if isinstance(model, remote.RemoteModel) else set[str]()
        self._model, self.digest, self.baseline = model, model.digest, model.baseline
        self._inputs, self._outputs = model.signature.inputs, list(model.signature.outputs)
        only = list(self._inputs.values())
        self.tensor = only[0] if len(only) == 1 else None

    def lacks(self, names: Sequence[str]) -> str:
        """Inputs without a column; columns in order make the rows of a model's only input."""
        missing = [name for name in self._inputs if name not in names]
        if not missing:
            return ""
        if self.tensor is None:
            return f"the model needs columns {', '.join(self._inputs)}; missing: {missing[0]}"
        width = math.prod(self.tensor.shape[1:])
        if len(names) == width or -1 in self.tensor.shape[1:]:
            return ""
        return (
            f"the model takes {self.tensor} as {missing[0]}: name a column so, or have"
            f" {abs(width)} columns; there are {len(names)}; dataProcessing.inputFilter chooses"
        )

    def feeds(self, block: Block) -> Feeds:
        """By name, or all columns in order for a model with only one input."""
        try:
            if isinstance(block, Images):
                assert self.tensor is not None
                return {self.tensor.name: self.tensor.from_array(np.stack(block.pixels))}
            if isinstance(block, Columns):
                return self._of_columns(block)
            return self._of_objects(block.rows())
        except Refused as error:
            raise Bad("WrongType", error.message) from error
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise Bad("WrongType", str(error)) from error

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs."""
        try:
            found = self._model.run(feeds, self._outputs)
        except (MemoryError, RunError):
            raise
        except Exception as error:
            # onnxruntime has no class for "this row".
            raise Bad("ModelError", str(error)) from error
        return dict(zip(self._outputs, found, strict=True))

    def _of_columns(self, block: Columns) -> Feeds:
        names = block.names()
        if lacking := self.lacks(names):
            raise Bad("MissingColumn", lacking)
        table = block.columns
        if all(name in names for name in self._inputs):
            return {
                name: _tensor(one, table.column(name), block.text)
                for name, one in self._inputs.items()
            }
        one = self.tensor
        assert one is not None
        kind = object if one.dtype == "str" else one.dtype
        found = np.empty((table.num_rows, len(names)), kind)
        single = Tensor(one.name, one.dtype, (-1,), one.missing)
        for index, column in enumerate(table.columns):
            found[:, index] = _tensor(single, column, block.text)
        return {one.name: one.from_array(found.reshape(_shape(one, found)))}

    def _of_objects(self, rows: Sequence[Any]) -> Feeds:
        if not isinstance(rows[0], dict):
            if self.tensor is None:
                raise Bad(
                    "MissingColumn", f"the model needs an object with {', '.join(self._inputs)}"
                )
            return {self.tensor.name: _from_json(self.tensor, rows)}
        for row in rows:
            if not isinstance(row, dict):
                raise Bad("WrongType", "the record is no JSON object, as the others are")
            if lacking := self.lacks(list(row)):
                raise Bad("MissingColumn", lacking)
        if all(name in row for row in rows for name in self._inputs):
            return {n: _from_json(one, [r[n] for r in rows]) for n, one in self._inputs.items()}
        if any(name in row for row in rows for name in self._inputs):
            raise Bad("MissingColumn", "only some of the records name the model's input")
        assert self.tensor is not None
        return {self.tensor.name: _from_json(self.tensor, [list(row.values()) for row in rows])}


def _shape(tensor: Tensor, found: Array) -> tuple[int, ...]:
    rest = tensor.shape[1:]
    fixed = -1 not in rest and math.prod(rest) == found[0].size if len(found) else False
    return (len(found), *rest) if fixed else found.shape


def _from_json(tensor: Tensor, values: list[Any] | Sequence[Any]) -> Array:
    # A number for a row of one, as the model server takes it.
    flat = values and not isinstance(values[0], list)
    shape = (len(values), 1) if flat and tensor.shape[1:] == (1,) else None
    return tensor.from_json(list(values), shape)


def _tensor(tensor: Tensor, column: pa.ChunkedArray, text: bool) -> Array:
    """A column as the model takes it."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    rows = len(array)
    if text and tensor.dtype != "str":
        array = _numbers(tensor, array)
    while (
        pa.types.is_list(array.type)
        or pa.types.is_large_list(array.type)
        or (pa.types.is_fixed_size_list(array.type))
    ):
        if array.null_count:
            raise Bad("WrongType", f"input {tensor.name}: a value is missing")
        lengths = pc.list_value_length(array)
        if rows and pc.min(lengths) != pc.max(lengths):
            raise Bad("WrongType", f"input {tensor.name}: its rows differ in length")
        array = array.flatten()
    if array.null_count and not (tensor.missing and pa.types.is_floating(array.type)):
        raise Bad("WrongType", f"input {tensor.name}: a value is missing")
    found = array.to_numpy(zero_copy_only=False)
    if len(found) != rows or len(tensor.shape) > 1:
        found = found.reshape(_shape(tensor, found.reshape(rows, -1)))
    return tensor.from_array(found)


def _numbers(tensor: Tensor, array: pa.Array) -> pa.Array:
    """Text as numbers; an empty field is a missing value."""
    trimmed = pc.utf8_trim_whitespace(array)
    known = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    kind = {"f": pa.float64(), "b": pa.bool_(), "i": pa.int64(), "u": pa.uint64()}
    try:
        return pc.cast(known, kind[np.dtype(tensor.dtype).kind])
    except pa.ArrowInvalid as error:
        raise Bad("WrongType", f"input {tensor.name}: {error}") from error


def _by_class(config: BatchConfig, model: BatchModel, source: ModelFolder) -> Predictor:
    verified = loading.verify(source, model.digest or "")
    if verified is None:
        raise wrong("ModelNotFound", f"{source.uri} has no model.json; check the model")
    # One process of a pod may still write what another has loaded; the bytes are the same.
    folder = WORK / "models" / verified.digest.removeprefix("sha256:")[:16]
    for path, content in verified.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.stat().st_size != len(content):
            target.write_bytes(content)
    assert config.spec.predictor is not None
    module, _, name = config.spec.predictor.class_.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(folder)
    except Exception as error:
        text = f"predictor.class {module}:{name}: {type(error).__name__}: {error}"
        raise RunError("PredictorFailed", text) from error
    return ClassPredictor(made, verified.digest)


class ClassPredictor:
    """A class of the user's image."""

    def __init__(self, made: Any, digest: str) -> None:
        self._made, self.digest = made, digest
        self.tensor: Tensor | None = None
        self.baseline: Baseline | None = None
        self.answered: set[str] = set()

    def lacks(self, names: Sequence[str]) -> str:
        """Nobody knows what it needs."""
        return ""

    def feeds(self, block: Block) -> Feeds:
        """All columns."""
        if isinstance(block, Images):
            files = np.asarray(block.files, object)
            return {"file": files, "image": _objects(block.pixels)}
        if isinstance(block, Objects):
            return _by_key(block.rows())
        return {
            name: _plain(column)
            for name, column in zip(block.names() or [], block.table().columns, strict=True)
        }

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """What its method predict returns."""
        rows = len(next(iter(feeds.values())))
        try:
            found = {
                name: np.asarray(value) for name, value in self._made.predict(dict(feeds)).items()
            }
        except Exception as error:
            raise Bad("ModelError", f"{type(error).__name__}: {error}") from error
        if not found or any(not array.ndim or len(array) != rows for array in found.values()):
            raise Bad("ModelError", f"predict must return a dict of arrays with {rows} rows")
        return found


def _by_key(rows: Sequence[Any]) -> Feeds:
    if not all(isinstance(row, dict) for row in rows):
        raise Bad("WrongType", "the record is no JSON object, so it has no columns")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise Bad("MissingColumn", "the fields of the record are not those of the others")
    return {name: _column([row[name] for row in rows]) for name in rows[0]}


def _column(values: list[Any]) -> Array:
    try:
        found = np.asarray(values)
    except ValueError:
        return _objects(values)
    return _objects(values) if found.dtype.kind == "U" else found


def _plain(column: Any) -> Array:
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return _column(column.to_pylist())
    found: Array = column.to_numpy()
    return found


def _objects(values: Sequence[Any]) -> Array:
    # Filled afterwards: numpy would make one array of images of the same size.
    found = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        found[index] = value
    return found
