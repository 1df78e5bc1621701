"""What a model gives for the rows of its baseline, so that predictions have a profile too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from loopwright.api.model import Signature
from loopwright.train.estimator import is_estimator

# Rows that are predicted: enough to know a distribution by, and soon done.
ROWS: Final = 10_000
_BATCH: Final = 256
# Outputs of scikit-learn's estimators, and what gives them.
_METHODS: Final = {
    "label": "predict", "output": "predict", "probabilities": "predict_proba",
}  # fmt: skip


def predict(model: Any, rows: Any, signature: Signature) -> dict[str, Any]:
    """The model's outputs by name, of at most 10,000 evenly spread rows.

    Args:
        model: An estimator of scikit-learn, or a torch module in evaluation mode.
        rows: Its inputs: an array for the first, or arrays by name; an estimator takes what it was
            fitted with.
        signature: Its inputs and outputs.
    """
    if is_estimator(model):
        some = _some(rows)
        methods = {one.name: _METHODS.get(one.name, "") for one in signature.outputs}
        return {
            name: getattr(model, method)(some)
            for name, method in methods.items()
            if method and hasattr(model, method)
        }
    if not isinstance(rows, Mapping):
        rows = {signature.inputs[0].name: rows}
    inputs = [
        np.ascontiguousarray(_some(np.asarray(rows[one.name])), one.dtype)
        for one in signature.inputs
    ]
    shaped = [
        _shaped(array, one.shape[1:]) for array, one in zip(inputs, signature.inputs, strict=True)
    ]
    names = [one.name for one in signature.outputs]
    return dict(zip(names, _run(model, shaped), strict=True))


def _run(network: Any, inputs: list[Any]) -> list[Any]:
    import torch

    found = []
    with torch.no_grad():
        for at in range(0, len(inputs[0]), _BATCH):
            results = network(*(torch.from_numpy(one[at : at + _BATCH]) for one in inputs))
            results = results if isinstance(results, tuple) else (results,)
            found.append([one.detach().cpu().numpy() for one in results])
    return [np.concatenate(one) for one in zip(*found, strict=True)]


def _shaped(array: Any, shape: list[int]) -> Any:
    """Rows in the shape that the model takes, when a profile's are flat."""
    return array if -1 in shape else array.reshape(len(array), *shape)


def _some(rows: Any) -> Any:
    if len(rows) <= ROWS:
        return rows
    places = np.arange(ROWS) * len(rows) // ROWS
    return rows.iloc[places] if hasattr(rows, "iloc") else rows[places]
