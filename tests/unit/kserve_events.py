"""Events as KServe's logger sends them, for a collector that takes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loopwright.serving.capture.events import REQUEST, RESPONSE

ROOT = Path(__file__).parents[2]
BODIES = {REQUEST: b'{"instances": [{"email": "x", "age": 3}]}', RESPONSE: b'{"predictions": [2]}'}


def written(seconds: float) -> str:
    """A time as Go writes it."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "000Z")


def headers(id: str, type: str = REQUEST, at: float = 0.0, **changed: str | None) -> dict[str, str]:
    """Headers of an event.

    Args:
        at: When it was, in seconds since the epoch.
        changed: Other values; None for no such header.
    """
    found: dict[str, str | None] = {
        "Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Type": type, "Ce-Source": "loans-predictor-abc",
        "Ce-Time": written(at), "Ce-Recordedtime": written(at + 0.001),
        "Ce-Inferenceservicename": "loans", "Ce-Namespace": "n", "Ce-Component": "predictor",
        "Ce-Endpoint": "", "Ce-Metadata": "{}", "Content-Type": "application/json",
    }  # fmt: skip
    found |= changed
    return {name: value for name, value in found.items() if value is not None}


def configuration(uri: str = "pvc://captures/team", **more: Any) -> str:
    """What a collector is told."""
    capture = {"destination": {"uri": uri}, "samplePercent": 100, "flushSeconds": 1, **more}
    return json.dumps({"endpoint": "loans", "namespace": "n", "capture": capture})


def start(folder: Path, **more: object) -> subprocess.Popen[str]:
    """A collector as a process, whose capture.json is in the folder, and so is its claim."""
    flags = {"capture_config": folder / "capture.json", "drain_seconds": 0, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "loopwright.serving.capture.collector",
         *(f"--{name}={value}" for name, value in flags.items())],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={
            **os.environ, "PYTHONPATH": str(ROOT / "operator"),
            "LOOPWRIGHT_CAPTURE_DIR": str(folder / "claim"),
            "LOOPWRIGHT_TERMINATION_LOG": str(folder / "termination"),
        },
    )  # fmt: skip
