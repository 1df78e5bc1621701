"""Counts what goes through a model into the bins of its baseline, for drift monitors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from loopwright.serving.model import Model
from loopwright.serving.tensors import Array
from loopwright.sketch import Layout, Sketch, Snapshot

logger = logging.getLogger(__name__)

# What requests that wait to be counted may take. What is done once per request runs with cold
# caches, and costs several times of what it costs in a loop over many.
BYTES: Final = 1 << 20
# Of a request, besides the bytes of its tensors.
OBJECTS: Final = 768


class Counting:
    """Counts what a model is given, and what it gives."""

    def __init__(self, sketch: Sketch, *, texts: bool) -> None:
        """
        Args:
            sketch: What to count into.
            texts: Whether some tensors are texts, whose length nobody knows; they never wait.
        """
        self._sketch = sketch
        self._outputs_too = any(one.output for one in sketch.layout.groups)
        self._bytes = -1 if texts else BYTES
        self._begin()

    @classmethod
    def of(cls, model: Model) -> Counting | None:
        """What counts for a model; None without a baseline that makes sense."""
        if model.baseline is None:
            return None
        try:
            sketch = Sketch(Layout.of(model.baseline))
        except ValueError as error:
            # A model can be served all the same.
            logger.warning("nothing is counted for drift monitors: %s", error)
            return None
        return cls(sketch, texts=model.signature.texts)

    def add(
        self, size: int, inputs: Mapping[str, Array], outputs: Sequence[str],
        arrays: Sequence[Array],
    ) -> None:  # fmt: skip
        """Counts a request, at once or later. Only one thread may call this.

        Args:
            size: Bytes of all inputs.
            inputs: By name. They must not change any more.
            outputs: Names of `arrays`.
            arrays: What the model gave, which must not change either.
        """
        self._inputs.append(inputs)
        if self._outputs_too:
            self._outputs.append(dict(zip(outputs, arrays, strict=True)))
            size += sum(one.nbytes for one in arrays)
        self._room -= size + OBJECTS
        if self._room < 0:
            self._flush()

    def add_now(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], arrays: Sequence[Array]
    ) -> None:
        """Counts a request at once, in any thread."""
        self._sketch.add(inputs, dict(zip(outputs, arrays, strict=True)))

    def refuse(self) -> None:
        """Counts a request that the model's signature did not admit."""
        self._sketch.refuse()

    def snapshot(self) -> Snapshot:
        """All that was counted since the process began."""
        self._flush()
        return self._sketch.snapshot()

    def _flush(self) -> None:
        inputs, outputs = self._inputs, self._outputs
        self._begin()
        self._sketch.add_all(inputs, outputs)

    def _begin(self) -> None:
        self._inputs: list[Mapping[str, Array]] = []
        self._outputs: list[Mapping[str, Array]] = []
        self._room = self._bytes
