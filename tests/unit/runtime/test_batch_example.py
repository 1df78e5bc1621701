"""The example over Parquet does what it says, but for the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from batches import world
from model_folders import describe

from loopwright.api.batchtransform import BatchTransform
from loopwright.api.report import RunState
from loopwright.train.model import NOTES

EXAMPLE = Path(__file__).parents[3] / "examples" / "batch-parquet.yaml"

pytestmark = pytest.mark.timeout(120)


def test_flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job, batch = yaml.safe_load_all(EXAMPLE.read_text())
    flowers = tmp_path / "flowers"
    monkeypatch.setenv("SM_MODEL_DIR", str(flowers / "model"))
    script = job["spec"]["script"]["inline"]
    exec(script.replace("/mnt/loopwright/pvc", str(tmp_path)), {})  # noqa: S102 (our example)
    told = json.loads((flowers / "model" / NOTES).read_text())
    (flowers / "model" / NOTES).unlink()
    digest = describe(flowers / "model", signature=told["signature"])

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
