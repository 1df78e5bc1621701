"""Every example does on a real cluster what it says it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import ROOT
from objects import s3_folder
from pyarrow import fs
from space import PATIENCE, Space

pytestmark = pytest.mark.e2e

EXAMPLES = sorted(
    file
    for kind in ("batch", "sweep", "trainingjob")
    for file in (ROOT / "examples").glob(f"{kind}-*.yaml")
)


def documents(example: Path) -> list[dict[str, Any]]:
    """The objects of an example, without the namespace they name, if any."""
    return [document for document in yaml.safe_load_all(example.read_text()) if document]


def job_of(example: Path) -> dict[str, Any]:
    """The job that the example is about: its last object."""
    return documents(example)[-1]


# What others of their kind show as well, every time.
EXTENDED = {"batch-images", "sweep-two-objectives", "trainingjob-text"}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, marks=[pytest.mark.extended] if path.stem in EXTENDED else [])
        for path in EXAMPLES
    ],
    ids=[path.stem for path in EXAMPLES],
)
def test_example_does_its_job(example: Path, space: Space, request: pytest.FixtureRequest) -> None:
    job = job_of(example)
    if job["spec"].get("numWorkers"):
        request.getfixturevalue("several_pods")
    credentials = None
    if "s3://" in example.read_text():
        credentials = request.getfixturevalue("s3")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
        space.apply({**secret, "stringData": credentials})
    space.apply(*documents(example))
    name = job["metadata"]["name"]
    status = space.phase(name, "Succeeded", timeout=2 * PATIENCE, kind=job["kind"])
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


def registers_digits(status: dict[str, Any]) -> None:
    """The model is good enough to become a version."""
    accurate(0.95)(status)
    assert status["modelVersion"].startswith("digits-")


def resumed(status: dict[str, Any]) -> None:
    """The second attempt went on where the first one died."""
    first, second = status["attempts"]
    assert (first["cause"], first["exitCode"]) == ("Application", 3)
    assert second["resumedFrom"].endswith("/step-000000000004")
    assert metric(status, "resumed_at") == 4


def beats_the_baseline(status: dict[str, Any]) -> None:
    """The forecast is better than last week's values."""
    assert metric(status, "mae") < 0.95 * metric(status, "baseline_mae")


def told_apart(records: int, failed: int) -> Callable[[dict[str, Any]], None]:
    """Checks that what is good was published, and that what is bad was kept out."""

    def check(status: dict[str, Any]) -> None:
        assert status["records"]["written"] == records
        assert status["records"]["failed"] == failed
        assert status["outputs"]["manifestUri"].startswith("pvc://")

    return check


def finds_digits(status: dict[str, Any]) -> None:
    """Most trials were cut short, and the best network became a version."""
    counts = status["trials"]
    assert counts["total"] == 30 == counts["succeeded"] + counts["earlyStopped"]
    assert counts["earlyStopped"] > counts["succeeded"]
    assert float(status["best"]["metrics"]["accuracy"]) > 0.97
    assert status["modelVersion"].startswith("digits-")
    assert status["stopReason"] == "MaxTrials"
    assert status["reportUri"].endswith(".html")


def finds_a_front(status: dict[str, Any]) -> None:
    """No forest of the front is as right and as small as another."""
    front = [
        (float(one["metrics"]["accuracy"]), float(one["metrics"]["leaves"]))
        for one in status["pareto"]
    ]
    assert status["trials"]["succeeded"] == 24
    assert len(front) > 1
    for right, small in front:
        assert not any(a >= right and b <= small for a, b in front if (a, b) != (right, small))


PROMISES: dict[str, Callable[[dict[str, Any]], None]] = {
    "batch-endpoint": told_apart(1_999, 1),
    "batch-images": told_apart(200, 1),
    "batch-parquet": told_apart(14_998, 2),
    "sweep-digits-asha": finds_digits,
    "sweep-two-objectives": finds_a_front,
    "trainingjob-digits": registers_digits,
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
