"""What a torch network takes and gives, by an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loopwright.api.model import Signature, TensorSpec


def signature(
    names: tuple[Sequence[str], Sequence[str]], inputs: Sequence[Any], outputs: Sequence[Any]
) -> Signature:
    """The signature, with a free first dimension, that of the batch.

    Args:
        names: Of inputs and outputs.
        inputs: Tensors.
        outputs: The network's results for them.
    """
    return Signature(
        inputs=[_spec(*pair) for pair in zip(names[0], inputs, strict=True)],
        outputs=[_spec(*pair) for pair in zip(names[1], outputs, strict=True)],
    )


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name=name, dtype=dtype, shape=[-1, *tensor.shape[1:]])
