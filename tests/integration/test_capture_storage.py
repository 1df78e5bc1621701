"""Captured requests in a bucket of a real S3 server, alone on this machine."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from kubectl import HOME, ROOT

from eventually import eventually
from loopwright.api.capture import CaptureDestination, DataCapture
from loopwright.api.quality_report import QualityConfig
from loopwright.serving.capture import layout, retention
from loopwright.serving.capture.frames import Body, Record
from loopwright.serving.capture.layout import Origin
from loopwright.serving.capture.storage import CannotStore, open_storage
from loopwright.serving.capture.writer import Writer
from loopwright.serving.quality.rounds import Rounds
from ports import free_port

NOW = datetime.now(UTC)
ORIGIN = Origin("ep", "n", "main", "r1", "m-v1", "sha256:1", "pod")
BUILD = "from cluster import programs; print(programs.build(programs.S3))"


def program() -> Path:
    """The server, built now or before."""
    found = HOME / "bin" / "versitygw"
    if not found.exists():
        subprocess.run(["python3", "-c", BUILD], cwd=ROOT, check=True)
    return found


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server with an empty bucket, and the folder of the Secret with keys to it."""
    port, bucket, folder = free_port(), tmp_path / "data" / "lake", tmp_path / "secrets" / "keys"
    bucket.mkdir(parents=True)
    folder.mkdir(parents=True)
    values = {
        "AWS_ACCESS_KEY_ID": "lwtest", "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    for name, value in values.items():
        (folder / name).write_text(value)
    monkeypatch.setenv("LOOPWRIGHT_SECRETS_DIR", str(folder.parent))
    root = {"ROOT_ACCESS_KEY": "lwtest", "ROOT_SECRET_KEY": "not-a-secret"}
    process = subprocess.Popen(
        [program(), "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "posix", bucket.parent],
        env={**os.environ, **root}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually("the S3 server", lambda: _answers(port))
        yield folder
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/lake", trust_env=False).status_code in (200, 403)
    except httpx.TransportError:
        return False


def destination() -> CaptureDestination:
    return CaptureDestination.model_validate(
        {"uri": "s3://lake/team/captures", "secretRef": {"name": "keys"}}
    )


def test_files_are_whole_and_old_ones_go(keys: Path, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    capture = DataCapture(destination=destination())
    writer = Writer(ORIGIN, capture, lambda: open_storage(destination()), told.append)
    body = Body("json", 2, b"{}")
    for age in (72, 50, 1, 0):
        moment = NOW - timedelta(hours=age)
        writer.take(Record(f"{age}", moment.timestamp(), "v1", 200, 0.1, body, body))
    writer.flush()
    root = tmp_path / "data" / "lake" / "team" / "captures"
    foreign = root / "ep" / "main" / layout.folder(NOW - timedelta(hours=72)) / "notes.parquet"
    foreign.write_text("somebody else's")
    files = [one for one in root.rglob("pod-*.parquet") if one.is_file()]
    rows = [row for one in files for row in pq.read_table(io.BytesIO(one.read_bytes())).to_pylist()]
    assert {row["request_id"] for row in rows} == {"72", "50", "1", "0"}
    assert sum(one.get("stored", 0) for one in told) == 4
    assert retention.sweep(open_storage(destination()), "ep", NOW - timedelta(days=2)) == 2
    left = [one for one in root.rglob("*.parquet") if one.is_file()]
    assert len(left) == 3
    assert foreign in left


def test_wrong_keys_are_told(keys: Path) -> None:
    (keys / "AWS_SECRET_ACCESS_KEY").write_text("wrong")
    storage = open_storage(destination())
    with pytest.raises(CannotStore, match="access denied; check the Secret"):
        storage.put("a", b"x")
    with pytest.raises(CannotStore, match="access denied"):
        retention.sweep(storage, "ep", NOW)


def test_a_bucket_that_is_not_there(keys: Path) -> None:
    wrong = destination().model_copy(update={"uri": "s3://elsewhere/x"})
    with pytest.raises(CannotStore, match="a: "):
        open_storage(wrong).put("a", b"x")


def answers(labels: str) -> QualityConfig:
    """A monitor of answers whose labels may come for a minute."""
    secret = {"name": "keys"}
    own = {"uri": f"s3://lake/{labels}", "secretRef": secret, "delaySeconds": 60}
    monitor = {
        "name": "answers", "kind": "ModelQuality", "threshold": "0.9", "minSamples": 20,
        "everySeconds": 600, "quality": {"labels": own},
    }  # fmt: skip
    return QualityConfig.model_validate(
        {
            "endpoint": "ep", "uid": "u", "flushSeconds": 1, "variants": ["main"],
            "destination": {"uri": "s3://lake/team/captures", "secretRef": secret},
            "monitors": [monitor],
        }
    )  # fmt: skip


def test_answers_and_labels_of_a_bucket_are_joined_once(keys: Path, tmp_path: Path) -> None:
    capture = DataCapture(destination=destination())
    writer = Writer(ORIGIN, capture, lambda: open_storage(destination()), lambda _: None)
    start = datetime.fromtimestamp(NOW.timestamp() // 600 * 600 - 600, UTC)
    body = Body("json", 20, b'{"predictions": [1]}')
    for n in range(40):
        moment = start.timestamp() + n
        writer.take(Record(f"{n}", moment, "v1", 200, 0.1, body, body))
    writer.flush()
    rows = "".join(f"{n},{int(n < 30)}\n" for n in range(40))
    lake = open_storage(destination().model_copy(update={"uri": "s3://lake/labels"}))
    lake.put("2026/a.csv", f"request_id,label\n{rows}".encode())
    due = start + timedelta(seconds=600 + 60 + 1 + 60)
    found = {one.revision: one for one in Rounds(answers("labels")).turn(due)}
    assert found["r1"].quality is not None
    assert (found["r1"].quality.value, found["r1"].recent) == ("0.75", [True])
    # Another process knows it, without labels too.
    again = {one.revision: one for one in Rounds(answers("labels")).turn(due)}
    assert again == found
    kept = tmp_path / "data" / "lake" / "team" / "captures" / "ep" / "_quality" / "answers.json"
    assert kept.is_file()
    assert retention.sweep(open_storage(destination()), "ep", NOW + timedelta(days=9)) == 1
    assert kept.is_file()


def test_labels_that_may_not_be_read_are_told(keys: Path) -> None:
    capture = DataCapture(destination=destination())
    writer = Writer(ORIGIN, capture, lambda: open_storage(destination()), lambda _: None)
    start = datetime.fromtimestamp(NOW.timestamp() // 600 * 600 - 600, UTC)
    body = Body("json", 20, b'{"predictions": [1]}')
    writer.take(Record("1", start.timestamp(), "v1", 200, 0.1, body, body))
    writer.flush()
    wrong = answers("labels")
    labels = wrong.monitors[0].measures.labels.model_copy(update={"uri": "s3://elsewhere/x"})
    quality = wrong.monitors[0].measures.model_copy(update={"labels": labels})
    monitor = wrong.monitors[0].model_copy(update={"quality": quality})
    config = wrong.model_copy(update={"monitors": [monitor]})
    [found] = Rounds(config).turn(start + timedelta(seconds=721))
    assert (found.state, found.reason) == ("Unknown", "LabelsUnreadable")
    (keys / "AWS_SECRET_ACCESS_KEY").write_text("wrong")
    [found] = Rounds(answers("labels")).turn(start + timedelta(seconds=721))
    assert found.reason == "CaptureUnreadable"
    assert "access denied" in found.message
