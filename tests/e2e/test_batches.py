"""Batches over a real S3 server, and one that loses its driver when it is half done."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from digit_rows import BAD, END, FILES, KIND, ROWS, DigitRows
from endpoints import Endpoint, variant
from kubectl import Kubectl
from objects import s3_folder
from pyarrow import fs
from space import CPU, PATIENCE, SEVERAL_PODS, Space
from stored_model import SECRET

from eventually import eventually

pytestmark = pytest.mark.e2e

LETTERS = "_dead_letter"
REPORT = "_drift/report.html"
MONITORS = [{"name": "drift", "kind": "DataDrift"}, {"name": "says", "kind": "PredictionDrift"}]


def test_gzip_from_s3_to_s3(space: Space, kubectl: Kubectl, digit_rows: DigitRows) -> None:
    digit_rows.model.introduce(space)
    uri = f"{digit_rows.uri}/out"
    batch = digit_rows.transform(
        "scores", {"uri": uri, **SECRET}, numWorkers=0,
        resourcesPerWorker={"cpu": CPU, "memory": "2Gi"}, monitors=MONITORS,
    )  # fmt: skip
    space.apply(batch)
    status = space.phase("scores", "Succeeded", kind=KIND)
    good = FILES * ROWS
    assert status["records"] == {"read": good + len(BAD), "written": good, "failed": len(BAD)}
    assert (status["shards"]["total"], status["shards"]["done"]) == (FILES, FILES)

    storage = s3_folder(digit_rows.model.credentials, kubectl)

    def read(name: str) -> bytes:
        with storage.open_input_file(f"{uri.removeprefix('s3://')}/{name}") as file:
            return bytes(file.read())

    text = read("_manifest.json")
    assert digest(text) == status["outputs"]["digest"]
    manifest = json.loads(text)
    assert manifest["modelDigest"] == digit_rows.model.digest
    parts = {one["path"]: read(one["path"]) for one in manifest["files"]}
    for one in manifest["files"]:
        content = parts[one["path"]]
        assert (one["size"], one["sha256"]) == (len(content), digest(content))
    digit_rows.check(list(parts.values()), read(f"{LETTERS}/scores.jsonl"))
    # Nothing else is left, neither for readers nor for somebody to pay for.
    folder = fs.FileSelector(uri.removeprefix("s3://"), recursive=True)
    files = [one for one in storage.get_file_info(folder) if one.type == fs.FileType.File]
    names = {one.path.removeprefix(f"{folder.base_dir}/") for one in files}
    letters = f"{LETTERS}/scores.jsonl"
    assert names == {*parts, "_manifest.json", "_SUCCESS", letters, REPORT}
    # All rows are those that the model was fitted to, many times over.
    assert [(one["state"], one["samples"]) for one in status["monitors"]] == [("OK", good)] * 2
    drift = next(one for one in status["conditions"] if one["type"] == "DriftDetected")
    assert (drift["status"], drift["reason"]) == ("False", "AsExpected")
    assert space.keys_told(digit_rows.model.credentials) == []


def digest(content: bytes) -> str:
    """As manifests and statuses write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def finished(staging: Path) -> dict[int, tuple[int, int]]:
    """Inode and time of change of the results of each shard that is done."""
    found = {}
    for file in staging.glob("shard-*.json"):
        try:
            done = json.loads(file.read_text())
            about = (staging.parent / done["data"]).stat()
        except (ValueError, FileNotFoundError):
            continue  # It is being written.
        found[done["number"]] = (about.st_ino, about.st_mtime_ns)
    return found


@SEVERAL_PODS
def test_a_killed_driver_repeats_no_shard_and_loses_no_row(
    space: Space, digit_rows: DigitRows
) -> None:
    digit_rows.model.introduce(space)
    # The head has the driver, and the worker pod outlives it for a while. Record by record, so that
    # there is something left to do when the head is gone.
    batch = digit_rows.transform(
        "killed", {"uri": "pvc://results/killed"}, batching={"batchSize": 1}, numWorkers=1,
        resourcesPerWorker={"cpu": "500m", "memory": "2Gi"},
        head={"resources": {"cpu": "500m", "memory": "2Gi"}},
    )  # fmt: skip
    space.apply(batch)
    uid = space.job("killed", KIND)["metadata"]["uid"]
    claim = eventually("the claim's volume", space.folder, timeout=PATIENCE)
    output = claim / "killed"
    staging = output / f"_staging-{uid}"
    half = FILES // 2
    eventually("half of the shards", lambda: len(finished(staging)) >= half, timeout=PATIENCE)
    before = finished(staging)
    [head] = space.pods("killed", "head")
    space.kill_pod(head["metadata"]["name"])
    status = space.phase("killed", "Succeeded", kind=KIND)

    assert status["failures"] == {"application": 0, "infrastructure": 1}
    assert len(before) <= status["shards"]["resumed"] < FILES
    good = FILES * ROWS
    assert status["records"] == {"read": good + len(BAD), "written": good, "failed": len(BAD)}
    parts = sorted(output.glob(f"part-*.{END}"))
    letters = (output / LETTERS / "killed.jsonl").read_bytes()
    digit_rows.check([file.read_bytes() for file in parts], letters)
    assert digest((output / "_manifest.json").read_bytes()) == status["outputs"]["digest"]
    # What was done then is what is published now, untouched since.
    for number, known in before.items():
        about = (output / f"part-{number:05d}.{END}").stat()
        assert (about.st_ino, about.st_mtime_ns) == known, number


def test_an_endpoint_gives_what_its_model_gives(space: Space, digit_rows: DigitRows) -> None:
    digit_rows.model.introduce(space)
    rows = {"uri": f"{digit_rows.uri}/in", "format": "jsonl", "include": ["rows-01.*"], **SECRET}
    spec = {
        "input": rows, "numWorkers": 0, "resourcesPerWorker": {"cpu": "500m", "memory": "2Gi"},
    }  # fmt: skip
    space.apply(digit_rows.transform("local", {"uri": "pvc://results/local"}, **spec))
    space.phase("local", "Succeeded", timeout=400, kind=KIND)
    asked = digit_rows.transform("asked", {"uri": "pvc://results/asked"}, **spec)
    del asked["spec"]["model"]
    asked["spec"] |= {"endpointRef": {"name": "digits"}, "batching": {"maxConcurrent": 8}}
    space.apply(asked)
    # It was there first, and begins once there is somebody to ask.
    Endpoint(space, "digits").apply(variant()).ready()
    status = space.phase("asked", "Succeeded", timeout=400, kind=KIND)
    assert status["records"] == {"read": ROWS, "written": ROWS, "failed": 0}
    assert status["endpoint"] == {"name": "digits", "url": f"http://digits.{space.name}.svc"}
    claim = eventually("the claim's volume", space.folder)
    parts = [claim / name / f"part-00000.{END}" for name in ("local", "asked")]
    assert parts[0].read_bytes() == parts[1].read_bytes()
    manifest = json.loads((claim / "asked" / "_manifest.json").read_text())
    begins = digit_rows.model.digest.removeprefix("sha256:")[:8]
    assert manifest["endpoint"] == {"name": "digits", "answered": [f"main.{begins}"]}
