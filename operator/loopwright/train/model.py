"""Saves a trained torch module with what serving and monitoring need to know about it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loopwright.api.model import Signature, TensorSpec
from loopwright.train.profile import profile

# Beside the model's files until the worker turns it into model.json.
NOTES: Final = ".loopwright-notes.json"


def model_dir() -> Path:
    """Folder whose content becomes the model directory."""
    folder = Path(os.environ.get("SM_MODEL_DIR", "loopwright-out/model"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_model(
    module: Any,
    example_inputs: Sequence[Any],
    *,
    input_names: Sequence[str] = ("input",),
    output_names: Sequence[str] = ("output",),
    baseline: Any = None,
    feature_names: Sequence[str] | None = None,
) -> Path:
    """Exports a torch module to ONNX, with a free first (batch) dimension, on rank 0 alone.

    Args:
        module: A torch module, or the DistributedDataParallel around one.
        example_inputs: One tensor for each argument of its forward, of shape (batch, ...).
        baseline: Training data of shape (rows, features), as an array, to profile for drift.
        feature_names: Names of the features; f0, f1, ... by default.
    """
    folder = model_dir()
    if os.environ.get("RANK", "0") != "0":
        return folder
    import torch

    module = getattr(module, "module", module).cpu().eval()
    inputs = tuple(tensor.cpu() for tensor in example_inputs)
    named = [*input_names, *output_names]
    torch.onnx.export(
        module, inputs, str(folder / "model.onnx"), input_names=list(input_names),
        output_names=list(output_names), dynamic_axes={name: {0: "batch"} for name in named},
        dynamo=False,
    )  # fmt: skip
    with torch.no_grad():
        results = module(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    signature = Signature(
        inputs=[_spec(*pair) for pair in zip(input_names, inputs, strict=True)],
        outputs=[_spec(*pair) for pair in zip(output_names, results, strict=True)],
    )
    notes: dict[str, Any] = {"format": "onnx", "signature": signature.wire()}
    if baseline is not None:
        try:
            notes["baseline"] = profile(baseline, feature_names).wire()
        except ValueError as error:
            # Too late to stop at: the model is what hours of training were for.
            print(f"loopwright: the model has no baseline: {error}", flush=True)
    (folder / NOTES).write_text(json.dumps(notes))
    return folder


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name=name, dtype=dtype, shape=[-1, *tensor.shape[1:]])
