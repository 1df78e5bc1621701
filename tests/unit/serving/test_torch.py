"""Networks saved as safetensors and served again. torch is a fake; the e2e tests have it."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_torch
import numpy as np
import pytest
from fake_torch import Embedding, Linear, Module, ReLU, Sequential, Tensor, fill
from model_folders import describe
from safetensors.numpy import save_file

from loopwright import train
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.loading import load
from loopwright.serving.model import Model
from loopwright.serving.settings import Settings
from loopwright.train.model import NOTES


class Residual(Module):
    """Not a Sequential."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = Linear(width, width)

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        return Tensor(row.array + self.linear(row).array), row


ROW = [1.0, 2.0, 3.0]
HERE = "a_users_nets"
OWN = {"architecture": f"{HERE}:Residual", "arguments": {"width": 3}}


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A fake, and a module that users have written for it."""
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "model"))
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(Residual, "__module__", HERE)
    monkeypatch.setitem(sys.modules, HERE, SimpleNamespace(Residual=Residual))
    return fake_torch.installed(monkeypatch)


def saved(network: Any, examples: Any = None, **more: Any) -> Path:
    """A model directory, with what the job adds."""
    examples = examples or [Tensor(np.zeros((2, 3), np.float32))]
    folder = train.save_model(network, examples, format="safetensors", **more)
    notes = json.loads((folder / NOTES).read_text())
    (folder / NOTES).unlink()
    describe(folder, **{key: notes[key] for key in ("format", "signature", "architecture")})
    return folder


def loaded(folder: Path, **settings: Any) -> Model:
    """The model of a folder."""
    return load(Settings(model_name="m", model_dir=str(folder), **settings))


def refused(folder: Path, **settings: Any) -> str:
    """Why it is not served."""
    with pytest.raises(CannotServe) as caught:
        loaded(folder, **settings)
    return str(caught.value)


def test_layers_are_served_as_they_were_saved() -> None:
    network = Sequential(OrderedDict(one=Linear(3, 2), two=ReLU(inplace=True)))
    fill(network, 2.0)
    model = loaded(saved(network))
    assert model.metadata() == {
        "name": "m", "versions": [], "platform": "pytorch_safetensors",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
    }  # fmt: skip
    row = np.array([ROW], np.float32)
    assert model.run({"input": row}, ["output"])[0].tolist() == [[14.0, 14.0]]


def test_a_users_module_is_built_if_the_server_allows_it() -> None:
    network = Residual(3)
    fill(network, 2.0)
    folder = saved(network, output_names=["sum", "row"], **OWN)
    assert refused(folder).startswith("ArchitectureUnknown: model.json asks for a_users_nets:Res")
    model = loaded(folder, architectures=f"others, {HERE}")
    found = model.run({"input": np.array([ROW], np.float32)}, ["row", "sum"])
    assert [one.tolist() for one in found] == [[ROW], [[15.0, 16.0, 17.0]]]


def test_what_came_as_bytes_is_not_written_to() -> None:
    body = np.array([[-1, 2, 3]], np.float32).tobytes()
    row = np.frombuffer(body, np.float32).reshape(1, 3)
    model = loaded(saved(Sequential(ReLU(inplace=True))))
    assert model.run({"input": row}, ["output"])[0].tolist() == [[0.0, 2.0, 3.0]]
    assert row[0, 0] == -1


def test_an_index_that_is_not_there_is_the_clients_mistake() -> None:
    model = loaded(saved(Sequential(Embedding(4, 2)), [Tensor(np.zeros((1,), np.int64))]))
    with pytest.raises(Refused, match="out of bounds"):
        model.run({"input": np.array([4])}, ["output"])


def test_weights_that_are_not_the_networks(tmp_path: Path) -> None:
    folder = saved(Sequential(Linear(3, 2)))
    for weights in ({"other": np.zeros(1)}, {"0.weight": np.zeros((1, 3)), "0.bias": np.zeros(1)}):
        save_file(weights, folder / "model.safetensors")
        again(folder)
        assert refused(folder).startswith("ModelInvalid: the weights do not fit sequential: ")
    (folder / "model.safetensors").write_bytes(b"x" * 20)
    again(folder)
    assert refused(folder).startswith("ModelInvalid: the weights do not fit sequential: ")


def again(folder: Path, **changes: Any) -> None:
    """Describes what is there by now."""
    told = json.loads((folder / "model.json").read_text())
    keys = ("format", "signature", "architecture")
    describe(folder, **{**{key: told.get(key) for key in keys}, **changes})


@pytest.mark.parametrize("lacking", ["signature", "architecture"])
def test_what_model_json_must_say(lacking: str) -> None:
    folder = saved(Sequential(Linear(3, 2)))
    again(folder, **{lacking: None})
    assert "ModelInvalid: model.json lacks signature or architecture" in refused(folder)


def test_a_signature_that_the_network_does_not_keep() -> None:
    folder = saved(Sequential(Linear(3, 2)))
    told = json.loads((folder / "model.json").read_text())["signature"]
    told["outputs"][0]["dtype"] = "float64"
    again(folder, signature=told)
    assert refused(folder).startswith("ModelInvalid: output output is float32, and model.json says")
    told["inputs"][0]["dtype"] = "str"
    again(folder, signature=told)
    assert refused(folder).startswith("FormatUnsupported: input is str")


@pytest.mark.parametrize("width", [3, "wide"])
def test_builders_that_build_nothing(monkeypatch: pytest.MonkeyPatch, width: Any) -> None:
    folder = saved(Residual(3), output_names=["sum", "row"], **OWN)

    def build(width: int) -> list[int]:
        return [1] * width

    build.__module__ = HERE
    monkeypatch.setitem(sys.modules, HERE, SimpleNamespace(Residual=build))
    again(folder, architecture={"builder": OWN["architecture"], "arguments": {"width": width}})
    text = refused(folder, architectures=HERE)
    assert text.startswith(f"ModelInvalid: {HERE}:Residual ")


def test_a_server_without_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(Sequential(Linear(3, 2)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "is safetensors, and this server serves onnx" in refused(folder)


def test_what_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match="name what builds the network: architecture="):
        saved(Residual(3))
    with pytest.raises(ValueError, match="builds another network"):
        saved(Residual(3), **{**OWN, "arguments": {"width": 4}})
    with pytest.raises(ValueError, match="go with format='safetensors'"):
        train.save_model(Residual(3), [], architecture="a:b")


def test_a_builder_that_answers_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(Residual):
        def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
            return Tensor(row.array + 1), row

    monkeypatch.setattr(Shifted, "__module__", HERE)
    monkeypatch.setitem(sys.modules, HERE, SimpleNamespace(Residual=Shifted))
    with pytest.raises(ValueError, match="answers otherwise"):
        saved(Residual(3), output_names=["sum", "row"], **OWN)
