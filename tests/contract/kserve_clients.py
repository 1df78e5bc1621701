"""Asks a model server through KServe's own clients; runs in the environment of requirements/kserve.

It is given the ports of REST and gRPC, and prints what came back as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferOutput,
    InferRequest,
    RESTConfig,
)

ROWS = [[1.0, 2.0, 3.0], [0.5, 0.0, 0.0]]
NAME = "m"


def asked(binary: bool, name: str = "x") -> InferRequest:
    """An inference."""
    one = InferInput(name=name, shape=[2, 3], datatype="FP32")
    one.set_data_from_numpy(np.array(ROWS, np.float32), binary_data=binary)
    return InferRequest(NAME, [one], request_id="7", parameters={"binary_data_output": binary})


def told(found: Any) -> dict[str, Any]:
    """What an answer says."""
    [output] = found.outputs
    assert isinstance(output, InferOutput)
    return {
        "model": found.model_name, "id": found.id, "name": output.name,
        "datatype": output.datatype, "values": output.as_numpy().tolist(),
    }  # fmt: skip


async def rest(port: int, protocol: str) -> dict[str, Any]:
    """Through InferenceRESTClient."""
    client = InferenceRESTClient(RESTConfig(protocol=protocol, retries=1))
    url = f"http://127.0.0.1:{port}"
    try:
        # What v1 gives is no object of KServe's.
        if protocol == "v1":
            return {
                "infer": await client.infer(url, {"instances": ROWS}, model_name=NAME),
                "model_ready": await client.is_model_ready(url, NAME),
                "live": await client.is_server_live(url),
            }
        refusal = ""
        try:
            await client.infer(url, asked(False, name="wrong"), model_name=NAME)
        except httpx.HTTPStatusError as error:
            refusal = error.response.text
        return {
            "infer": told(await client.infer(url, asked(False), model_name=NAME)),
            "binary": told(await client.infer(url, asked(True), model_name=NAME)),
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, NAME),
            "refusal": refusal,
        }
    finally:
        await client.close()


async def over_grpc(port: int) -> dict[str, Any]:
    """Through InferenceGRPCClient."""
    async with InferenceGRPCClient(f"127.0.0.1:{port}") as client:
        refusal = ""
        try:
            await client.infer(asked(False, name="wrong"))
        except grpc.aio.AioRpcError as error:
            refusal = f"{error.code().name}: {error.details()}"
        return {
            "infer": told(await client.infer(asked(False))),
            "binary": told(await client.infer(asked(True))),
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(NAME),
            "refusal": refusal,
        }


async def main(port: int, grpc_port: int) -> None:
    """Asks everything."""
    found = {
        "v1": await rest(port, "v1"),
        "v2": await rest(port, "v2"),
        "grpc": await over_grpc(grpc_port),
    }
    print(json.dumps(found))


asyncio.run(main(*map(int, sys.argv[1:])))
