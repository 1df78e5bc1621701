"""Every example does on a real cluster what it says it does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import ROOT, Kubectl
from pyarrow import fs
from space import Space

pytestmark = pytest.mark.e2e

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def documents(example: Path) -> list[dict[str, Any]]:
    """The objects of an example, without the namespace they name, if any."""
    return [document for document in yaml.safe_load_all(example.read_text()) if document]


def job_of(example: Path) -> dict[str, Any]:
    """The example's TrainingJob."""
    [job] = [d for d in documents(example) if d["kind"] == "TrainingJob"]
    return job


def s3_folder(credentials: dict[str, str], kubectl: Kubectl) -> fs.S3FileSystem:
    """The same storage as seen from this machine, by the Service's address."""
    service = kubectl.get("service", "s3", "s3")
    assert service is not None
    return fs.S3FileSystem(
        access_key=credentials["AWS_ACCESS_KEY_ID"],
        secret_key=credentials["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=f"http://{service['spec']['clusterIP']}:7070",
        region="us-east-1",
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_trains(example: Path, space: Space, request: pytest.FixtureRequest) -> None:
    job = job_of(example)
    credentials = None
    if "s3://" in example.read_text():
        credentials = request.getfixturevalue("s3")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
        space.apply({**secret, "stringData": credentials})
    space.apply(*documents(example))
    name = job["metadata"]["name"]
    status = space.phase(name, "Succeeded", timeout=600)
    metrics = {m["name"]: float(m["value"]) for m in status["metrics"]}
    if "digits" in example.stem:
        assert metrics["accuracy"] >= 0.95
    if "resume" in example.stem:
        assert len(status["attempts"]) == 2
        assert status["attempts"][1]["resumedFrom"]
    if credentials is not None:
        check_model(s3_folder(credentials, space.kubectl), status)


def check_model(storage: fs.S3FileSystem, status: dict[str, Any]) -> None:
    """The model directory holds what the status and its own model.json say."""
    folder = status["artifacts"]["modelUri"].removeprefix("s3://").rstrip("/")
    manifest = storage.open_input_file(f"{folder}/model.json").readall()
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == status["artifacts"]["digest"]
    for file in json.loads(manifest)["files"]:
        content = storage.open_input_file(f"{folder}/{file['path']}").readall()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == file["sha256"]


def test_there_are_examples() -> None:
    assert EXAMPLES
