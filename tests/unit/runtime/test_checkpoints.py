"""Checkpoints: complete ones alone are listed, resumed from, and counted by `keep`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopwright.api import names
from loopwright.runtime.checkpoints import (
    MANIFEST,
    complete,
    restore,
    save,
    succeeded,
    take_over,
    to_resume,
)
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, sha256

URI = "pvc://data/run/checkpoints"


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoints' folder on its claim."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    folder = tmp_path / "pvc/data/run/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What training wrote."""
    folder = tmp_path / "source"
    (folder / "optimizer").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "optimizer/state.bin").write_bytes(b"moments")
    return folder


class Interrupted(Exception):
    """The pod is gone."""


class Torn(Folder):
    """A folder whose pod is gone after some uploads."""

    def __init__(self, uploads: int) -> None:
        super().__init__(URI)
        self._left = uploads

    def upload(self, source: Path, name: str) -> str:
        """Copies, or is interrupted."""
        if not self._left:
            raise Interrupted
        self._left -= 1
        return super().upload(source, name)

    def write(self, name: str, content: bytes) -> None:
        """The manifest is as much a part of it as the files."""
        if not self._left:
            raise Interrupted
        super().write(name, content)


def steps(folder: Folder) -> list[int]:
    """Steps of complete checkpoints, oldest first."""
    return [int(checkpoint.name[-12:]) for checkpoint in complete(folder)]


def latest(folder: Folder) -> str | None:
    """Where a new job continues."""
    return to_resume(folder, "Latest", "new")


def test_a_checkpoint_comes_back(claim: Path, source: Path, tmp_path: Path) -> None:
    uri = save(Folder(URI), source, 40, keep=3)
    assert uri == f"{URI}/step-000000000040"
    assert latest(Folder(URI)) == uri
    back = restore(uri, None, tmp_path / "back")
    assert back == tmp_path / "back"
    assert (back / "model.bin").read_bytes() == b"weights"
    assert (back / "optimizer/state.bin").read_bytes() == b"moments"


def test_a_uri_may_end_in_a_slash(claim: Path, source: Path, tmp_path: Path) -> None:
    uri = save(Folder(URI), source, 1, keep=3)
    assert (restore(f"{uri}/", None, tmp_path / "back") / "model.bin").exists()


def test_the_manifest_names_every_file(claim: Path, source: Path) -> None:
    save(Folder(URI), source, 7, keep=3)
    save(Folder(URI), source, 8, keep=3, job="u-1")
    manifest = json.loads((claim / "step-000000000007" / MANIFEST).read_text())
    assert manifest["step"] == 7
    assert [checkpoint.job for checkpoint in complete(Folder(URI))] == ["", "u-1"]
    assert manifest["files"] == {
        "model.bin": sha256(source / "model.bin"),
        "optimizer/state.bin": sha256(source / "optimizer/state.bin"),
    }


def test_nothing_is_listed_where_nothing_was_saved(claim: Path) -> None:
    assert complete(Folder(URI)) == []
    assert latest(Folder(URI)) is None


@pytest.mark.parametrize("uploads", [0, 1, 2])
def test_a_torn_one_is_never_resumed_from(
    claim: Path, source: Path, tmp_path: Path, uploads: int
) -> None:
    whole = save(Folder(URI), source, 10, keep=3)
    with pytest.raises(Interrupted):
        save(Torn(uploads), source, 20, keep=3)
    assert steps(Folder(URI)) == [10]
    assert latest(Folder(URI)) == whole
    with pytest.raises(RunError) as caught:
        restore(f"{URI}/step-000000000020", None, tmp_path / "back")
    assert caught.value.reason == "CheckpointMissing"


def test_other_folders_are_no_checkpoints(claim: Path, source: Path) -> None:
    for name in ("step-5", "step-0000000000005", "best", "x-step-000000000005"):
        (claim / name).mkdir()
        (claim / name / MANIFEST).write_text("{}")
    save(Folder(URI), source, 1, keep=1)
    assert steps(Folder(URI)) == [1]
    assert (claim / "best").exists()


def test_keep_drops_the_oldest(claim: Path, source: Path) -> None:
    for step in (2, 9, 10, 100):
        save(Folder(URI), source, step, keep=2)
    assert steps(Folder(URI)) == [10, 100]
    assert not (claim / "step-000000000002").exists()


def test_torn_ones_do_not_count_towards_keep(claim: Path, source: Path) -> None:
    save(Folder(URI), source, 1, keep=2)
    with pytest.raises(Interrupted):
        save(Torn(1), source, 2, keep=2)
    save(Folder(URI), source, 3, keep=2)
    assert steps(Folder(URI)) == [1, 3]


def test_torn_ones_are_cleared_away(claim: Path, source: Path) -> None:
    with pytest.raises(Interrupted):
        save(Torn(1), source, 2, keep=3)
    save(Folder(URI), source, 3, keep=3)
    assert [folder.name for folder in claim.iterdir()] == ["step-000000000003"]


def test_what_was_just_saved_is_kept(claim: Path, source: Path) -> None:
    """With resumeFrom None, a job starts over in a folder that holds later steps."""
    for step in (100, 200, 10):
        uri = save(Folder(URI), source, step, keep=2)
    assert steps(Folder(URI)) == [200, 10]
    assert latest(Folder(URI)) == uri


def test_what_a_success_left_is_not_continued(claim: Path, source: Path) -> None:
    folder = Folder(URI)
    save(folder, source, 10, keep=3, job="first")
    succeeded(folder)
    assert to_resume(folder, "Latest", "second") is None
    assert to_resume(folder, "Latest", "first") == f"{URI}/step-000000000010"
    uri = save(folder, source, 5, keep=3, job="second")
    assert to_resume(folder, "Latest", "third") == uri


def test_a_success_without_checkpoints_leaves_nothing(claim: Path) -> None:
    succeeded(Folder(URI))
    assert not list(claim.iterdir())


OTHER = "s3://elsewhere/step-000000000001"


@pytest.mark.parametrize(
    ("wanted", "job", "expected"),
    [
        ("Latest", "mine", 20),
        ("None", "mine", 20),
        (OTHER, "mine", 20),
        ("Latest", "new", 30),
        ("None", "new", None),
        (OTHER, "new", OTHER),
    ],
)
def test_what_a_job_did_itself_comes_first(
    claim: Path, source: Path, wanted: str, job: str, expected: int | str | None
) -> None:
    for step, owner in ((10, "mine"), (20, "mine"), (30, "other")):
        save(Folder(URI), source, step, keep=9, job=owner)
    if isinstance(expected, int):
        expected = f"{URI}/step-{expected:012d}"
    assert to_resume(Folder(URI), wanted, job) == expected


@pytest.mark.parametrize("wanted", ["Latest", "None"])
def test_with_no_checkpoints_a_job_starts_from_nothing(claim: Path, wanted: str) -> None:
    assert to_resume(Folder(URI), wanted, "new") is None


@pytest.mark.parametrize("content", [b"", b"weightz", b"weights and more"])
def test_a_damaged_file_is_refused(
    claim: Path, source: Path, tmp_path: Path, content: bytes
) -> None:
    uri = save(Folder(URI), source, 4, keep=3)
    (claim / "step-000000000004/model.bin").write_bytes(content)
    with pytest.raises(RunError, match=r"model\.bin is not what its manifest says") as caught:
        restore(uri, None, tmp_path / "back")
    assert caught.value.reason == "CheckpointDamaged"


def test_a_missing_file_is_refused(claim: Path, source: Path, tmp_path: Path) -> None:
    uri = save(Folder(URI), source, 4, keep=3)
    (claim / "step-000000000004/model.bin").unlink()
    with pytest.raises(RunError, match=r"model\.bin is missing") as caught:
        restore(uri, None, tmp_path / "back")
    assert caught.value.reason == "CheckpointDamaged"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])  # noqa: S108
def test_a_manifest_cannot_write_elsewhere(
    claim: Path, source: Path, tmp_path: Path, name: str
) -> None:
    uri = save(Folder(URI), source, 4, keep=3)
    manifest = claim / "step-000000000004" / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": {name: ""}}))
    with pytest.raises(RunError, match="leads out of it") as caught:
        restore(uri, None, tmp_path / "back")
    assert caught.value.reason == "CheckpointDamaged"


def broken(claim: Path, manifest: bytes) -> str:
    """A checkpoint with such a manifest."""
    (claim / "step-000000000008").mkdir()
    (claim / "step-000000000008" / MANIFEST).write_bytes(manifest)
    return f"{URI}/step-000000000008"


def test_an_empty_manifest_does_not_count(claim: Path, source: Path) -> None:
    """As a full claim leaves it: opening the file worked, and writing it did not."""
    whole = save(Folder(URI), source, 4, keep=3)
    broken(claim, b"")
    assert latest(Folder(URI)) == whole


def test_nor_does_one_that_is_cut_off(claim: Path, source: Path) -> None:
    whole = save(Folder(URI), source, 4, keep=3)
    broken(claim, b'{"step": 8, "time": "2026-')
    assert latest(Folder(URI)) == whole


@pytest.mark.parametrize("manifest", [b"", b'{"step": 8, "time": "2026-'])
def test_nor_is_it_restored(claim: Path, tmp_path: Path, manifest: bytes) -> None:
    with pytest.raises(RunError):
        restore(broken(claim, manifest), None, tmp_path / "back")


def test_a_step_saved_again_and_torn_does_not_count(claim: Path, source: Path) -> None:
    save(Folder(URI), source, 4, keep=3)
    (source / "model.bin").write_bytes(b"other weights")
    with pytest.raises(Interrupted):
        save(Torn(1), source, 4, keep=3)
    assert latest(Folder(URI)) is None


def test_a_step_saved_again_holds_its_own_files_alone(
    claim: Path, source: Path, tmp_path: Path
) -> None:
    save(Folder(URI), source, 4, keep=3)
    (source / "optimizer/state.bin").unlink()
    uri = save(Folder(URI), source, 4, keep=3)
    back = restore(uri, None, tmp_path / "back")
    assert not (back / "optimizer/state.bin").exists()


@pytest.fixture
def writing(source: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The script writes to a file right after it was copied."""
    copy = Folder.upload

    def upload(folder: Folder, file: Path, name: str) -> str:
        digest = copy(folder, file, name)
        file.write_bytes(b"the next step")
        return digest

    monkeypatch.setattr(Folder, "upload", upload)
    yield


def test_a_file_that_changes_meanwhile_is_described_as_copied(
    claim: Path, source: Path, tmp_path: Path, writing: None
) -> None:
    """checkpoint.localPath is copied while the script goes on."""
    uri = save(Folder(URI), source, 4, keep=3)
    assert (restore(uri, None, tmp_path / "back") / "model.bin").read_bytes() == b"weights"


def own() -> Folder:
    """The folder of what takes over."""
    return Folder("pvc://data/other/checkpoints")


def test_what_was_taken_over_is_ones_own(claim: Path, source: Path) -> None:
    uri = save(Folder(URI), source, 6, 3, "giver")
    save(own(), source, 9, 3, "taker")
    taken = take_over(uri, own(), 3, "taker")
    assert taken == "pvc://data/other/checkpoints/step-000000000006"
    shutil.rmtree(claim)
    assert to_resume(own(), "None", "taker") == taken
    assert (restore(taken, None, source.parent / "restored") / "model.bin").is_file()


def test_a_newer_one_is_taken_over_where_the_chosen_one_is_gone(claim: Path, source: Path) -> None:
    chosen = save(Folder(URI), source, 6, 1, "giver")
    save(Folder(URI), source, 7, 1, "giver")
    assert take_over(chosen, own(), 3, "taker") == own().child("step-000000000007")


def test_a_newer_one_is_taken_over_where_the_chosen_one_goes_meanwhile(
    claim: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = save(Folder(URI), source, 6, 1, "giver")
    download = Folder.download

    def and_then_it_is_dropped(self: Folder, name: str, target: Path) -> None:
        download(self, name, target)
        if name.startswith("step-000000000006"):
            save(Folder(URI), source, 7, 1, "giver")

    monkeypatch.setattr(Folder, "download", and_then_it_is_dropped)
    assert take_over(chosen, own(), 3, "taker") == own().child("step-000000000007")


def test_nothing_is_taken_over_where_nothing_is(claim: Path, source: Path) -> None:
    assert take_over(f"{URI}/step-000000000006", own(), 3, "taker") is None
    assert complete(own()) == []


def test_what_stays_damaged_is_not_taken_over(claim: Path, source: Path) -> None:
    uri = save(Folder(URI), source, 6, 3, "giver")
    (claim / "step-000000000006/model.bin").write_bytes(b"others")
    with pytest.raises(RunError, match="not what its manifest says"):
        take_over(uri, own(), 3, "taker")
    assert complete(own()) == []
