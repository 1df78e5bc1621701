"""The peer: KServe's Python server with its defaults, and a model as its documentation shows.

Arguments: the ONNX file, and the server's own flags.
"""

from __future__ import annotations

import sys
from typing import Any

# The SDK parses the command line when it is imported.
path = sys.argv.pop(1)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from kserve import Model, ModelServer  # noqa: E402


class Digits(Model):
    """One ONNX model."""

    def load(self) -> bool:
        """Loads it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.ready = True
        return True

    async def predict(self, payload: Any, headers: Any = None, *_: Any) -> dict[str, Any]:
        """Answers v1."""
        rows = np.array(payload["instances"], np.float32)
        [found] = self.session.run(None, {"input": rows})
        return {"predictions": found.tolist()}


model = Digits("digits")
model.load()
ModelServer().start([model])
