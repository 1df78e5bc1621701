"""Examples of batches do what they say, but for the cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from batches import world
from model_folders import describe
from model_servers import servers

from loopwright.api.batchtransform import BatchTransform
from loopwright.api.report import RunState
from loopwright.train.model import NOTES

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = pytest.mark.timeout(120)


def trained(job: dict[str, Any], claim: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the example's script; the digest of the model that it leaves on the claim."""
    monkeypatch.setenv("SM_MODEL_DIR", str(claim / "model"))
    script = job["spec"]["script"]["inline"]
    exec(script.replace("/mnt/loopwright/pvc", str(claim.parent)), {})  # noqa: S102 (our example)
    told = json.loads((claim / "model" / NOTES).read_text())
    (claim / "model" / NOTES).unlink()
    return describe(claim / "model", signature=told["signature"])


def test_flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job, batch = yaml.safe_load_all((EXAMPLES / "batch-parquet.yaml").read_text())
    flowers = tmp_path / "flowers"
    digest = trained(job, flowers, monkeypatch)
    made = world(tmp_path, monkeypatch)
    spec = BatchTransform.model_validate({"spec": batch["spec"]}).spec
    config = made.config(digest=digest).model_copy(
        update={"spec": spec, "output_uri": spec.output.uri}
    )
    model = config.model.model_copy(update={"uri": "pvc://flowers/model"})
    letters = f"{spec.output.uri}/_dead_letter"
    report = made.run(config.model_copy(update={"model": model, "dead_letter_uri": letters}))
    assert report.state is RunState.SUCCEEDED, report
    assert report.records.model_dump() == {"read": 15_000, "written": 14_998, "failed": 2}
    assert report.validation is not None and report.validation.passed
    table = pq.read_table(flowers / "out" / "part-00000.parquet")
    assert table.column_names == ["id", "label", "probabilities"]
    lines = (flowers / "out" / "_dead_letter" / "job.jsonl").read_text().splitlines()
    assert [json.loads(line)["record"]["id"] for line in lines] == [7, 11_111]


def test_flowers_through_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES / "batch-endpoint.yaml").read_text()
    _, job, endpoint, batch = yaml.safe_load_all(text)
    claim, name = tmp_path / "blossoms", endpoint["metadata"]["name"]
    digest = trained(job, claim, monkeypatch)
    spec = BatchTransform.model_validate({"spec": batch["spec"]}).spec
    assert spec.endpoint_ref is not None and spec.endpoint_ref.name == name
    made, letters = world(tmp_path, monkeypatch), f"{spec.output.uri}/_dead_letter"
    with servers(tmp_path) as start:
        flags: dict[str, Any] = {"model_dir": claim / "model", "model_digest": digest}
        server = start(model_name=name, **flags).wait_ready()
        config = made.config(endpoint={"name": name, "variant": "main", "url": server.url})
        update = {"spec": spec, "output_uri": spec.output.uri, "dead_letter_uri": letters}
        report = made.run(config.model_copy(update=update))
    assert report.state is RunState.SUCCEEDED, report
    assert report.records.model_dump() == {"read": 2_000, "written": 1_999, "failed": 1}
    rows = (claim / "out" / "part-00000.jsonl").read_text().splitlines()
    assert [json.loads(row)[0] for row in rows] == [n for n in range(2_000) if n != 777]
    [letter] = (claim / "out" / "_dead_letter" / "job.jsonl").read_text().splitlines()
    assert json.loads(letter)["record"]["id"] == 777
