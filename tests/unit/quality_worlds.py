"""An endpoint whose requests and labels are files, and the container that joins them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from loopwright.api import names
from loopwright.api.monitoring_status import WindowVerdict
from loopwright.api.quality_report import QualityConfig
from loopwright.serving.capture import layout
from loopwright.serving.capture.layout import Origin, Row
from loopwright.serving.capture.storage import Claim
from loopwright.serving.capture.writer import parquet
from loopwright.serving.quality.rounds import Rounds

# A window of an hour; its labels may come for two more.
END = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DUE = END + 2 * HOUR + timedelta(seconds=360)


class World:
    """An endpoint whose requests and labels are files of a claim."""

    def __init__(self, root: Path) -> None:
        self.root, self.labels, self.files = root / "captures", root / "lake" / "labels", 0
        self.labels.mkdir(parents=True)
        self.rounds: Rounds | None = None
        self.config = self.asks()

    def asks(self, threshold: str | None = "0.8", labels: dict[str, Any] | None = None, **quality: Any) -> QualityConfig:  # fmt: skip # noqa: E501
        """Another question, of a container that has just begun."""
        own = {"uri": "pvc://lake/labels", "delaySeconds": 7200, **(labels or {})}
        more = quality.pop("monitor", {})
        monitor = {
            "name": "answers", "kind": "ModelQuality", "threshold": threshold, "minSamples": 20,
            "quality": {"labels": own, **quality}, **more,
        }  # fmt: skip
        self.config = QualityConfig.model_validate(
            {
                "endpoint": "ep", "uid": "u", "destination": {"uri": "pvc://captures"},
                "flushSeconds": 300, "variants": ["main", "next"], "monitors": [monitor],
            }
        )  # fmt: skip
        self.rounds = None
        return self.config

    def capture(
        self, answers: dict[str, Any], *, revision: str = "r1", variant: str = "main",
        time: datetime = END - HOUR / 2, status: int = 200, version: str = "",
    ) -> None:  # fmt: skip
        """A file of requests, each with its response, or with what v1 predicts for one row."""
        rows = [
            Row(
                request_id=id, time=time, endpoint="ep", variant=variant, revision=revision,
                model_version=version, model_digest="", protocol="v1", status=status,
                latency_seconds=0.1, request=None, request_bytes=0,
                response=response(answer), response_bytes=0, ce_id=id, ce_source="",
                ce_type="", ce_specversion="",
            )
            for id, answer in answers.items()
        ]  # fmt: skip
        self.files += 1
        origin = Origin("ep", "n", variant, revision, "", "", "pod")
        name = layout.path(origin, layout.folder(time), self.files)
        Claim(self.root).put(name, parquet(rows))

    def label(
        self, found: dict[str, Any], name: str = "a.jsonl", time: datetime = END,
        **more: Sequence[Any],
    ) -> None:  # fmt: skip
        """A file of labels."""
        columns = {"request_id": list(found), "label": list(found.values()), **more}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path = self.labels / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table({key: list(column) for key, column in columns.items()}), path)
        elif name.endswith(".csv"):
            with path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(columns))
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(path, (time.timestamp(), time.timestamp()))

    def reached(self, **metrics: dict[str, str]) -> None:
        """What the operator says of versions."""
        file = self.root.parent / "told" / names.METRICS_KEY
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({name.replace("_", "-"): one for name, one in metrics.items()}))

    def turn(self, now: datetime = DUE) -> dict[tuple[str, str], WindowVerdict]:
        """A round; what it says of each revision."""
        self.rounds = self.rounds or Rounds(self.config)
        return {(one.variant, one.revision): one for one in self.rounds.turn(now)}

    def main(self, now: datetime = DUE) -> WindowVerdict:
        """What it says of the revision that there is."""
        return self.turn(now)["main", "r1"]


def response(answer: Any) -> str | None:
    if answer is None or isinstance(answer, str):
        return answer
    return json.dumps({"predictions": [answer]})


def ids(n: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def same(names: list[str], value: Any) -> dict[str, Any]:
    return dict.fromkeys(names, value)
