"""BatchTransforms of a small model on a claim of this machine, done without Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_folders import linear, write

from loopwright.api import names
from loopwright.api.batch_report import BatchReport
from loopwright.api.batchconfig import BatchConfig
from loopwright.runtime.batch import driver, pool
from loopwright.runtime.batch.plan import Shard

CLAIM = "data"


class FakeMailbox:
    """Keeps reports."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []

    def put(self, report: BatchReport) -> None:
        """One of many."""
        self.reports.append(report)

    put_first = put

    def put_last(self, report: BatchReport) -> bool:
        """The last."""
        self.reports.append(report)
        return True

    @property
    def last(self) -> BatchReport:
        """The newest."""
        return self.reports[-1]


class FakePool:
    """Does shards in this process, in place of Ray's actors."""

    done: list[int]

    def __init__(self, config: BatchConfig, shards: list[Shard], env: dict[str, str]) -> None:
        text = config.model_dump_json(by_alias=True, exclude_none=True)
        self._process = pool.Process(text, {}, 1, 1.0)
        self._shards = shards
        FakePool.done = []

    def iter_rows(self) -> Iterator[dict[str, str]]:
        """What each shard comes to."""
        for shard in self._shards:
            yield self._process({"shard": shard.model_dump_json()})
            FakePool.done.append(shard.number)


class World:
    """A claim with a model on it, and jobs over its files."""

    def __init__(self, root: Path) -> None:
        self.root = root / CLAIM
        self.digest = write(self.root / "model", linear())

    def write(self, name: str, content: bytes | str) -> Path:
        """A file of the input."""
        path = self.root / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def config(self, format: str = "jsonl", **more: Any) -> BatchConfig:
        """A job; `uid`, `digest`, `endpoint` and fields of the spec by their names on the wire."""
        uid, digest = more.pop("uid", "u1"), more.pop("digest", self.digest)
        source = {"uri": f"pvc://{CLAIM}/in", "format": format, **more.pop("input", {})}
        target = {"uri": f"pvc://{CLAIM}/out", **more.pop("output", {})}
        endpoint = more.pop("endpoint", None)
        ref = {"model": {"modelVersionRef": {"name": "m-v1"}}}
        run = {"model": {"uri": f"pvc://{CLAIM}/model", "format": "onnx", "digest": digest}}
        if endpoint is not None:
            ref, run = {"endpointRef": {"name": endpoint["name"]}}, {"endpoint": endpoint}
        spec = {
            **ref, "input": source, "output": target, "batching": {"batchSize": 4}, **more,
        }  # fmt: skip
        letters = spec.get("errors", {}).get("deadLetterUri") or f"{target['uri']}/_dead_letter"
        return BatchConfig.model_validate(
            {
                "name": "job", "namespace": "team", "uid": uid, "spec": spec, "image": "image",
                **run, "outputUri": target["uri"], "deadLetterUri": letters, "procsPerWorker": 1,
            }
        )  # fmt: skip

    def run(self, config: BatchConfig) -> BatchReport:
        """Runs an attempt; returns its last report."""
        mailbox: Any = FakeMailbox()
        driver.Driver(config, mailbox).main()
        last: BatchReport = mailbox.last
        return last

    def rows(self, out: str = "out") -> list[Any]:
        """All published JSON lines in order."""
        files = sorted((self.root / out).glob("part-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def letters(self, out: str = "out") -> list[dict[str, Any]]:
        """All dead letters."""
        file = self.root / out / "_dead_letter" / "job.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def published(self, out: str = "out") -> dict[str, bytes]:
        """All files that there are for readers, by name, but who made them."""
        folder = self.root / out
        files = {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }
        files.pop("_SUCCESS", None)
        return files


def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of a test."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    monkeypatch.setattr(driver, "process", FakePool)
    monkeypatch.setattr(driver.ray, "init", lambda **_: None)
    monkeypatch.setattr(driver.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr(driver.signal, "signal", lambda *_: None)
    monkeypatch.setenv(names.ENV_ATTEMPT, "1")
    return World(tmp_path)
