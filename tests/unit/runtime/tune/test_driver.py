"""A sweep's driver without Ray: what it does before trials begin, and after they have ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sweeps import config, play, spec, trial

from loopwright.api import names
from loopwright.api.hyperparametersweep_status import StopReason, TrialState
from loopwright.api.report import RunState
from loopwright.api.sweep_report import SweepReport
from loopwright.api.sweepconfig import SweepConfig
from loopwright.api.trainingjob_status import Artifacts, Cause
from loopwright.runtime import __main__ as entry
from loopwright.runtime import console
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, sha256
from loopwright.runtime.tune import driver as module
from loopwright.runtime.tune.driver import SweepDriver
from loopwright.runtime.tune.journal import Journal
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Outcome, Study

HOME = "pvc://models/digits/0123456789"


@pytest.fixture(autouse=True)
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Claims are folders."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    monkeypatch.setattr(console, "_container", lambda: None)
    return tmp_path / "models/digits"


class Box:
    """In place of the mailbox."""

    def __init__(self) -> None:
        self.reports: list[SweepReport] = []

    def put_first(self, report: SweepReport) -> None:
        """The first one."""
        self.reports.append(report)

    def put_last(self, report: SweepReport) -> bool:
        """The last one."""
        self.reports.append(report)
        return True


def run(wanted: SweepConfig, study: Study | None = None) -> tuple[int, SweepReport]:
    """A driver that finds this study in storage, and has no Ray to run more trials."""
    journal = Journal(Folder(HOME))
    for number in study.records if study else ():
        journal.save(study.records, number)
    box = Box()
    code = SweepDriver(wanted, box).main()  # type: ignore[arg-type]
    return code, box.reports[-1]


def ended(count: int = 3, **more: Any) -> Study:
    """A study that has come to its end."""
    wanted = spec(maxTrials=count, **more)
    made = Study("digits", wanted)
    play(made, Proposals(wanted, 1))
    return made


def test_a_sweep_that_had_ended_is_ended_again(claim: Path) -> None:
    """Its driver was lost before it could say so."""
    study = ended()
    code, report = run(config(maxTrials=3), study)
    assert (code, report.state, report.stop_reason) == (
        0, RunState.SUCCEEDED, StopReason.MAX_TRIALS,
    )  # fmt: skip
    assert report.best is not None
    assert study.best is not None
    assert report.best.parameters == study.best.parameters
    assert report.history_uri == f"{HOME}/history.jsonl"
    assert report.report_uri == f"{HOME}/report.html"
    assert (claim / "0123456789/report.html").exists()
    assert report.progress is not None
    assert (report.progress.percent, report.progress.step) == (100, 3)


def test_too_many_failures_are_an_error_of_the_code() -> None:
    study = Study("digits", spec(maxFailedTrials=0))
    trial(study, 1.0, Outcome(TrialState.FAILED, "TrainingFailed", "exit code 1\nno data"))
    code, report = run(config(maxFailedTrials=0), study)
    assert (code, report.state) == (1, RunState.FAILED)
    assert report.error is not None
    assert (report.error.reason, report.error.cause) == ("TooManyFailures", Cause.APPLICATION)
    assert report.error.message.endswith("no data")


def test_without_a_result_the_sweep_has_failed() -> None:
    study = Study("digits", spec(maxTrials=2, parallelTrials=1))
    for _ in range(2):
        trial(study, 1.0, Outcome(TrialState.EARLY_STOPPED))
    code, report = run(config(maxTrials=2, parallelTrials=1), study)
    assert code == 1
    assert report.error is not None
    assert report.error.reason == "NoTrialSucceeded"


def test_storage_that_cannot_be_written_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RunError("StorageRefused", "s3://models: access denied; check its secretRef")

    monkeypatch.setattr(Folder, "write", refuse)
    code, report = run(config())
    assert code == 1
    assert report.error is not None
    assert report.error.reason == "StorageRefused"


def test_what_nobody_thought_of_is_no_fault_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(module.warmstart, "known", fail)
    code, report = run(config())
    assert code == 1
    assert report.error is not None
    assert (report.error.reason, report.error.cause) == ("RuntimeFailed", Cause.INFRASTRUCTURE)


def with_model(claim: Path, text: str = "weights") -> Study:
    """A study whose only trial has left a model."""
    folder = claim / "0123456789/trials/t1/model"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(text)
    digest = sha256(folder / "model.onnx")
    manifest = {
        "format": "onnx", "created": "2026-01-01T00:00:00Z",
        "files": [{"path": "model.onnx", "sha256": digest, "size": len(text)}],
        "frameworks": {}, "metrics": [],
        "lineage": {
            "job": "team/digits-t1", "uid": "u-t1", "image": "runtime:1", "attempt": 1,
            "inputs": [], "hyperparameters": {"x": "0.5"},
        },
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(manifest))
    made = Study("digits", spec(maxTrials=1, parallelTrials=1))
    artifacts = Artifacts(model_uri=f"{HOME}/trials/t1/model", format="onnx", digest=digest)
    trial(made, 0.25, Outcome(TrialState.SUCCEEDED, artifacts=artifacts))
    return made


def promoted(**promote: Any) -> SweepConfig:
    """A sweep of one trial, whose model is to be registered."""
    register = {"model": "digits", **promote}
    return config(maxTrials=1, parallelTrials=1, promote=register)


@pytest.mark.parametrize(("limit", "qualified"), [("0.3", True), ("0.2", False)])
def test_the_best_model_is_copied_for_the_registry(
    claim: Path, limit: str, qualified: bool
) -> None:
    wanted = promoted(requireMetrics=[{"metric": "loss", "max": limit}])
    code, report = run(wanted, with_model(claim))
    assert code == 0
    assert report.artifacts is not None
    assert report.artifacts.model_uri == "pvc://models/digits/models/0123456789"
    manifest = claim / "models/0123456789/model.json"
    assert report.artifacts.digest == sha256(manifest)
    told = json.loads(manifest.read_text())
    assert told["registration"]["qualified"] is qualified
    assert (told["lineage"]["job"], told["lineage"]["uid"]) == ("team/digits", "0123456789-ab")
    assert told["lineage"]["hyperparameters"] == {"x": "0.5"}
    assert (claim / "models/0123456789/model.onnx").read_text() == "weights"
    assert [(one.name, one.value) for one in report.metrics] == [("loss", "0.25")]


def test_a_model_that_is_not_what_it_was_is_not_promoted(claim: Path) -> None:
    study = with_model(claim)
    (claim / "0123456789/trials/t1/model/model.onnx").write_text("other")
    code, report = run(promoted(), study)
    assert code == 1
    assert report.error is not None
    assert report.error.reason == "ModelInvalid"
    assert not (claim / "models/0123456789/model.json").exists()


def test_a_kind_is_run_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "CONFIG_DIR", str(tmp_path))
    text = config().model_dump_json(by_alias=True, exclude_none=True)
    (tmp_path / names.CONFIG_KEY).write_text(text)
    seen: list[SweepConfig] = []

    def take(one: SweepConfig) -> int:
        seen.append(one)
        return 7

    monkeypatch.setattr(module, "run", take)
    assert entry.main() == 7
    assert seen == [config()]
