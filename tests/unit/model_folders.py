"""Tiny ONNX models, and model directories as training jobs leave them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loopwright.api.baseline import Baseline
from loopwright.api.model import (
    MODEL_FILE,
    Architecture,
    ModelFile,
    ModelLineage,
    ModelManifest,
    Signature,
)

WEIGHTS = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
BATCH = "batch"

Value = tuple[str, int, Sequence[int | str]]
"""Name, element type and shape of an input or output."""


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """A graph of these nodes."""
    made = [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        made,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def linear(batch: int | str = BATCH) -> onnx.ModelProto:
    """x: FP32 [-1,3] to y: FP32 [-1,2], the product with WEIGHTS."""
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, [batch, 3])],
        [("y", TensorProto.FLOAT, [batch, 2])],
        {"w": WEIGHTS},
    )


def two_inputs() -> onnx.ModelProto:
    """a: FP32 [-1,2] and b: INT8 [-1] to sum: FP32 [-1] and twice: INT8 [-1]."""
    return model(
        [
            helper.make_node("ReduceSum", ["a", "one"], ["row"], keepdims=0),
            helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["row", "c"], ["sum"]),
            helper.make_node("Add", ["b", "b"], ["twice"]),
        ],
        [("a", TensorProto.FLOAT, [BATCH, 2]), ("b", TensorProto.INT8, [BATCH])],
        [("sum", TensorProto.FLOAT, [BATCH]), ("twice", TensorProto.INT8, [BATCH])],
        {"one": np.array([1])},
    )


def same(kind: int, shape: Sequence[int | str] = (BATCH,)) -> onnx.ModelProto:
    """y is x, of any element type."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [("x", kind, shape)], [("y", kind, shape)])


def lookup() -> onnx.ModelProto:
    """y: FP32 [-1] is the entry of a table of four at index i: INT64 [-1]."""
    return model(
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [("i", TensorProto.INT64, [BATCH])],
        [("y", TensorProto.FLOAT, [BATCH])],
        {"table": np.arange(4, dtype=np.float32)},
    )


def slow(products: int) -> onnx.ModelProto:
    """y is x after products of matrices; each takes about 0.05 s, and no Python runs meanwhile."""
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{i}", "big"], [f"m{i + 1}"]) for i in range(products)),
        helper.make_node("ReduceMean", [f"m{products}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    value: Value = ("x", TensorProto.FLOAT, [1, 1])
    constants = {"big": np.zeros((1024, 1024), np.float32), "zero": np.float32(0)}
    return model(nodes, [value], [("y", TensorProto.FLOAT, [1, 1])], constants)


def write(
    folder: Path,
    content: onnx.ModelProto | bytes,
    *,
    signature: Mapping[str, Any] | None = None,
    format: str = "onnx",
    name: str = "model.onnx",
    baseline: Baseline | None = None,
) -> str:
    """Writes a model directory; returns the digest that identifies it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.SerializeToString()
    (folder / name).write_bytes(data)
    return describe(folder, signature=signature, format=format, baseline=baseline)


def describe(
    folder: Path,
    *,
    signature: Mapping[str, Any] | None = None,
    format: str = "onnx",
    architecture: Mapping[str, Any] | None = None,
    baseline: Baseline | None = None,
) -> str:
    """Writes model.json for the files that are there."""
    files = [
        ModelFile(path=path.name, sha256=digest(path.read_bytes()), size=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MODEL_FILE
    ]
    manifest = ModelManifest(
        format=format,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        files=files,
        signature=Signature.model_validate(signature) if signature else None,
        architecture=Architecture.model_validate(architecture) if architecture else None,
        baseline=baseline,
        lineage=ModelLineage(job="team/job", uid="u", attempt=1, image="image"),
    )
    text = json.dumps(manifest.wire()).encode()
    (folder / MODEL_FILE).write_bytes(text)
    return digest(text)


def digest(data: bytes) -> str:
    """As model.json and the registry write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
