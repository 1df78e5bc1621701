"""KServe's own clients get from the model server what they expect."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_folders import linear, write
from model_servers import ROOT, servers

PYTHON = ROOT / ".venv" / "kserve" / "bin" / "python"
PROGRAM = Path(__file__).with_name("kserve_clients.py")
VALUES = [[4.0, 5.0], [0.5, 0.0]]
FOUND = {"model": "m", "id": "7", "name": "y", "datatype": "FP32", "values": VALUES}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the clients got, by protocol."""
    assert PYTHON.exists(), "run `make kserve-venv` first"
    folder = tmp_path_factory.mktemp("server")
    known = write(folder / "model", linear())
    with servers(folder) as start:
        server = start(model_dir=folder / "model", model_digest=known).wait_ready()
        ports = [str(server.port), str(server.grpc_port)]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [PYTHON, PROGRAM, *ports], capture_output=True, text=True, env=env, timeout=600
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout.splitlines()[-1])


def test_v1(answers: dict[str, Any]) -> None:
    assert answers["v1"] == {"infer": {"predictions": VALUES}, "model_ready": True, "live": True}


@pytest.mark.parametrize("protocol", ["v2", "grpc"])
def test_the_open_inference_protocol(answers: dict[str, Any], protocol: str) -> None:
    found = answers[protocol]
    assert (found["infer"], found["binary"]) == (FOUND, FOUND)
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)


def test_refusals(answers: dict[str, Any]) -> None:
    told = "expected inputs x FP32 of shape [-1,3]; found wrong"
    assert json.loads(answers["v2"]["refusal"]) == {"error": told}
    assert answers["grpc"]["refusal"] == f"INVALID_ARGUMENT: {told}"
