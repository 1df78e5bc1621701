"""Saves a trained model with what serving and monitoring need to know about it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from loopwright.api.model import Baseline, Signature
from loopwright.train import predictions
from loopwright.train.estimator import export_estimator, is_estimator
from loopwright.train.network import export_network
from loopwright.train.profile import Kind, profile
from loopwright.train.signature import signature

# Beside the model's files until the worker turns it into model.json.
NOTES: Final = ".loopwright-notes.json"


def model_dir() -> Path:
    """Folder whose content becomes the model directory."""
    folder = Path(os.environ.get("SM_MODEL_DIR", "loopwright-out/model"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_model(
    model: Any,
    example_inputs: Any,
    *,
    input_names: Sequence[str] = ("input",),
    output_names: Sequence[str] = ("output",),
    baseline: Any = None,
    feature_names: Sequence[str] | None = None,
    categories: Collection[str] = (),
    kinds: Mapping[str, Kind] | None = None,
    format: Literal["onnx", "safetensors"] = "onnx",
    architecture: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a torch module or a fitted scikit-learn estimator for serving, on rank 0 alone.

    The first dimension, that of the batch, stays free.

    Args:
        model: A torch module, the DistributedDataParallel around one, or an estimator or pipeline
            of scikit-learn.
        example_inputs: For torch, one tensor for each argument of forward, of shape (batch, ...).
            For scikit-learn, rows as it was fitted with: an array or a data frame.
        input_names: Names of the inputs; a data frame's columns have names of their own.
        output_names: Names of a torch module's outputs. A classifier of scikit-learn gives `label`
            and `probabilities`, a regressor `output`.
        baseline: Data to profile for drift, of shape (rows, ...): what training began from, or
            better what the model was not fitted to, since what it predicts for them is profiled
            too. An array, several by the inputs' names, a data frame whose columns are inputs, or
            a profile that is made already.
        feature_names: Names of the features; f0, f1, ... by default.
        categories: Names of features whose numbers are categories; texts always are.
        kinds: What inputs and outputs hold, by name, if not what it looks like: "columns",
            "embedding", "image", "text", and of outputs "values", "labels", "probabilities" or
            "logits".
        format: safetensors keeps a torch module as it is, for those that ONNX cannot express.
        architecture: For safetensors, `package.module:callable` that builds the module again; not
            needed for a torch.nn.Sequential of plain layers.
        arguments: What the callable is called with: keywords with values that JSON has.

    Raises:
        ValueError: the architecture builds another module, or is of no use for this format.
    """
    if format == "onnx" and (architecture is not None or arguments):
        raise ValueError("architecture and arguments go with format='safetensors'")
    folder = model_dir()
    if os.environ.get("RANK", "0") != "0":
        return folder
    notes: dict[str, Any] = {"format": format}
    path = folder / f"model.{format}"
    names = (input_names, output_names)
    if is_estimator(model):
        if format != "onnx":
            raise ValueError("estimators of scikit-learn are saved as onnx")
        told = export_estimator(model, example_inputs, path, input_names[0])
    else:
        model = getattr(model, "module", model).cpu().eval()
        examples = tuple(tensor.cpu() for tensor in example_inputs)
        if format == "onnx":
            told = _export_onnx(model, examples, path, names)
        else:
            told, built = export_network(
                model, examples, path, names, architecture, arguments or {}
            )
            notes["architecture"] = built.wire()
    notes["signature"] = told.wire()
    if baseline is not None:
        try:
            if not isinstance(baseline, Baseline):
                baseline = _profile(model, baseline, told, feature_names, categories, kinds)
            notes["baseline"] = baseline.wire()
        except ValueError as error:
            # Too late to stop at: the model is what hours of training were for.
            print(f"loopwright: the model has no baseline: {error}", flush=True)
    (folder / NOTES).write_text(json.dumps(notes))
    return folder


def _profile(
    model: Any,
    rows: Any,
    told: Signature,
    names: Sequence[str] | None,
    categories: Collection[str],
    kinds: Mapping[str, Kind] | None,
) -> Baseline:
    try:
        outputs = predictions.predict(model, rows, told)
    except Exception as error:
        # Rows may be raw data, which something else turns into what the model takes.
        print(f"loopwright: the baseline has no predictions: {error}", flush=True)
        outputs = {}
    if not isinstance(rows, Mapping) and not hasattr(rows, "columns"):
        rows = _named(np.asarray(rows), told)
    return profile(rows, names, categories=categories, kinds=kinds, outputs=outputs)


def _named(rows: Any, told: Signature) -> dict[str, Any]:
    """By the inputs' names: the first's, unless each column is an input."""
    inputs = told.inputs
    if len(inputs) > 1 and rows.ndim == 2 and rows.shape[1] == len(inputs):
        return {one.name: rows[:, at : at + 1] for at, one in enumerate(inputs)}
    return {inputs[0].name: rows}


def _export_onnx(
    module: Any, inputs: Sequence[Any], path: Path, names: tuple[Sequence[str], Sequence[str]]
) -> Signature:
    import torch

    input_names, output_names = map(list, names)
    torch.onnx.export(
        module, tuple(inputs), str(path), input_names=input_names, output_names=output_names,
        dynamic_axes={name: {0: "batch"} for name in (*input_names, *output_names)},
        dynamo=False,
    )  # fmt: skip
    with torch.no_grad():
        results = module(*inputs)
    return signature(names, inputs, results if isinstance(results, tuple) else (results,))
