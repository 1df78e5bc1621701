"""The model directory: what model.json says is what is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.model import MODEL_FILE, ModelManifest, Registration
from loopwright.api.modelref import Register
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob_status import Artifacts, DataLineage, MetricValue
from loopwright.runtime.errors import RunError
from loopwright.runtime.modeldir import publish, registration
from loopwright.runtime.storage import Folder
from loopwright.train.model import NOTES

TENSOR = {"name": "x", "dtype": "float32", "shape": [-1, 64]}
SIGNATURE = {"inputs": [TENSOR], "outputs": [{**TENSOR, "name": "y"}]}


@pytest.fixture(autouse=True)
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the model directory is to be."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    monkeypatch.setenv(names.ENV_ATTEMPT, "3")
    return tmp_path / "pvc/models/digits/model"


def config(**spec: Any) -> RunConfig:
    """The configuration of a job with this spec."""
    described = {"function": "a:b", "output": {"uri": "pvc://models/digits"}, **spec}
    return RunConfig.model_validate(
        {
            "name": "digits",
            "namespace": "team",
            "uid": "u-1",
            "image": "runtime:1",
            "outputUri": "pvc://models/digits",
            "checkpointUri": "pvc://models/digits/checkpoints",
            "spec": described,
        }
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder that training writes to."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def left(source: Path, files: Mapping[str, bytes]) -> Path:
    """Training leaves these files."""
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    return source


def published(source: Path, **spec: Any) -> Artifacts:
    """What the report says about a model directory that was made."""
    found = publish(config(**spec), source, [], [])
    assert found is not None
    return found.artifacts


def manifest(claim: Path) -> ModelManifest:
    """The model.json that is stored."""
    return ModelManifest.model_validate_json((claim / MODEL_FILE).read_bytes())


def described(claim: Path) -> dict[str, tuple[str, int]]:
    """Digest and size of each file, as model.json has them."""
    return {file.path: (file.sha256, file.size) for file in manifest(claim).files}


def stored(claim: Path) -> dict[str, tuple[str, int]]:
    """Digest and size of each file, as they are."""
    files = [path for path in claim.rglob("*") if path.is_file() and path.name != MODEL_FILE]
    return {
        str(path.relative_to(claim)): (
            f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            path.stat().st_size,
        )
        for path in files
    }


def test_without_a_model_nothing_is_written(source: Path, claim: Path) -> None:
    assert publish(config(), source, [], []) is None
    left(source, {NOTES: b"{}"})
    assert publish(config(), source, [], []) is None
    assert publish(config(), source / "never", [], []) is None
    assert not claim.exists()


def test_digests_are_those_of_the_stored_files(source: Path, claim: Path) -> None:
    files = {"model.onnx": b"onnx", "tokenizer/vocab.txt": b"a\nb\n", "empty": b""}
    published(left(source, files))
    assert described(claim) == stored(claim)
    assert list(described(claim)) == ["empty", "model.onnx", "tokenizer/vocab.txt"]


def test_the_report_has_the_digest_of_model_json(source: Path, claim: Path) -> None:
    found = published(left(source, {"model.onnx": b"onnx"}))
    text = (claim / MODEL_FILE).read_bytes()
    assert found.model_uri == "pvc://models/digits/model"
    assert found.digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert found.size == len(text) + 4


def test_model_json_is_written_last(
    source: Path, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    upload, write = Folder.upload, Folder.write

    def note_upload(folder: Folder, file: Path, name: str) -> str:
        written.append(name)
        return upload(folder, file, name)

    def note_write(folder: Folder, name: str, content: bytes) -> None:
        written.append(name)
        write(folder, name, content)

    monkeypatch.setattr(Folder, "upload", note_upload)
    monkeypatch.setattr(Folder, "write", note_write)
    published(left(source, {"z": b"1", "a": b"2"}))
    assert written == ["a", "z", MODEL_FILE]


def test_notes_become_signature_and_baseline(source: Path, claim: Path) -> None:
    feature = {"name": "f0", "edges": [0.5], "counts": [1, 2], "count": 3}
    notes = {
        "format": "onnx",
        "signature": SIGNATURE,
        "baseline": {"features": [feature], "rows": 3},
    }
    published(left(source, {"weights.bin": b"1", NOTES: json.dumps(notes).encode()}))
    found = manifest(claim)
    assert found.format == "onnx"
    assert found.signature is not None
    assert found.signature.wire() == SIGNATURE
    assert found.baseline is not None
    assert found.baseline.features[0].counts == [1, 2]
    assert not (claim / NOTES).exists()
    assert list(described(claim)) == ["weights.bin"]


@pytest.mark.parametrize(
    ("files", "form"),
    [
        (["model.onnx", "model.safetensors"], "onnx"),
        (["a/model.safetensors", "config.txt"], "safetensors"),
        (["model.pt"], "pytorch"),
        (["weights.pth", "model.onnx"], "onnx"),
        (["a.joblib", "b.pkl"], "pickle"),
        (["model.cbm"], "files"),
    ],
)
def test_the_format_is_told_by_the_files(
    source: Path, claim: Path, files: list[str], form: str
) -> None:
    published(left(source, dict.fromkeys(files, b"1")))
    assert manifest(claim).format == form
    assert manifest(claim).signature is None


def test_lineage(source: Path, claim: Path) -> None:
    left(source, {"model.pt": b"1"})
    metrics = [MetricValue(name="loss", value="0.1", step=4, min="0.1", max="2")]
    inputs = [DataLineage(name="train", uri="s3://b/train", digest="sha256:0", size=7)]
    publish(config(hyperparameters={"lr": "0.1"}), source, metrics, inputs)
    found = manifest(claim)
    assert found.metrics == metrics
    assert found.lineage.inputs == inputs
    assert (found.lineage.job, found.lineage.uid) == ("team/digits", "u-1")
    assert (found.lineage.attempt, found.lineage.image) == (3, "runtime:1")
    assert found.lineage.hyperparameters == {"lr": "0.1"}
    assert "numpy" in found.frameworks
    assert found.registration is None


def test_registration_is_recorded(source: Path, claim: Path) -> None:
    register = {"model": "digits", "card": "# Digits"}
    published(left(source, {"model.pt": b"1"}), register=register)
    claim = claim.with_name("models") / "u1"
    assert manifest(claim).registration == Registration(
        model="digits", qualified=True, unmet=[], card="# Digits"
    )


def test_what_is_registered_is_not_overwritten(source: Path, claim: Path) -> None:
    """The next job of the same output has another UID, and so another folder."""
    left(source, {"model.onnx": b"1"})
    told = [
        publish(
            config(register={"model": "digits"}).model_copy(update={"uid": uid}), source, [], []
        )
        for uid in ("0123-4567-89ab-cdef", "fedc-ba98")
    ]
    assert [one and one.artifacts.model_uri for one in told] == [
        "pvc://models/digits/models/0123456789", "pvc://models/digits/models/fedcba98",
    ]  # fmt: skip


def test_the_report_tells_the_registry_more(source: Path) -> None:
    left(source, {"model.onnx": b"1"})
    baseline = {"features": [], "rows": 3}
    (source / NOTES).write_text(json.dumps({"signature": SIGNATURE, "baseline": baseline}))
    told = publish(config(), source, [], [])
    assert told is not None
    assert told.artifacts.format == "onnx"
    assert told.model.baseline
    assert told.model.signature is not None
    assert told.model.signature.wire() == SIGNATURE


def test_a_model_json_of_the_training_code_is_refused(source: Path, claim: Path) -> None:
    """It is the usual name of a saved XGBoost model."""
    left(source, {"model.json": b'{"learner": {}}', "a/model.json": b"{}"})
    with pytest.raises(RunError, match=r"model\.json is Loopwright's own") as caught:
        published(source)
    assert caught.value.reason == "ModelInvalid"
    assert not claim.exists()
    (source / "model.json").unlink()
    published(source)
    assert list(described(claim)) == ["a/model.json"]


def test_an_older_description_does_not_outlive_its_files(
    source: Path, claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job writes where an earlier one did, and its pod is lost before the end."""
    published(left(source, {"a.onnx": b"old", "b.onnx": b"old"}))
    upload = Folder.upload

    def lost(folder: Folder, file: Path, name: str) -> str:
        if name == "b.onnx":
            raise InterruptedError
        return upload(folder, file, name)

    monkeypatch.setattr(Folder, "upload", lost)
    with pytest.raises(InterruptedError):
        published(left(source, {"a.onnx": b"new", "b.onnx": b"new"}))
    assert not (claim / MODEL_FILE).exists()


def register(*required: dict[str, str]) -> Register:
    """What a job asks for."""
    return Register.model_validate({"model": "digits", "requireMetrics": list(required)})


@pytest.mark.parametrize(
    ("required", "unmet"),
    [
        ({"metric": "accuracy", "min": "0.9"}, []),
        ({"metric": "accuracy", "min": "0.95"}, []),
        ({"metric": "accuracy", "min": "0.96"}, ["accuracy is 0.95, below 0.96"]),
        ({"metric": "loss", "max": "0.5"}, []),
        ({"metric": "loss", "max": "1e-1"}, ["loss is 0.5, above 1e-1"]),
        ({"metric": "loss", "min": "0.1", "max": "0.2"}, ["loss is 0.5, above 0.2"]),
        ({"metric": "loss", "min": "0.6", "max": "0.9"}, ["loss is 0.5, below 0.6"]),
        ({"metric": "broken", "min": "0"}, ["broken is nan, below 0"]),
        ({"metric": "broken", "max": "0"}, ["broken is nan, above 0"]),
        ({"metric": "auc", "min": "0"}, ["auc was not reported"]),
        ({"metric": "word", "min": "0"}, ["word was not reported"]),
    ],
)
def test_what_registration_requires(required: dict[str, str], unmet: list[str]) -> None:
    values = {"accuracy": "0.95", "loss": "0.5", "broken": "nan", "word": "high"}
    metrics = [MetricValue(name=name, value=value) for name, value in values.items()]
    found = registration(register(required), metrics)
    assert found.unmet == unmet
    assert found.qualified == (not unmet)


def test_all_that_is_unmet_is_listed() -> None:
    asked = register({"metric": "a", "min": "1"}, {"metric": "b", "min": "1"})
    found = registration(asked, [MetricValue(name="a", value="0")])
    assert found.unmet == ["a is 0, below 1", "b was not reported"]
    assert not found.qualified
