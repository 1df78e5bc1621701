"""What is served, and what never is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_folders import describe, digest, linear, model, same, write
from onnx import TensorProto, helper

from loopwright.api import names
from loopwright.api.model import MODEL_FILE
from loopwright.serving.errors import CannotServe
from loopwright.serving.loading import load
from loopwright.serving.settings import Settings

SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
}


def loaded(folder: Path, **settings: Any) -> Any:
    """The model of a folder."""
    return load(Settings(model_name="m", model_dir=str(folder), **settings))


def refused(folder: Path, **settings: Any) -> str:
    """Why it is not served, as Kubernetes will show it."""
    with pytest.raises(CannotServe) as caught:
        loaded(folder, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1024
    return text


def test_a_described_model(tmp_path: Path) -> None:
    known = write(tmp_path, linear(), signature=SIGNATURE)
    found = loaded(tmp_path, model_digest=known)
    assert str(found.signature) == "x FP32 of shape [-1,3]"
    [y] = found.run({"x": np.array([[1, 2, 3]], np.float32)}, ["y"])
    assert y.tolist() == [[4.0, 5.0]]


def test_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    known = write(tmp_path / "claim/digits/model", linear(), signature=SIGNATURE)
    found = load(Settings(model_uri="pvc://claim/digits/model", model_digest=known))
    assert found.digest == known


def test_a_plain_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    onnx.save(linear(), tmp_path / "anything.onnx")
    assert str(loaded(tmp_path).signature) == "x FP32 of shape [-1,3]"
    assert "its content is not verified" in caplog.text


def test_several_plain_files(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "a.onnx")
    onnx.save(linear(), tmp_path / "b.onnx")
    assert "it has a.onnx, b.onnx" in refused(tmp_path)
    onnx.save(same(TensorProto.FLOAT), tmp_path / "model.onnx")
    assert str(loaded(tmp_path).signature) == "x FP32 of shape [-1]"


@pytest.mark.parametrize("described", [True, False])
def test_weights_beside_the_file(tmp_path: Path, described: bool) -> None:
    onnx.save(
        linear(), tmp_path / "model.onnx", save_as_external_data=True,
        location="model.onnx.data", size_threshold=0,
    )  # fmt: skip
    known = describe(tmp_path) if described else ""
    found = loaded(tmp_path, model_digest=known)
    [y] = found.run({"x": np.array([[1, 2, 3]], np.float32)}, ["y"])
    assert y.tolist() == [[4.0, 5.0]]
    if described:
        weights = tmp_path / "model.onnx.data"
        weights.write_bytes(bytes(weights.stat().st_size))
        assert refused(tmp_path, model_digest=known).startswith("DigestMismatch: ")


def test_files_that_are_not_listed_are_not_read(tmp_path: Path) -> None:
    known = write(tmp_path, linear())
    (tmp_path / "added.onnx").write_bytes(b"not a model")
    (tmp_path / "added.data").symlink_to("/nowhere")
    assert loaded(tmp_path, model_digest=known).digest == known


def tampered(folder: Path) -> None:
    """Another model in the place of the one that was described."""
    onnx.save(same(TensorProto.FLOAT), folder / "model.onnx")


def described_anew(folder: Path) -> None:
    """Whoever tampers can also write a new model.json."""
    tampered(folder)
    describe(folder)


def cut(folder: Path) -> None:
    """A copy that broke off."""
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def gone(folder: Path) -> None:
    """Somebody has tidied up."""
    (folder / "model.onnx").unlink()


def undescribed(folder: Path) -> None:
    """Without model.json it could be any model."""
    (folder / MODEL_FILE).unlink()


def no_json(folder: Path) -> None:
    """Something else under that name, with a digest of its own."""
    (folder / MODEL_FILE).write_text("{")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (tampered, "DigestMismatch: "),
        (described_anew, "DigestMismatch: "),
        (cut, "DigestMismatch: "),
        (no_json, "DigestMismatch: "),
        (gone, "ModelNotFound: "),
        (undescribed, "ModelNotFound: "),
    ],
)
def test_a_model_that_was_changed(
    tmp_path: Path, change: Callable[[Path], None], told: str
) -> None:
    known = write(tmp_path, linear(), signature=SIGNATURE)
    change(tmp_path)
    text = refused(tmp_path, model_digest=known)
    assert text.startswith(told)
    assert "restore" in text or "check" in text


@pytest.mark.parametrize("format", ["safetensors", "pickle", "files"])
def test_other_formats(tmp_path: Path, format: str) -> None:
    write(tmp_path, b"x", format=format, name=f"model.{format}")
    text = refused(tmp_path)
    assert text.startswith(f"FormatUnsupported: the format of {tmp_path} is {format}")


def test_nothing_there(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "typo"):
        assert refused(folder).startswith("ModelNotFound: ")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    write(tmp_path, b"not a model")
    assert "ModelInvalid: onnxruntime" in refused(tmp_path)


def test_a_model_json_that_is_none(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"version": 2}'):
        (tmp_path / MODEL_FILE).write_text(text)
        assert refused(tmp_path).startswith("ModelInvalid: ")


@pytest.mark.parametrize("path", ["../model.onnx", "/etc/passwd", "a/../../b.onnx"])
def test_paths_that_lead_out_of_the_folder(tmp_path: Path, path: str) -> None:
    write(tmp_path, linear())
    described = json.loads((tmp_path / MODEL_FILE).read_text())
    described["files"][0]["path"] = path
    (tmp_path / MODEL_FILE).write_text(json.dumps(described))
    assert refused(tmp_path).startswith("ModelInvalid: ")


@pytest.mark.parametrize(
    "change",
    [{"name": "z"}, {"dtype": "float64"}, {"shape": [-1, 3, 1]}, {"dtype": "complex64"}],
)
def test_a_signature_that_is_not_the_files(tmp_path: Path, change: dict[str, Any]) -> None:
    told = {**SIGNATURE, "inputs": [{**SIGNATURE["inputs"][0], **change}]}
    write(tmp_path, linear(), signature=told)
    assert refused(tmp_path).startswith("ModelInvalid: model.json says that input ")


def test_a_signature_may_be_narrower(tmp_path: Path) -> None:
    narrow = {**SIGNATURE, "inputs": [{**SIGNATURE["inputs"][0], "shape": [4, 3]}]}
    write(tmp_path, linear(), signature=narrow)
    assert str(loaded(tmp_path).signature) == "x FP32 of shape [4,3]"


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    content = model([node], [("x", TensorProto.FLOAT, [1])], [])
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    content.graph.output.append(helper.make_value_info("y", helper.make_sequence_type_proto(kind)))
    write(tmp_path, content)
    assert "output y is a seq(tensor(float))" in refused(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, linear())

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    text = refused(tmp_path)
    assert text.startswith("StorageRefused: ")
    assert "set fsGroup" in text


def test_an_unknown_scheme() -> None:
    with pytest.raises(CannotServe, match="use s3://bucket/path, pvc://claim/path or a folder"):
        load(Settings(model_uri="ftp://host/path"))


def test_the_digest_is_that_of_the_bytes() -> None:
    assert digest(b"") == (
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
