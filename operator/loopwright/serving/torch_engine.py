"""Networks of torch with weights in safetensors, for servers whose image has torch.

The file holds numbers only. What they are put into is built by what the image brings and
`--architectures` allows; model.json chooses among that, and brings no code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors.torch import load as load_tensors

from loopwright.api import model as api
from loopwright.networks import BuilderUnknown, build
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.settings import Settings
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import DATATYPES, Array, Tensor

ENDING: Final = ".safetensors"
SAVE: Final = "save it with loopwright.train.save_model(..., format='safetensors')"


@dataclass(frozen=True)
class TorchEngine:
    """A network that is called with its inputs in their order."""

    network: Any
    signature: Signature
    platform: str = "pytorch_safetensors"

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Predicts."""
        tensors = [_tensor(inputs[name]) for name in self.signature.inputs]
        try:
            with torch.inference_mode():
                found = self.network(*tensors)
        except IndexError as error:
            # An embedding has no such row.
            raise Refused(f"the model cannot take these inputs: {error}"[:1000]) from error
        results = found if isinstance(found, tuple) else (found,)
        named = dict(zip(self.signature.outputs, results, strict=True))
        return [named[name].numpy() for name in outputs]


def load(
    settings: Settings, manifest: api.ModelManifest, contents: Mapping[str, bytes]
) -> tuple[TorchEngine, Signature]:
    """The network that model.json describes, with the weights of its files.

    Raises:
        CannotServe: it cannot be served.
    """
    if manifest.signature is None or manifest.architecture is None:
        raise CannotServe("ModelInvalid", f"model.json lacks signature or architecture; {SAVE}")
    torch.set_num_threads(settings.intra_op_threads)
    network = _network(settings, manifest.architecture)
    try:
        network.load_state_dict(_weights(contents))
    except Exception as error:
        text = f"the weights do not fit {manifest.architecture.builder}: {error}"
        raise CannotServe("ModelInvalid", f"{text}; {SAVE}") from error
    signature = Signature(
        _tensors(manifest.signature.inputs, settings.allow_missing),
        _tensors(manifest.signature.outputs),
    )
    return TorchEngine(network.eval(), signature), signature


def _network(settings: Settings, architecture: api.Architecture) -> Any:
    allowed = [one.strip() for one in settings.architectures.split(",") if one.strip()]
    try:
        network = build(architecture, allowed)
    except BuilderUnknown as error:
        raise CannotServe(
            "ArchitectureUnknown",
            f"model.json asks for {architecture.builder}: {error}; bring the module with an image"
            " of your own or a mounted ConfigMap, and name it in --architectures",
        ) from error
    except Exception as error:
        text = f"{architecture.builder} failed: {type(error).__name__}: {error}"
        raise CannotServe("ModelInvalid", text) from error
    if not isinstance(network, torch.nn.Module):
        text = f"{architecture.builder} returned a {type(network).__name__}, no torch.nn.Module"
        raise CannotServe("ModelInvalid", text)
    return network


def _weights(contents: Mapping[str, bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, content in contents.items():
        if path.endswith(ENDING):
            found |= load_tensors(content)
    return found


def _tensor(array: Array) -> Any:
    # What came as bytes must not be written to, and a network may work in place.
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _tensors(specs: Iterable[api.TensorSpec], missing: bool = False) -> dict[str, Tensor]:
    for one in specs:
        if one.dtype == "str" or one.dtype not in DATATYPES:
            text = f"{one.name} is {one.dtype}, which torch and the protocols do not share"
            raise CannotServe("FormatUnsupported", f"{text}; change the network's type")
    return {one.name: Tensor(one.name, one.dtype, tuple(one.shape), missing) for one in specs}
