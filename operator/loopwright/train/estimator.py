"""Turns fitted scikit-learn estimators into ONNX."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from loopwright.api.model import Signature, TensorSpec


def is_estimator(model: Any) -> bool:
    """Whether it is one of scikit-learn's, which whoever has one has imported."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(model, base.BaseEstimator)


def export_estimator(model: Any, examples: Any, path: Path, input_name: str) -> Signature:
    """Writes an estimator or pipeline to an ONNX file, and tells its signature.

    A classifier gives `label` and `probabilities`; what gives one thing gives `output`.

    Args:
        examples: Rows as it was fitted with: an array, whose numbers become float32, or a data
            frame, each of whose columns becomes an input of shape (-1, 1).

    Raises:
        RuntimeError: skl2onnx has no converter for it, or for a part of it.
    """
    from skl2onnx import to_onnx
    from sklearn.base import is_classifier

    rows: dict[str, Any] = {}
    if hasattr(examples, "columns"):
        rows["X"] = examples[:1]
    else:
        rows["initial_types"] = [(input_name, _tensor_type(np.asarray(examples)))]
    # Otherwise probabilities become a list of maps, which no tensor protocol knows.
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    content = to_onnx(model, options=options, **rows)
    if len(content.graph.output) == 1 and hasattr(model, "predict"):
        _finish(content.graph, np.ndim(model.predict(examples[:1])))
    path.write_bytes(content.SerializeToString())
    graph = content.graph
    return Signature(inputs=_specs(graph.input), outputs=_specs(graph.output))


def _tensor_type(examples: Any) -> Any:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kind = StringTensorType if examples.dtype.kind in "OU" else FloatTensorType
    return kind([None, *examples.shape[1:]])


def _finish(graph: Any, dimensions: int) -> None:
    """Gives the only output its name, and one number a row where the estimator does so."""
    from onnx import TensorProto, helper

    [before] = graph.output
    if dimensions == len(before.type.tensor_type.shape.dim):
        graph.node.append(helper.make_node("Identity", [before.name], ["output"]))
    else:
        axis = helper.make_tensor("loopwright_last", TensorProto.INT64, [1], [-1])
        graph.initializer.append(axis)
        graph.node.append(helper.make_node("Squeeze", [before.name, axis.name], ["output"]))
        del before.type.tensor_type.shape.dim[-1]
    before.name = "output"


def _specs(values: Iterable[Any]) -> list[TensorSpec]:
    from onnx import helper

    found = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        # Text is what object arrays stand for here.
        name = "str" if dtype.kind in "OU" else dtype.name
        shape = [dimension.dim_value or -1 for dimension in tensor.shape.dim]
        found.append(TensorSpec(name=value.name, dtype=name, shape=shape))
    return found
