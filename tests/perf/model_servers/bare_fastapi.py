"""The peer: a model behind FastAPI and uvicorn, as their documentation shows; no metrics.

Arguments: the ONNX file, the port and, for a body that FastAPI does not validate and orjson parses
and writes, the word raw.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

path, port, *raw = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options)
app = FastAPI()


class Rows(BaseModel):
    """The body of v1."""

    instances: list[list[float]]


async def validated(rows: Rows) -> dict[str, list[list[float]]]:
    """Predicts on the event loop, which is the fastest place for a small model."""
    [found] = session.run(None, {"input": np.array(rows.instances, np.float32)})
    return {"predictions": found.tolist()}


async def unvalidated(request: Request) -> Response:
    """The same, by hand."""
    rows = orjson.loads(await request.body())["instances"]
    [found] = session.run(None, {"input": np.array(rows, np.float32)})
    body = orjson.dumps({"predictions": found}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


app.post("/v1/models/digits:predict")(unvalidated if raw else validated)
uvicorn.run(app, port=int(port), access_log=False)
