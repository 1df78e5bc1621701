"""Networks by name: a safetensors file holds weights only, so model.json says how they are used.

A builder is `sequential`, whose arguments list layers of torch.nn, or a callable of a module that
the training code or the server's image brings. What model.json says never brings code with it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from loopwright.api.model import SEQUENTIAL, Architecture

# Layers without code or state of their own making: what their arguments say is all they are.
LAYERS: Final = frozenset(
    {
        "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "BatchNorm1d",
        "BatchNorm2d", "Conv1d", "Conv2d", "Dropout", "Embedding", "Flatten", "GELU", "GroupNorm",
        "Identity", "LayerNorm", "LeakyReLU", "Linear", "MaxPool1d", "MaxPool2d", "ReLU",
        "Sequential", "Sigmoid", "SiLU", "Softmax", "Tanh", "Unflatten",
    }
)  # fmt: skip
# The key of a layer's name among its arguments, and that of the layers of one that has some.
NAME: Final = "layer"
INNER: Final = "layers"
# Where a layer lies, and how it began: the weights say so.
_PLACED: Final = frozenset({"device", "dtype", "_weight", "_freeze"})


class BuilderUnknown(ValueError):
    """A builder that nobody allows, or that is not there."""


def describe(network: Any) -> Architecture:
    """The architecture of a torch.nn.Sequential of known layers.

    Raises:
        ValueError: it is another network.
    """
    found = _described(network)
    if found[NAME] != "Sequential":
        raise ValueError(f"a {type(network).__name__} is no torch.nn.Sequential")
    return Architecture(builder=SEQUENTIAL, arguments={INNER: found[INNER]})


def build(architecture: Architecture, allowed: Collection[str]) -> Any:
    """The network, with weights as its builder leaves them.

    Args:
        allowed: Modules, with all below them, whose callables may build networks.

    Raises:
        BuilderUnknown: its builder is in none of these, or does not exist.
        Exception: whatever the builder raises.
    """
    if architecture.builder == SEQUENTIAL:
        return _built({NAME: "Sequential", **architecture.arguments})
    module, _, name = architecture.builder.partition(":")
    if not _within(module, allowed):
        raise BuilderUnknown(f"module {module} may not build networks here")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuilderUnknown(str(error)) from error
    # A module's names are also what it imports, as os or subprocess.
    if not callable(found) or not _within(getattr(found, "__module__", None) or "", allowed):
        raise BuilderUnknown(f"{architecture.builder} is no function or class of that module")
    return found(**architecture.arguments)


def _within(module: str, allowed: Iterable[str]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in allowed)


def _described(layer: Any) -> dict[str, Any]:
    import torch

    name = type(layer).__name__
    if name not in LAYERS or type(layer) is not getattr(torch.nn, name):
        raise ValueError(f"a {name} is none of torch.nn's {', '.join(sorted(LAYERS))}")
    if name == "Sequential":
        return {NAME: name, INNER: [_described(one) for one in layer]}
    parameters = inspect.signature(type(layer)).parameters.values()
    plain = [
        one.name
        for one in parameters
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name not in _PLACED
    ]
    return {NAME: name, **{one: _argument(one, getattr(layer, one)) for one in plain}}


def _argument(name: str, value: Any) -> Any:
    if name == "bias":
        # What was a flag has become a tensor, or None.
        return value is not None and value is not False
    return list(value) if isinstance(value, tuple) else value


def _built(description: Any) -> Any:
    import torch

    if not isinstance(description, Mapping) or description.get(NAME) not in LAYERS:
        raise BuilderUnknown(f"a layer must be one of {', '.join(sorted(LAYERS))}")
    name, rest = description[NAME], {k: v for k, v in description.items() if k != NAME}
    if name == "Sequential":
        return torch.nn.Sequential(*(_built(one) for one in rest[INNER]))
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in rest.items()}
    return getattr(torch.nn, name)(**arguments)
