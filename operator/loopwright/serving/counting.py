"""Counts what goes through a model into the bins of its baseline, for drift monitors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from loopwright.serving.model import Model
from loopwright.serving.running import Runner
from loopwright.serving.tensors import Array
from loopwright.sketch import Layout, Sketch

logger = logging.getLogger(__name__)


def sketch_of(model: Model) -> Sketch | None:
    """What to count into; None without a baseline that makes sense."""
    if model.baseline is None:
        return None
    try:
        return Sketch(Layout.of(model.baseline))
    except ValueError as error:
        # A model can be served all the same.
        logger.warning("nothing is counted for drift monitors: %s", error)
        return None


class Counting:
    """Runs a model by another runner, and counts what it was given and what it gave."""

    def __init__(self, runner: Runner, sketch: Sketch) -> None:
        self._runner, self._sketch = runner, sketch

    async def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The outputs asked for."""
        arrays = await self._runner.run(inputs, outputs)
        # Nobody changes the arrays of a request, so they need not be copied.
        self._sketch.add(inputs, dict(zip(outputs, arrays, strict=True)), copy=False)
        return arrays
