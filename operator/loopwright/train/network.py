"""Saves a torch network as safetensors, with what it takes to build it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loopwright.api.model import SEQUENTIAL, Architecture, Signature
from loopwright.networks import build, describe
from loopwright.train.signature import signature


def export_network(
    network: Any,
    examples: Sequence[Any],
    path: Path,
    names: tuple[Sequence[str], Sequence[str]],
    builder: str | None,
    arguments: Mapping[str, Any],
) -> tuple[Signature, Architecture]:
    """Writes the weights, and tells signature and architecture.

    Args:
        names: Of inputs and outputs.
        builder: module:callable that builds the network; without one it must be a
            torch.nn.Sequential of plain layers.

    Raises:
        ValueError: the builder, or the description of its layers, makes another network.
    """
    import torch
    from safetensors.torch import save_file

    if builder is None:
        architecture = _described(network)
    else:
        architecture = Architecture(builder=builder, arguments=dict(arguments))
    again = build(architecture, [architecture.builder.partition(":")[0]]).eval()
    weights = network.state_dict()
    if architecture.builder == SEQUENTIAL:
        # Layers may have names of their own; described ones are numbered.
        weights = dict(zip(again.state_dict(), weights.values(), strict=True))
    # Each a tensor of its own: a file has no way to say that two share theirs.
    weights = {name: one.detach().clone().contiguous() for name, one in weights.items()}
    try:
        again.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{architecture.builder} builds another network: {error}") from error
    with torch.inference_mode():
        # Copies: a layer may work in place.
        results, repeated = (
            _tuple(one(*(tensor.clone() for tensor in examples))) for one in (network, again)
        )
    if not all(torch.equal(*pair) for pair in zip(results, repeated, strict=True)):
        raise ValueError(f"{architecture.builder} builds a network that answers otherwise")
    save_file(weights, str(path))
    return signature(names, examples, results), architecture


def _described(network: Any) -> Architecture:
    try:
        return describe(network)
    except ValueError as error:
        text = "name what builds the network: architecture='package.module:callable'"
        raise ValueError(f"{error}; {text}") from error


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)
