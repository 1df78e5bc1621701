"""Every example does on a real cluster what it says it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
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
    PROMISES[example.stem](status)
    if credentials is not None:
        check_stored(s3_folder(credentials, space.kubectl), status)


def metric(status: dict[str, Any], name: str) -> float:
    """A metric's latest value."""
    return next(float(m["value"]) for m in status["metrics"] if m["name"] == name)


def accurate(least: float) -> Callable[[dict[str, Any]], None]:
    """Checks the accuracy on held-out data."""

    def check(status: dict[str, Any]) -> None:
        assert metric(status, "accuracy") >= least
        assert status["artifacts"]["digest"].startswith("sha256:")

    return check


def resumed(status: dict[str, Any]) -> None:
    """The second attempt went on where the first one died."""
    first, second = status["attempts"]
    assert (first["cause"], first["exitCode"]) == ("Application", 3)
    assert second["resumedFrom"].endswith("/step-000000000004")
    assert metric(status, "resumed_at") == 4


def beats_the_baseline(status: dict[str, Any]) -> None:
    """The forecast is better than last week's values."""
    assert metric(status, "mae") < 0.95 * metric(status, "baseline_mae")


PROMISES: dict[str, Callable[[dict[str, Any]], None]] = {
    "trainingjob-digits": accurate(0.95),
    "trainingjob-forecast": beats_the_baseline,
    "trainingjob-resume": resumed,
    "trainingjob-s3": accurate(0.95),
    "trainingjob-sagemaker": accurate(0.9),
    "trainingjob-text": accurate(0.8),
    "trainingjob-torchrun": accurate(0.95),
}


def check_stored(storage: fs.S3FileSystem, status: dict[str, Any]) -> None:
    """The model directory holds what the status and its own model.json say."""
    folder = status["artifacts"]["modelUri"].removeprefix("s3://").rstrip("/")
    manifest = storage.open_input_file(f"{folder}/model.json").readall()
    assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == status["artifacts"]["digest"]
    for file in json.loads(manifest)["files"]:
        content = storage.open_input_file(f"{folder}/{file['path']}").readall()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == file["sha256"]
    log = f"{status['artifacts']['logsUri'].removeprefix('s3://')}/rank-0.log"
    assert storage.get_file_info(log).type == fs.FileType.File


def test_all_examples_make_a_promise() -> None:
    assert [example.stem for example in EXAMPLES] == sorted(PROMISES)
