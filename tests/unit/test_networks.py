"""Networks by name: what may be built, and what may not. torch is a fake."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

import fake_torch
import pytest
from fake_torch import AvgPool1d, Linear, Module, ReLU, Sequential
from pydantic import ValidationError

from loopwright import networks
from loopwright.api.model import Architecture


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fake."""
    return fake_torch.installed(monkeypatch)


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of somebody's with a network, and what it imports."""
    found: Any = ModuleType("nets.big")
    code = "import os\nfrom os import system\nfrom functools import partial\n"
    code += "class Net:\n    def __init__(self, width=1):\n        self.width = width\n"
    code += "made = partial(Net, 2)\nnumber = 3\n"
    exec(code, vars(found))  # noqa: S102 (what a module is)
    monkeypatch.setitem(sys.modules, "nets", ModuleType("nets"))
    monkeypatch.setitem(sys.modules, "nets.big", found)
    return found


def there_and_back(network: Any) -> Any:
    """What is built from a description, after it was JSON."""
    text = json.dumps(networks.describe(network).wire())
    return networks.build(Architecture.model_validate_json(text), [])


def test_layers_come_back_with_their_arguments() -> None:
    inner = Sequential(OrderedDict(first=Linear(2, 2)))
    network = Sequential(Linear(3, 2, bias=False), ReLU(inplace=True), inner, AvgPool1d((2,)))
    again = there_and_back(network)
    one, two, three, four = again
    assert (one.in_features, one.out_features, one.bias) == (3, 2, None)
    assert two.inplace
    assert [layer.in_features for layer in three] == [2]
    assert three.inner["0"].bias is not None
    assert four.kernel_size == (2,)


@pytest.mark.parametrize("make", [lambda: Linear(1, 1), lambda: Sequential(Module())])
def test_other_networks_are_not_described(make: Any) -> None:
    with pytest.raises(ValueError, match=r"is no torch\.nn\.Sequential|is none of torch\.nn's"):
        networks.describe(make())


def test_a_class_with_the_name_of_a_layer_is_none() -> None:
    other = type("Linear", (Linear,), {})
    with pytest.raises(ValueError, match=r"is none of torch\.nn's"):
        networks.describe(Sequential(other(1, 1)))


@pytest.mark.parametrize(
    "layer", [{"layer": "Lazy"}, {"layer": "__class__"}, {"layer": None}, {}, "Linear", 3]
)
def test_other_layers_are_not_built(layer: Any) -> None:
    described = Architecture(builder="sequential", arguments={"layers": [layer]})
    with pytest.raises(networks.BuilderUnknown, match="must be one of AdaptiveAvgPool1d"):
        networks.build(described, ["torch"])


@pytest.mark.parametrize("allowed", ["nets", "nets.big"])
def test_a_module_that_is_named_may_build(nets: ModuleType, allowed: str) -> None:
    described = Architecture(builder="nets.big:Net", arguments={"width": 3})
    assert networks.build(described, [allowed]).width == 3


@pytest.mark.parametrize(
    ("builder", "allowed"),
    [
        ("nets.big:Net", []),
        ("nets.big:Net", ["nets.bi", "net", "nets.big.more", ""]),
        ("os:system", ["nets"]),
        ("nets.big:system", ["nets"]),
        ("nets.big:os", ["nets"]),
        ("nets.big:made", ["nets"]),
        ("nets.big:number", ["nets"]),
        ("nets.big:absent", ["nets"]),
        ("nets.absent:Net", ["nets"]),
    ],
)
def test_nothing_else_builds(nets: ModuleType, builder: str, allowed: list[str]) -> None:
    with pytest.raises(networks.BuilderUnknown):
        networks.build(Architecture(builder=builder), allowed)


@pytest.mark.parametrize(
    "builder", ["", "nets", "a:b.c", "a:b:c", ".a:b", "a b:c", "sequential:x y"]
)
def test_builders_have_a_form(builder: str) -> None:
    with pytest.raises(ValidationError):
        Architecture(builder=builder)
