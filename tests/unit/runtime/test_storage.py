"""Folders on claims, digests, and what a refusal is told as."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from loopwright.api import names
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime import storage
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, credentials, digest, refusals, sha256

NOBODY = 65534


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mounted claim `data`."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    folder = tmp_path / "pvc" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def locked(claim: Path) -> Iterator[Path]:
    """The claim, but this user has no right to it."""
    (claim / "old").write_bytes(b"old")
    claim.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield claim
    if root:
        os.seteuid(0)
    claim.chmod(0o700)


def test_small_files_come_back(claim: Path) -> None:
    folder = Folder("pvc://data/run/")
    folder.write("deep/er/a.json", b"{}")
    assert folder.uri == "pvc://data/run"
    assert folder.child("deep") == "pvc://data/run/deep"
    assert (claim / "run/deep/er/a.json").read_bytes() == b"{}"
    assert folder.read("deep/er/a.json") == b"{}"
    assert folder.read("deep/er") is None
    assert folder.read("other") is None


def test_a_claims_root_is_a_folder(claim: Path) -> None:
    Folder("pvc://data").write("a", b"1")
    assert (claim / "a").read_bytes() == b"1"
    assert Folder("pvc://data").files() == ["a"]


@pytest.mark.parametrize("size", [0, 1, storage.CHUNK, storage.CHUNK * 2 + 7])
def test_files_of_any_size_are_copied_whole(claim: Path, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(size))
    folder = Folder("pvc://data/run")
    folder.upload(source, "part/x.bin")
    folder.download("part/x.bin", tmp_path / "back/deep.bin")
    assert sha256(tmp_path / "back/deep.bin") == sha256(source)


def test_what_a_folder_holds(claim: Path) -> None:
    folder = Folder("pvc://data/run")
    for name in ("b/2", "a/1", "top", "a/deep/3"):
        folder.write(name, name.encode())
    assert folder.files() == ["a/1", "a/deep/3", "b/2", "top"]
    assert folder.files("a") == ["a/1", "a/deep/3"]
    assert folder.folders() == ["a", "b"]
    folder.remove("a")
    assert folder.files() == ["b/2", "top"]


def test_a_folder_that_is_not_there_is_empty(claim: Path) -> None:
    folder = Folder("pvc://data/never")
    assert folder.files() == []
    assert folder.folders() == []
    assert folder.read("a") is None


def test_a_uri_may_name_one_file(claim: Path, tmp_path: Path) -> None:
    Folder("pvc://data").write("a.csv", b"1,2")
    one = Folder("pvc://data/a.csv")
    assert one.is_file()
    assert not Folder("pvc://data").is_file()
    assert not Folder("pvc://data/b.csv").is_file()
    one.download("", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == b"1,2"


def test_downloading_what_is_not_there_is_told(claim: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^pvc://data/a: not found") as caught:
        Folder("pvc://data").download("a", tmp_path / "a")
    assert caught.value.reason == "StorageNotFound"


def test_the_write_check_leaves_nothing(claim: Path) -> None:
    Folder("pvc://data/run").check_writable()
    assert [path for path in claim.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("uri", ["https://host/a", "file:///a", "/a", "gs://bucket/a"])
def test_other_schemes_cannot_be_written(uri: str) -> None:
    with pytest.raises(RunError, match="only s3:// and pvc://") as caught:
        Folder(uri)
    assert caught.value.reason == "SchemeUnknown"


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: folder.check_writable(),
        lambda folder: folder.write("new", b"1"),
        lambda folder: folder.read("old"),
        lambda folder: folder.files(),
        lambda folder: folder.folders(),
        lambda folder: folder.remove("old"),
    ],
    ids=["check_writable", "write", "read", "files", "folders", "remove"],
)
def test_missing_rights_are_told(locked: Path, use: Callable[[Folder], Any]) -> None:
    with pytest.raises(RunError, match=r"^pvc://data: access denied") as caught:
        use(Folder("pvc://data"))
    assert caught.value.reason == "StorageRefused"
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_full_claim_is_told(claim: Path, tmp_path: Path) -> None:
    (claim / "model.bin").symlink_to("/dev/full")
    source = tmp_path / "model.bin"
    source.write_bytes(b"1" * 100)
    with pytest.raises(RunError, match=r"^pvc://data: no space left$") as caught:
        Folder("pvc://data").upload(source, "model.bin")
    assert caught.value.reason == "NoSpace"
    with pytest.raises(RunError, match="no space left"):
        Folder("pvc://data").write("model.bin", b"1")


def test_removing_what_is_not_there_is_told(claim: Path) -> None:
    with pytest.raises(RunError, match="not found") as caught:
        Folder("pvc://data").remove("never")
    assert caught.value.reason == "StorageNotFound"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "StorageRefused"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "StorageNotFound"),
        (OSError(errno.ENOSPC, "full"), "NoSpace"),
        (OSError("write failed: No space left on device"), "NoSpace"),
        (OSError("AWS Error ACCESS_DENIED during PutObject operation"), "StorageRefused"),
        (OSError("AWS Error UNKNOWN (HTTP status 403) during HeadObject"), "StorageRefused"),
        (OSError("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload"), "StorageNotFound"),
        (OSError(errno.EROFS, "Read-only file system"), "StorageFailed"),
        (TimeoutError("timed out"), "StorageFailed"),
    ],
)
def test_refusals_have_reasons(error: OSError, reason: str) -> None:
    with pytest.raises(RunError, match=r"^s3://b/p: ") as caught, refusals("s3://b/p"):
        raise error
    assert caught.value.reason == reason
    assert caught.value.__cause__ is error
    retried = caught.value.cause is Cause.INFRASTRUCTURE
    assert retried == (reason == "StorageFailed")


def test_a_long_refusal_is_cut() -> None:
    with pytest.raises(RunError) as caught, refusals("s3://b/p"):
        raise OSError("x" * 5000)
    assert len(caught.value.message) < 400


def test_a_number_in_a_path_is_no_refusal() -> None:
    with pytest.raises(RunError) as caught, refusals("pvc://data/run-1403"):
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory: '/mnt/data/run-1403/a'")
    assert caught.value.reason == "StorageFailed"


def test_errors_of_the_code_are_not_swallowed() -> None:
    with pytest.raises(KeyError), refusals("s3://b/p"):
        raise KeyError("a")


def test_a_secret_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECRETS", tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    (tmp_path / "s3").mkdir()
    (tmp_path / "s3/AWS_ACCESS_KEY_ID").write_text("mine\n")
    (tmp_path / "s3/unrelated").write_text("x")
    assert credentials(None)["AWS_ACCESS_KEY_ID"] == "pod"
    found = credentials("s3")
    assert found["AWS_ACCESS_KEY_ID"] == "mine"
    assert found["AWS_REGION"] == "eu-west-1"
    assert "unrelated" not in found


def test_credentials_reach_the_s3_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECRETS", tmp_path)
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(fs, "S3FileSystem", lambda **options: made.append(options))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "s3").mkdir()
    for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL"):
        (tmp_path / f"s3/AWS_{key}").write_text(f"{key}\n")
    Folder("s3://bucket/path", "s3")
    Folder("s3://bucket/path")
    assert made == [
        {
            "region": "us-east-1",
            "access_key": "ACCESS_KEY_ID",
            "secret_key": "SECRET_ACCESS_KEY",
            "session_token": "SESSION_TOKEN",
            "endpoint_override": "ENDPOINT_URL",
            "connect_timeout": 10,
        },
        {"region": "us-east-1", "connect_timeout": 10},
    ]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"hello")
    assert digest(file) == (f"sha256:{hashlib.sha256(b'hello').hexdigest()}", 5)
    assert sha256(file) == digest(file)[0]


def test_the_digest_of_a_folder_is_what_sha256sum_prints(tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    words = ["sha256sum", "a", "b/c", "b/d"]
    printed = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True).stdout
    assert digest(tmp_path) == (f"sha256:{hashlib.sha256(printed).hexdigest()}", 7)


def test_files_are_sorted_as_sort_does(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = ["a-b", "a.csv", "a/b"]
    for name in files:
        (tmp_path / name).write_text(name)
    printed = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True)
    assert digest(tmp_path)[0] == f"sha256:{hashlib.sha256(printed.stdout).hexdigest()}"


def test_the_digest_depends_on_names_and_bytes(tmp_path: Path) -> None:
    found = set()
    for index, (name, text) in enumerate([("a", "1"), ("a", "2"), ("b", "1"), ("c/a", "1")]):
        (tmp_path / f"{index}" / name).parent.mkdir(parents=True)
        (tmp_path / f"{index}" / name).write_text(text)
        found.add(digest(tmp_path / f"{index}")[0])
    assert len(found) == 4


def test_a_mounted_configmap_has_the_digest_of_its_keys(tmp_path: Path) -> None:
    """The kubelet mounts keys as links through `..data`, which changes with each update."""
    plain, mounted = tmp_path / "plain", tmp_path / "mounted"
    version = mounted / "..2026_01_01"
    plain.mkdir()
    version.mkdir(parents=True)
    (mounted / "..data").symlink_to(version.name)
    for key in ("train.csv", "test.csv"):
        (plain / key).write_text(key)
        (version / key).write_text(key)
        (mounted / key).symlink_to(f"..data/{key}")
    assert digest(mounted) == digest(plain)


def test_what_is_compressed_stays_as_it_is(claim: Path, tmp_path: Path) -> None:
    folder = Folder("pvc://data/run")
    (tmp_path / "plain").write_bytes(b"plain")
    folder.write("a.gz", b"bytes")
    folder.upload(tmp_path / "plain", "b.gz")
    with folder.create("c.gz") as stream:
        stream.write(b"more")
    assert [(claim / "run" / f"{n}.gz").read_bytes() for n in "abc"] == [
        b"bytes",
        b"plain",
        b"more",
    ]
    assert folder.read("a.gz") == b"bytes"
    folder.download("b.gz", tmp_path / "back.gz")
    assert (tmp_path / "back.gz").read_bytes() == b"plain"
