"""Model directories, baselines, what pods have counted, and histories of sweeps."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fuzzing import altered, damaged, documents, fuzzed, text
from hypothesis import strategies as st
from model_folders import WEIGHTS
from onnx import TensorProto, helper
from pydantic import ValidationError

from loopwright.api import names, sweep_history
from loopwright.api.baseline import Baseline
from loopwright.api.model import MODEL_FILE, ModelManifest
from loopwright.monitor.exposition import parse
from loopwright.runtime import checkpoints
from loopwright.runtime.errors import RunError
from loopwright.runtime.state import RunProgress, RunState
from loopwright.runtime.storage import Folder
from loopwright.serving.errors import CannotServe
from loopwright.serving.loading import load, verify
from loopwright.serving.quality.remembered import State
from loopwright.serving.settings import Settings
from loopwright.serving.source import LocalFolder
from loopwright.sketch import Layout, Sketch, Snapshot, max_bytes

PROFILE = {
    "name": "x", "kind": "Numeric", "edges": [0.0, 1.0], "counts": [1, 2, 3], "count": 6,
    "missing": 1, "mean": 0.5, "std": 1.0, "min": -1.0, "max": 2.0,
}  # fmt: skip
WORDS = {
    "name": "w", "kind": "Categorical", "edges": [], "categories": ["a", "b"], "counts": [1, 2, 3],
    "count": 6, "rare": [5], "singletons": 1, "doubletons": 1,
}  # fmt: skip
BASELINE = {
    "version": 2, "rows": 6, "features": [PROFILE, WORDS],
    "sources": [{"tensor": "x", "method": "Columns", "features": 2, "size": 2}],
    "predictions": [PROFILE], "predictionSources": [{"method": "Norm", "features": 1}],
}  # fmt: skip
MANIFEST = {
    "version": 1, "format": "onnx", "created": "2026-11-30T07:00:00Z",
    "files": [{"path": "model.onnx", "sha256": f"sha256:{'0' * 64}", "size": 3}],
    "signature": {"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
                  "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}]},
    "architecture": {"builder": "sequential", "arguments": {"a": 1}},
    "frameworks": {"onnx": "1"}, "metrics": [{"name": "loss", "value": "1"}], "baseline": BASELINE,
    "lineage": {"job": "team/j", "uid": "u", "attempt": 1, "image": "i"},
}  # fmt: skip


class Recording(LocalFolder):
    """Says which files were asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__("pvc://claim", path)
        self.asked: list[str] = []

    def read(self, name: str) -> bytes | None:
        self.asked.append(name)
        return super().read(name)


@fuzzed("model.json", document=altered(MANIFEST))
def test_model_directories(tmp_path: Path, document: Any) -> bool:
    (tmp_path / MODEL_FILE).write_bytes(text(document))
    source = Recording(tmp_path)
    try:
        verify(source, "", ["onnx"])
    except CannotServe as error:
        assert len(str(error)) < 1024
        # Nothing has this digest, but all else may be right.
        taken = error.reason in ("DigestMismatch", "ModelNotFound")
    else:
        taken = True
    inside = [(tmp_path / name).resolve().is_relative_to(tmp_path) for name in source.asked]
    assert all(inside)
    return taken


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\0b", ""])
def test_model_files_that_lead_out_of_the_directory(path: str) -> None:
    files = [{**MANIFEST["files"][0], "path": path}]  # type: ignore[index]
    with pytest.raises(ValidationError):
        ModelManifest.model_validate({**MANIFEST, "files": files})


def _reads(location: str) -> bytes:
    """A model whose weights are in a file that it names."""
    weight = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[6])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "6")):
        weight.external_data.add(key=key, value=value)
    floats = ("x", TensorProto.FLOAT, ["batch"])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])],
        "g", [helper.make_tensor_value_info(*floats)],
        [helper.make_tensor_value_info("y", *floats[1:]),
         helper.make_tensor_value_info("z", TensorProto.UINT8, [6])],
        [weight],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return content


def test_a_model_reads_no_file_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the image the server runs in /, and models that are loaded from bytes read below that."""
    (tmp_path / "secret").write_text("secret")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    for location in ("secret", "./secret", str(tmp_path / "secret"), "../secret"):
        (folder / "model.onnx").write_bytes(_reads(location))
        with pytest.raises(CannotServe, match="ModelInvalid"):
            load(Settings(model_name="m", model_dir=str(folder)))


@fuzzed(
    "ONNX file",
    examples=15,
    content=damaged([onnx.load_model_from_string(_reads("w.data")).SerializeToString()]),
)
def test_onnx(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "w.data").write_bytes(WEIGHTS.tobytes())
    try:
        load(Settings(model_name="m", model_dir=str(tmp_path)))
    except CannotServe:
        return False
    return True


@fuzzed("baseline", document=altered(BASELINE))
def test_baselines(document: Any) -> bool:
    try:
        layout = Layout.of(Baseline.model_validate_json(text(document)))
    except ValueError:
        # As Sketches and the server expect.
        return False
    counted = Sketch(layout).snapshot().to_bytes()
    assert len(counted) <= max_bytes(layout)
    Snapshot.parse(counted, layout)
    return True


LAYOUT = Layout.of(Baseline.model_validate_json(text(BASELINE)))


@fuzzed("snapshot of a pod", content=damaged([Sketch(LAYOUT).snapshot().to_bytes()]))
def test_snapshots(content: bytes) -> bool:
    try:
        found = Snapshot.parse(content, LAYOUT)
    except ValueError:
        return False
    assert np.isfinite(found.counts.sums).all()
    return True


METRICS = b"""# TYPE loopwright_serving_requests_total counter
loopwright_serving_requests_total{endpoint="e",variant="v",protocol="v1",code="200"} 5.0
loopwright_serving_request_seconds_bucket{le="0.5"} 5
loopwright_serving_requests_in_flight 1
process_start_time_seconds 1.7e9
loopwright_serving_capture_dropped_total{reason="full"} 2
loopwright_serving_capture_failing 0
"""


@fuzzed("metrics of a pod", content=damaged([METRICS]))
def test_metrics(content: bytes) -> bool:
    try:
        found = parse(content.decode())
    except ValueError:
        return False
    if found is not None:
        numbers = (found.counters.requests, found.counters.errors, found.in_flight)
        assert np.isfinite([*numbers, *found.counters.buckets.values()]).all()
    return found is not None


def test_counters_that_no_process_reaches() -> None:
    """The sum of finite numbers need not be finite, and what comes of it no number at all."""
    name = "loopwright_serving_requests_total"
    with pytest.raises(ValueError, match="cannot be"):
        parse(f'{name}{{code="200"}} 1e308\n{name}{{code="201"}} 1e308\n')


TRIAL = {
    "version": 1, "sweep": "s", "number": 1, "name": "t1", "state": "Succeeded",
    "parameters": {"lr": "0.1", "net": "small"}, "objectives": {"loss": 0.5},
    "directions": {"loss": "Minimize"}, "step": 3, "seconds": 2.0, "tries": 1,
    "startTime": "2026-11-30T07:00:00Z", "endTime": "2026-11-30T07:00:02Z",
    "curve": [{"step": 1, "values": {"loss": 0.7}}, {"step": 3, "values": {"loss": 0.5}}],
}  # fmt: skip


@fuzzed("history of a sweep", document=altered(TRIAL), cut=st.integers(0, 30))
def test_histories(document: Any, cut: int) -> bool:
    line = json.dumps(document)
    found = sweep_history.parse(f"{line}\n{line[: len(line) - cut]}\n")
    sweep_history.ranked(found)
    sweep_history.pareto(found)
    return bool(found)


MESSAGES: list[dict[str, Any]] = [
    {"type": "report", "metrics": {"loss": 0.5}, "step": 1, "total_steps": 5, "epoch": 0},
    {"type": "checkpoint", "uri": "s3://b/c", "step": 1},
    {"type": "input", "name": "train", "uri": "s3://b/d", "digest": None, "size": 5},
    {"type": "validation", "name": "train", "passed": True, "checks": 1, "failed": 0, "rows": 5},
]


@fuzzed(
    "message of training code",
    sent=st.lists(st.sampled_from(MESSAGES).flatmap(altered), max_size=3),
)
def test_messages(sent: list[Any]) -> bool:
    progress = RunProgress(1)
    for one in sent:
        progress.receive(json.loads(text(one)))
    report = progress.report(RunState.RUNNING)
    type(report).model_validate_json(report.model_dump_json(by_alias=True))
    return bool(report.metrics or report.checkpoint or report.inputs)


CHECKPOINT = {"step": 1, "time": "2026-11-30T07:00:00.000000+00:00", "job": "u",
              "files": {"a.pt": f"sha256:{'0' * 64}"}}  # fmt: skip


@fuzzed("manifest of a checkpoint", document=st.one_of(altered(CHECKPOINT), documents))
def test_checkpoints(tmp_path: Path, document: Any) -> bool:
    folder, name = tmp_path / "claim", "step-000000000001"
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / checkpoints.MANIFEST).write_bytes(text(document))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(names, "PVC_DIR", str(tmp_path))
        found = checkpoints.complete(Folder("pvc://claim"))
        checkpoints.to_resume(Folder("pvc://claim"), "Latest", "u")
        with contextlib.suppress(RunError):
            checkpoints.restore(f"pvc://claim/{name}", None, tmp_path / "target" / "here")
    assert {one.name for one in tmp_path.iterdir()} <= {"claim", "target"}
    return bool(found)


@fuzzed(
    "what was judged before",
    content=damaged(
        [b'{"asked":"a","until":"2026-11-30T07:00:00Z","seen":{"a/b":"2026-11-30T07:00:00Z"}}']
    ),
)
def test_states(content: bytes) -> bool:
    try:
        State.model_validate_json(content)
    except ValidationError:
        return False
    return True


def test_a_report_for_people_holds_no_tags_of_others() -> None:
    html = pytest.importorskip("loopwright.runtime.tune.html")
    evil = "</script><script>alert(1)</script>"
    trial = {**TRIAL, "sweep": evil, "name": evil, "parameters": {evil: evil, "lr": "1"},
             "objectives": {evil: 0.5}, "directions": {evil: "Minimize"}}  # fmt: skip
    lines = "".join(
        json.dumps({**trial, "number": n, "parameters": {evil: f"{evil}{n}", "lr": str(n)}}) + "\n"
        for n in (1, 2, 3)
    )
    records = sweep_history.parse(lines)
    if not records:
        pytest.skip("the API refuses such names")
    page = html.render(records)
    assert not re.search(r"<script>alert", page)
