"""Data capture on the real cluster: from requests through the gateway to rows in the bucket."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from captures import Captures
from endpoints import Endpoint, variant
from objects import s3_folder
from space import Space

from eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

ROWS = 40
DIGIT = [float(i) for i in range(64)]


@pytest.mark.usefixtures("digits")
def test_requests_end_up_in_the_bucket_and_a_change_needs_no_rollout(
    space: Space, s3: dict[str, str]
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
    space.apply({**secret, "stringData": s3})
    root = f"loopwright/{space.name}/captures"
    captures = Captures(s3_folder(s3, space.kubectl), root, "digits")
    destination = {
        "uri": f"s3://loopwright/{space.name}/captures",
        "secretRef": {"name": "s3-credentials"},
    }
    capture = {
        "destination": destination, "samplePercent": 100, "flushSeconds": 2, "retentionDays": 1,
    }  # fmt: skip
    endpoint = Endpoint(space, "digits").apply(variant(), dataCapture=capture)
    endpoint.ready()
    first = endpoint.status()["variants"][0]["serving"]["revision"]

    endpoint.ask(DIGIT, [f"first-{i}" for i in range(ROWS)])
    eventually("all rows", lambda: len(captures.rows()) == ROWS)
    row = captures.rows()["first-0"]
    assert (row["endpoint"], row["variant"], row["revision"]) == ("digits", "main", first)
    assert json.loads(row["request"])["inputs"][0]["data"][63] == 63.0
    assert json.loads(row["response"])["outputs"]
    endpoint.until("healthy", lambda _: endpoint.condition("CaptureHealthy")[0] == "True")

    # A tighter redaction reaches the pods that run.
    capture["redact"] = ["$.inputs[*].data"]
    endpoint.apply(variant(), dataCapture=capture)

    def redacted() -> bool:
        # What comes while the pods change over is not kept.
        endpoint.ask(DIGIT, [f"later-{time.monotonic_ns()}"])
        later = [row for id, row in captures.rows().items() if id.startswith("later-")]
        return any('"[redacted]"' in row["request"] for row in later)

    eventually("redaction", redacted, timeout=240)
    assert endpoint.status()["variants"][0]["serving"]["revision"] == first

    # What is old and of this endpoint goes; what is somebody else's stays.
    hour = "main/year=2020/month=01/day=01/hour=00"
    for name in ("pod-1577836800000000.parquet", "notes.txt"):
        captures.put(f"digits/{hour}/{name}")
    space.kubectl.run("delete", "pod", "-n", space.name, "-l",
                      "app.kubernetes.io/name=loopwright-monitor")  # fmt: skip
    eventually("deletion", lambda: len(captures.files(f"/digits/{hour}")) == 1, timeout=240)
    assert captures.files(f"/digits/{hour}")[0].endswith("/notes.txt")

    # A storage that refuses harms nobody, and is told.
    capture["destination"] = {**destination, "uri": "s3://no-such-bucket/captures"}
    endpoint.apply(variant(), dataCapture=capture)

    def told(_: dict[str, Any]) -> bool:
        endpoint.ask(DIGIT, ["lost"])
        return endpoint.condition("CaptureHealthy") == ("False", "UploadsFailing")

    endpoint.until("trouble", told, timeout=300)
    assert endpoint.status()["phase"] == "Ready"
