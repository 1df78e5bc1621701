"""S3 through the real client, against a small server that keeps objects in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_s3 import BUCKET, S3, fake_s3

from loopwright.api.trainingjob import Input
from loopwright.runtime import checkpoints, inputs
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server that the environment points to."""
    with fake_s3(monkeypatch) as server:
        yield server


def test_a_folder_in_a_bucket(s3: S3, tmp_path: Path) -> None:
    folder = Folder(f"s3://{BUCKET}/run")
    folder.check_writable()
    assert not [key for key in s3.objects if "write-check" in key]
    folder.write("a/b.json", b"{}")
    assert s3.objects["run/a/b.json"] == b"{}"
    assert folder.read("a/b.json") == b"{}"
    assert folder.read("a/c.json") is None
    assert folder.files() == ["a/b.json"]
    assert folder.folders() == ["a"]
    assert not folder.is_file()
    assert Folder(f"s3://{BUCKET}/run/a/b.json").is_file()
    folder.download("a/b.json", tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == b"{}"
    assert s3.keys == {"AWS4-HMAC-SHA256 Credential=key"}


def test_checkpoints_in_a_bucket(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/model.bin").write_bytes(b"weights")
    folder = Folder(f"s3://{BUCKET}/checkpoints")
    for step in (1, 2, 3):
        uri = checkpoints.save(folder, tmp_path / "source", step, keep=2)
    kept = [checkpoint.name for checkpoint in checkpoints.complete(folder)]
    assert kept == ["step-000000000002", "step-000000000003"]
    assert checkpoints.to_resume(folder, "Latest", "new") == uri
    back = checkpoints.restore(uri, None, tmp_path / "back")
    assert (back / "model.bin").read_bytes() == b"weights"


def test_a_sweep_s_state_in_a_bucket(s3: S3) -> None:
    folder = Folder(f"s3://{BUCKET}/sweep")
    for text in (b"1\n", b"1\n2\n"):
        folder.replace("state/000.jsonl", text)
    folder.write("other.txt", b"")
    assert folder.files("state") == ["state/000.jsonl"]
    assert folder.read("state/000.jsonl") == b"1\n2\n"
    trials = Folder(f"s3://{BUCKET}/sweep/state")
    trials.clear()
    trials.clear()
    assert folder.files() == ["other.txt"]


def test_folders_in_folders_of_a_bucket_are_removed(s3: S3) -> None:
    folder = Folder(f"s3://{BUCKET}/sweep")
    for name in ("trials/t1/step-1/a", "trials/t1/step-1/deep/b", "trials/t1/step-2/a", "kept/a"):
        folder.write(name, b"")
    assert "sweep/trials/t1/step-1/" in s3.objects
    Folder(f"s3://{BUCKET}/sweep/trials/t1").clear()
    folder.write("other/c/d", b"")
    folder.remove("other")
    assert folder.files() == ["kept/a"]
    assert not [key for key in s3.objects if "step-" in key or "other" in key]


@pytest.mark.parametrize("uri", ["s3://bucket/sets/a.csv", "s3://bucket/sets"])
def test_inputs_from_a_bucket(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setattr(inputs, "WORK", tmp_path / "work")
    s3.objects["sets/a.csv"] = b"1,2"
    target = str(tmp_path / "in")
    one = Input.model_validate({"name": "a", "source": {"uri": uri}, "mountPath": target})
    folders = inputs.fetch_all([one], lambda _: None)
    assert (folders["a"] / "a.csv").read_bytes() == b"1,2"


def test_an_input_that_is_not_in_the_bucket(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "WORK", tmp_path / "work")
    source = {"name": "a", "source": {"uri": "s3://bucket/no"}, "mountPath": str(tmp_path / "in")}
    with pytest.raises(RunError, match="there is nothing at s3://bucket/no") as caught:
        inputs.fetch_all([Input.model_validate(source)], lambda _: None)
    assert caught.value.reason == "InputMissing"


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
def test_denied_access_is_told(s3: S3, code: str) -> None:
    s3.refuse = (403, code)
    with pytest.raises(RunError, match="access denied; check its secretRef") as caught:
        Folder(f"s3://{BUCKET}/run").check_writable()
    assert caught.value.reason == "StorageRefused"


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId"])
def test_wrong_keys_are_told(s3: S3, code: str) -> None:
    s3.refuse = (403, code)
    with pytest.raises(RunError) as caught:
        Folder(f"s3://{BUCKET}/run").files()
    assert caught.value.reason == "StorageRefused"


def test_a_missing_bucket_is_told(s3: S3) -> None:
    with pytest.raises(RunError) as caught:
        Folder("s3://typo/run").check_writable()
    assert caught.value.reason == "StorageNotFound"
