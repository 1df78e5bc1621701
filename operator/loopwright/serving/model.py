"""A model that may be served: what computes it, and what its requests are checked against."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from loopwright.api.baseline import Baseline
from loopwright.serving.errors import CannotServe
from loopwright.serving.settings import Settings
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import Array, Tensor

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """What computes a model."""

    @property
    def platform(self) -> str:
        """As the Open Inference Protocol names it."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Predicts; may be called by several threads at once.

        Raises:
            Refused: the model cannot take these inputs, though they fit its signature.
        """


@dataclass(frozen=True)
class Model:
    """A verified model."""

    name: str
    version: str
    digest: str
    """Of its model.json; empty when it has none."""
    signature: Signature
    engine: Engine
    baseline: Baseline | None = None
    """The profile of its training data, if it has one."""

    @classmethod
    def of(
        cls, settings: Settings, engine: Engine, signature: Signature, digest: str,
        baseline: Baseline | None = None,
    ) -> Model:  # fmt: skip
        """The model, warm.

        Raises:
            CannotServe: it gives other types than its signature says.
        """
        name, version = settings.model_name, settings.model_version
        model = cls(name, version, digest, signature, engine, baseline)
        model._warm_up()
        return model

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Predicts; as the engine does."""
        return self.engine.run(inputs, outputs)

    def metadata(self) -> dict[str, Any]:
        """As the Open Inference Protocol describes a model."""
        return {
            "name": self.name,
            "versions": [self.version] if self.version else [],
            "platform": self.engine.platform,
            "inputs": _described(self.signature.inputs),
            "outputs": _described(self.signature.outputs),
        }

    def _warm_up(self) -> None:
        """The first run allocates; no user shall wait for it."""
        inputs = {
            name: np.full(
                [max(size, 1) for size in one.shape],
                "" if one.dtype == "str" else 0,
                dtype=object if one.dtype == "str" else one.dtype,
            )
            for name, one in self.signature.inputs.items()
        }
        names = list(self.signature.outputs)
        try:
            found = self.engine.run(inputs, names)
        except Exception as error:
            # Zeros may be no input for it; requests will tell.
            logger.warning("the model did not take a row of zeros: %s", error)
            return
        for name, array in zip(names, found, strict=True):
            told, dtype = self.signature.outputs[name].dtype, array.dtype
            if told != ("str" if dtype.kind in "OU" else dtype.name):
                text = f"output {name} is {dtype}, and model.json says {told}; save the model again"
                raise CannotServe("ModelInvalid", text)


def _described(tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
        for one in tensors.values()
    ]
