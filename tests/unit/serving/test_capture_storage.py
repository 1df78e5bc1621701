"""Where captured requests go, and how what is old is deleted: on claims and in buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_s3 import BUCKET, S3, fake_s3

from loopwright.api.capture import CaptureConfig, CaptureDestination
from loopwright.serving.capture import layout, retention
from loopwright.serving.capture.layout import Origin
from loopwright.serving.capture.storage import CannotStore, Storage, open_storage

NOW = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
FOREIGN = [
    "ep/notes.txt",
    "ep/main/readme.parquet",
    "ep/main/year=2026/month=01/day=01/hour=00/report.parquet",
    "other/main/year=2026/month=01/day=01/hour=00/pod-1234567890123456.parquet",
    "ep-2/main/year=2026/month=01/day=01/hour=00/pod-1234567890123456.parquet",
]


def path(variant: str, moment: datetime, number: int = 1) -> str:
    origin = Origin("ep", "n", variant, "r1", "", "", "pod")
    return layout.path(origin, layout.folder(moment), number)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with fake_s3(monkeypatch) as server:
        yield server


@pytest.fixture(params=["claim", "bucket"])
def storage(
    request: pytest.FixtureRequest, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Storage, Callable[[], list[str]]]:
    """A storage, and what says which files are there."""
    if request.param == "bucket":
        found = open_storage(CaptureDestination(uri=f"s3://{BUCKET}/team/captures/"))
        return found, lambda: [key.removeprefix("team/captures/") for key in sorted(s3.objects)]
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path))
    root = tmp_path / "captures"
    found = open_storage(CaptureDestination(uri="pvc://claim/captures"))
    return found, lambda: sorted(
        str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()
    )


def test_only_what_is_old_and_ours_is_deleted(storage: Any) -> None:
    store, there = storage
    hours = [NOW - timedelta(hours=one) for one in (400, 49, 48, 47, 1, 0)]
    names = [path(variant, hour) for variant in ("main", "shadow") for hour in hours]
    for name in [*names, *FOREIGN]:
        store.put(name, b"x")
    assert retention.sweep(store, "ep", NOW - timedelta(days=2)) == 4
    kept = [path(variant, hour) for variant in ("main", "shadow") for hour in hours[2:]]
    assert there() == sorted([*kept, *FOREIGN])
    assert retention.sweep(store, "ep", NOW - timedelta(days=2)) == 0


def test_a_round_is_bounded(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_FILES", 3)
    monkeypatch.setattr(retention, "_BATCH", 2)
    store, there = storage
    for number in range(5):
        store.put(path("main", NOW - timedelta(days=9), number), b"x")
    assert retention.sweep(store, "ep", NOW) == 3
    assert len(there()) == 2
    assert retention.sweep(store, "ep", NOW) == 2
    assert there() == []


def test_files_are_found_and_read(storage: Any) -> None:
    store, _ = storage
    assert list(store.below("ep")) == []
    assert store.read("ep/a.csv") is None
    for name in ("ep/a.csv", "ep/b/c.csv", "other/d.csv"):
        store.put(name, name.encode())
    found = {one.name: one for one in store.below("ep")}
    assert set(found) == {"ep/a.csv", "ep/b/c.csv"}
    assert found["ep/b/c.csv"].size == len("ep/b/c.csv")
    assert all(one.modified.tzinfo is not None for one in found.values())
    assert len(list(store.below(""))) == 3
    assert store.read("ep/b/c.csv") == b"ep/b/c.csv"


def test_nothing_is_there_yet(storage: Any) -> None:
    store, _ = storage
    assert retention.sweep(store, "ep", NOW) == 0


def test_folders_that_are_empty_go_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path / "claim"))
    store = open_storage(CaptureDestination(uri="pvc://claim"))
    old = NOW - timedelta(days=400)
    outside = tmp_path / "outside" / path("main", old).removeprefix("ep/main/")
    outside.parent.mkdir(parents=True)
    outside.write_text("x")
    store.put(path("main", old), b"x")
    (tmp_path / "claim/ep/linked").symlink_to(tmp_path / "outside")
    assert retention.sweep(store, "ep", NOW) == 1
    assert outside.exists()
    assert sorted(one.name for one in (tmp_path / "claim/ep").iterdir()) == ["linked", "main"]
    assert list((tmp_path / "claim/ep/main").iterdir()) == []


def test_what_a_crash_left_is_deleted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_CAPTURE_DIR", str(tmp_path))
    store = open_storage(CaptureDestination(uri="pvc://claim"))
    name = path("main", NOW - timedelta(days=9)) + ".new"
    store.put(name, b"x")
    assert retention.sweep(store, "ep", NOW) == 1


def test_without_a_retention_nothing_is_deleted(s3: S3) -> None:
    for days, left in ((None, 1), (10, 1), (8, 0)):
        s3.objects = {path("main", NOW - timedelta(days=9)): b"x"}
        config = CaptureConfig.model_validate(
            {
                "endpoint": "ep", "namespace": "n",
                "capture": {"destination": {"uri": f"s3://{BUCKET}"}, "retentionDays": days},
            }
        )  # fmt: skip
        retention.turn(config, NOW)
        assert len(s3.objects) == left


def test_a_bucket_that_refuses(s3: S3) -> None:
    store = open_storage(CaptureDestination(uri=f"s3://{BUCKET}/captures"))
    s3.refuse = (403, "AccessDenied")
    with pytest.raises(CannotStore, match="access denied; check the Secret"):
        store.put("a", b"x")
    with pytest.raises(CannotStore, match="access denied"):
        retention.sweep(store, "ep", NOW)


def test_a_secret_stands_for_the_environment(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWRIGHT_SECRETS_DIR", str(tmp_path))
    destination = CaptureDestination.model_validate(
        {"uri": f"s3://{BUCKET}/c", "secretRef": {"name": "keys"}}
    )
    with pytest.raises(CannotStore, match="Secret 'keys' is missing"):
        open_storage(destination)
    (tmp_path / "keys").mkdir()
    values = {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "word",
              "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.server_port}"}  # fmt: skip
    for name, value in values.items():
        (tmp_path / "keys" / name).write_text(f"{value}\n")
    open_storage(destination).put("a", b"x")
    assert list(s3.objects) == ["c/a"]
    assert s3.keys == {"AWS4-HMAC-SHA256 Credential=own"}
