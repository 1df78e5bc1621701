"""A fake of the little of torch that saving and serving networks take; numpy computes.

`installed` puts it, and safetensors' adapter for it, where `import torch` finds them.
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
import safetensors.numpy


class Tensor:
    """An array."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    @property
    def dtype(self) -> str:
        return f"torch.{self.array.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def numpy(self) -> Any:
        return self.array

    def same(self) -> Self:
        return self

    cpu = detach = contiguous = same

    def clone(self) -> Tensor:
        return Tensor(self.array.copy())


class Module:
    """A layer, or several."""

    def __init__(self) -> None:
        self.weights: OrderedDict[str, Tensor] = OrderedDict()
        self.training = True

    def __call__(self, *inputs: Tensor) -> Any:
        return self.forward(*inputs)  # type: ignore[attr-defined]

    def layers(self) -> dict[str, Module]:
        return {name: one for name, one in vars(self).items() if isinstance(one, Module)}

    def eval(self) -> Self:
        self.training = False
        return self

    cpu = eval

    def state_dict(self) -> OrderedDict[str, Tensor]:
        found = OrderedDict(self.weights)
        for name, layer in self.layers().items():
            found |= {f"{name}.{key}": one for key, one in layer.state_dict().items()}
        return found

    def load_state_dict(self, weights: dict[str, Tensor]) -> None:
        own = self.state_dict()
        if own.keys() != weights.keys():
            raise RuntimeError(f"keys {sorted(weights)} and not {sorted(own)}")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise RuntimeError(f"size mismatch for {name}")
            tensor.array = weights[name].array.copy()


class Linear(Module):
    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weights["weight"] = Tensor(np.zeros((out_features, in_features), np.float32))
        self.bias = Tensor(np.zeros(out_features, np.float32)) if bias else None
        if self.bias is not None:
            self.weights["bias"] = self.bias

    def forward(self, row: Tensor) -> Tensor:
        bias = 0 if self.bias is None else self.bias.array
        return Tensor(row.array @ self.weights["weight"].array.T + bias)


class ReLU(Module):
    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, row: Tensor) -> Tensor:
        np.maximum(row.array, 0, out=row.array)
        return row


class Embedding(Module):
    def __init__(self, num_embeddings: int, embedding_dim: int, _weight: Any = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weights["weight"] = Tensor(np.ones((num_embeddings, embedding_dim), np.float32))

    def forward(self, index: Tensor) -> Tensor:
        return Tensor(self.weights["weight"].array[index.array])


class AvgPool1d(Module):
    def __init__(self, kernel_size: Any) -> None:
        super().__init__()
        self.kernel_size = (kernel_size,) if isinstance(kernel_size, int) else kernel_size


class Sequential(Module):
    def __init__(self, *layers: Any) -> None:
        super().__init__()
        [named] = layers if layers and isinstance(layers[0], OrderedDict) else [None]
        self.inner = dict(named or {str(number): one for number, one in enumerate(layers)})

    def __iter__(self) -> Iterator[Module]:
        return iter(self.inner.values())

    def layers(self) -> dict[str, Module]:
        return self.inner

    def forward(self, row: Any) -> Any:
        for layer in self.inner.values():
            row = layer(row)
        return row


def fill(network: Module, value: float) -> None:
    """Sets all weights."""
    for tensor in network.state_dict().values():
        tensor.array[...] = value


def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for torch in this process."""
    torch: Any = ModuleType("torch")
    classes = (Module, Linear, ReLU, Embedding, AvgPool1d, Sequential)
    torch.nn = SimpleNamespace(**{one.__name__: one for one in classes})
    torch.inference_mode = torch.no_grad = contextlib.nullcontext
    torch.from_numpy = Tensor
    torch.set_num_threads = lambda number: None
    torch.equal = lambda a, b: np.array_equal(a.array, b.array)
    torch.__spec__ = SimpleNamespace(name="torch")
    adapter: Any = ModuleType("safetensors.torch")
    adapter.load = lambda content: {
        name: Tensor(array) for name, array in safetensors.numpy.load(content).items()
    }
    adapter.save_file = lambda tensors, path: safetensors.numpy.save_file(
        {name: one.array for name, one in tensors.items()}, path
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "safetensors.torch", adapter)
    return torch
