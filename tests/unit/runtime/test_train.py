"""loopwright.train inside a job and outside of one."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loopwright import train
from loopwright.api import names
from loopwright.api.model import Baseline, Signature
from loopwright.runtime import channel, checkpoints
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.train.model import NOTES

VARIABLES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "SM_HPS", "SM_MODEL_DIR", "LOOPWRIGHT_CHANNEL",
    "LOOPWRIGHT_CHECKPOINTS", "LOOPWRIGHT_CHECKPOINT_SECRET", "LOOPWRIGHT_CHECKPOINT_KEEP",
    "LOOPWRIGHT_CHECKPOINT_INTERVAL", "LOOPWRIGHT_RESUME_URI", "LOOPWRIGHT_JOB",
)  # fmt: skip


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job: none of its variables, and an empty folder."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Messages to the driver."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(channel, "send", messages.append)
    return messages


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job's checkpoints."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    monkeypatch.setenv("LOOPWRIGHT_CHECKPOINTS", "pvc://data/checkpoints")
    return tmp_path / "pvc/data/checkpoints"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder to checkpoint."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/model.bin").write_bytes(b"weights")
    return tmp_path / "state"


def test_alone_this_is_rank_0_of_1() -> None:
    assert (train.rank(), train.local_rank(), train.world_size()) == (0, 0, 1)
    assert train.hyperparameters() == {}


def test_in_a_job_they_are_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SM_HPS", '{"lr": "0.1"}')
    assert (train.rank(), train.local_rank(), train.world_size()) == (5, 1, 8)
    assert train.hyperparameters() == {"lr": "0.1"}


def test_inputs_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_CHANNEL_TRAIN_SET", "/in/train-set")
    assert train.input_path("train-set") == Path("/in/train-set")
    with pytest.raises(KeyError):
        train.input_path("other")


def test_outside_a_job_reports_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    train.report({"loss": 0.5}, step=3)
    assert json.loads(capsys.readouterr().out) == {
        "type": "report",
        "metrics": {"loss": 0.5},
        "step": 3,
        "total_steps": None,
        "epoch": None,
    }


def test_only_rank_0_reports(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    train.report({"loss": 0.5})
    assert sent == []


def test_numbers_of_numpy_can_be_reported(sent: list[Any]) -> None:
    values: dict[str, Any] = {"loss": np.float32(0.5), "n": np.int64(3)}
    train.report(values, step=1, total_steps=2, epoch=0)
    assert json.loads(json.dumps(sent[0]))["metrics"] == {"loss": 0.5, "n": 3.0}


def test_what_is_no_number_is_refused_where_it_is_reported(sent: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        train.report({"loss": "much"})  # type: ignore[dict-item]
    train.report({"loss": math.nan})
    assert math.isnan(sent[0]["metrics"]["loss"])


def test_outside_a_job_a_checkpoint_stays_where_it_is(state: Path, sent: list[Any]) -> None:
    assert train.checkpoint(state, step=1) == str(state)
    assert sent == []
    assert train.get_checkpoint() is None


def test_a_checkpoint_is_stored_told_and_restored(
    job: Path, state: Path, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_JOB", "u-1")
    uri = train.checkpoint(state, step=20)
    assert checkpoints.to_resume(Folder("pvc://data/checkpoints"), "None", "u-1") == uri
    assert uri == "pvc://data/checkpoints/step-000000000020"
    assert sent == [{"type": "checkpoint", "uri": uri, "step": 20}]
    monkeypatch.setenv("LOOPWRIGHT_RESUME_URI", uri)
    back = train.get_checkpoint()
    assert back is not None
    assert (back / "model.bin").read_bytes() == b"weights"
    (job / "step-000000000020/model.bin").write_bytes(b"bits")
    with pytest.raises(RunError, match="not what its manifest says"):
        train.get_checkpoint()


def test_as_many_checkpoints_are_kept_as_asked_for(
    job: Path, state: Path, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(5):
        train.checkpoint(state, step=step)
    assert len(list(job.iterdir())) == 3
    monkeypatch.setenv("LOOPWRIGHT_CHECKPOINT_KEEP", "1")
    train.checkpoint(state, step=5)
    assert [folder.name for folder in job.iterdir()] == ["step-000000000005"]


def test_a_checkpoint_is_due_after_the_interval(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(train, "_last_checkpoint", now[0])
    monkeypatch.setenv("LOOPWRIGHT_CHECKPOINT_INTERVAL", "60")
    due = []
    for now[0] in (1000.0, 1059.9, 1060.0):
        due.append(train.should_checkpoint())
    train.checkpoint(state, step=1)
    due.append(train.should_checkpoint())
    assert due == [False, False, True, False]


class Tensor:
    """As much of a tensor as saving a model looks at."""

    dtype = "torch.float32"

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def cpu(self) -> Tensor:
        """Itself."""
        return self


class Module:
    """A model that makes 10 scores of 64 features, as DistributedDataParallel wraps it."""

    training = True

    def __init__(self) -> None:
        self.inside = self

    def cpu(self) -> Module:
        """Itself."""
        return self

    def eval(self) -> Module:
        """Itself, for inference."""
        self.training = False
        return self

    def __call__(self, tensor: Tensor) -> Tensor:
        assert not self.training
        return Tensor(tensor.shape[0], 10)


def torch_with(export: Callable[..., None]) -> Any:
    """A stand-in for torch: exporting is what `export` does."""

    class NoGrad:
        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            return None

    return SimpleNamespace(onnx=SimpleNamespace(export=export), no_grad=NoGrad)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the stand-in for torch was asked to export."""
    calls: list[dict[str, Any]] = []

    def export(module: Any, inputs: Any, path: str, **options: Any) -> None:
        Path(path).write_bytes(b"onnx")
        calls.append(options)

    monkeypatch.setitem(sys.modules, "torch", torch_with(export))
    return calls


def test_saving_a_model_notes_what_it_takes_and_gives(exported: list[dict[str, Any]]) -> None:
    rows = np.arange(6.0).reshape(3, 2)
    folder = train.save_model(Module(), [Tensor(8, 64)], baseline=rows, feature_names=["a", "b"])
    assert folder == Path("loopwright-out/model")
    assert (folder / "model.onnx").read_bytes() == b"onnx"
    assert exported[0]["dynamic_axes"] == {"input": {0: "batch"}, "output": {0: "batch"}}
    notes = json.loads((folder / NOTES).read_text())
    assert notes["format"] == "onnx"
    signature = Signature.model_validate(notes["signature"])
    [taken], [given] = signature.inputs, signature.outputs
    assert (taken.name, taken.dtype, taken.shape) == ("input", "float32", [-1, 64])
    assert (given.name, given.dtype, given.shape) == ("output", "float32", [-1, 10])
    assert [one.name for one in Baseline.model_validate(notes["baseline"]).features] == ["a", "b"]


def test_without_a_baseline_there_is_none(exported: list[dict[str, Any]]) -> None:
    folder = train.save_model(Module(), [Tensor(1, 64)], input_names=["x"], output_names=["y"])
    notes = json.loads((folder / NOTES).read_text())
    assert "baseline" not in notes
    assert notes["signature"]["inputs"][0]["name"] == "x"


def test_other_ranks_save_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "model"))
    monkeypatch.setitem(sys.modules, "torch", None)  # Importing it would fail.
    assert train.save_model(object(), []) == tmp_path / "model"
    assert list((tmp_path / "model").iterdir()) == []
