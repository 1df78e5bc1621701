"""What a model takes and gives, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loopwright.serving.errors import Refused
from loopwright.serving.tensors import Tensor


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the model's order."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    @property
    def batched(self) -> bool:
        """Whether rows of several requests can be predicted together."""
        return all(one.batched for one in (*self.inputs.values(), *self.outputs.values()))

    @property
    def texts(self) -> bool:
        """Whether some tensors are texts."""
        return any(one.dtype == "str" for one in (*self.inputs.values(), *self.outputs.values()))

    def check_names(self, given: Iterable[str]) -> None:
        """Whether these are all inputs, and no others.

        Raises:
            Refused: they are not.
        """
        names = list(given)
        if set(names) != self.inputs.keys() or len(names) != len(self.inputs):
            found = ", ".join(names[:8]) or "none"
            raise Refused(f"expected inputs {self}; found {found}"[:1000])

    def output(self, name: object) -> str:
        """The name, if an output has it.

        Raises:
            Refused: none has.
        """
        if not isinstance(name, str) or name not in self.outputs:
            raise Refused(f"no output {name!r}; there are {', '.join(self.outputs)}"[:1000])
        return name

    def __str__(self) -> str:
        return ", ".join(f"{one.name} {one}" for one in self.inputs.values())
