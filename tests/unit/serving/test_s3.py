"""Models in buckets, through the real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_s3 import BUCKET, S3, fake_s3
from model_folders import linear, write

from loopwright.serving.errors import CannotServe
from loopwright.serving.loading import load
from loopwright.serving.settings import Settings

URI = f"s3://{BUCKET}/team/digits/model"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server that the environment points to."""
    with fake_s3(monkeypatch) as server:
        yield server


@pytest.fixture
def stored(s3: S3, tmp_path: Path) -> str:
    """A model in the bucket; its digest."""
    known = write(tmp_path, linear())
    for path in tmp_path.iterdir():
        s3.objects[f"team/digits/model/{path.name}"] = path.read_bytes()
    return known


def refused(uri: str = URI, digest: str = "") -> CannotServe:
    """Why a model is not served."""
    with pytest.raises(CannotServe) as caught:
        load(Settings(model_uri=uri, model_digest=digest))
    return caught.value


@pytest.mark.parametrize("uri", [URI, f"{URI}/"])
def test_a_model_in_a_bucket(s3: S3, stored: str, uri: str) -> None:
    found = load(Settings(model_uri=uri, model_digest=stored))
    [y] = found.run({"x": np.array([[1, 2, 3]], np.float32)}, ["y"])
    assert y.tolist() == [[4.0, 5.0]]
    assert s3.keys == {"AWS4-HMAC-SHA256 Credential=key"}


def test_a_plain_file_in_a_bucket(s3: S3, stored: str) -> None:
    del s3.objects["team/digits/model/model.json"]
    assert load(Settings(model_uri=URI)).digest == ""
    assert refused(digest=stored).reason == "ModelNotFound"


def test_a_tampered_file_in_a_bucket(s3: S3, stored: str) -> None:
    s3.objects["team/digits/model/model.onnx"] += b"\0"
    assert refused(digest=stored).reason == "DigestMismatch"


def test_nothing_in_a_bucket(s3: S3) -> None:
    assert refused(f"s3://{BUCKET}/typo").reason == "ModelNotFound"


def test_a_bucket_that_is_not_there(s3: S3) -> None:
    assert refused("s3://typo/model").reason in ("ModelNotFound", "StorageFailed")


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "SignatureDoesNotMatch"])
def test_denied_access(s3: S3, code: str) -> None:
    s3.refuse = (403, code)
    found = refused()
    assert found.reason == "StorageRefused"
    assert "check AWS_ACCESS_KEY_ID" in found.message
