"""One line says where a job is, whatever its kind."""

from __future__ import annotations

from typing import Any

import pytest
from follow import line

BAR = "████████████░░░░░░░░░░░░"
RUNNING: dict[str, Any] = {"phase": "Running", "progress": {"percent": 50}}
LINES: dict[str, tuple[dict[str, Any], str]] = {
    "new": ({}, "Pending"),
    "waits": (
        {"conditions": [{"type": "Ready", "status": "False", "message": "no claim results"}]},
        "Pending      no claim results",
    ),
    "job": (
        {
            **RUNNING, "progress": {"percent": 50, "epoch": 3, "etaSeconds": 9},
            "metrics": [{"name": "loss", "value": "0.123456789"}],
        },
        f"Running      {BAR}  50 %  epoch 3  loss 0.12345  9 s left",
    ),
    "sweep": (
        {
            **RUNNING, "trials": {"finished": "15/30", "earlyStopped": 12},
            "best": {"name": "t7", "value": "0.97"},
        },
        f"Running      {BAR}  50 %  15/30 trials  12 stopped early  best t7 0.97",
    ),
    "young sweep": (
        {**RUNNING, "trials": {"finished": "15/30"}},
        f"Running      {BAR}  50 %  15/30 trials  0 stopped early",
    ),
    "batch": (
        {
            "phase": "Running", "shards": {"finished": "2/4"}, "records": {"read": 1000},
            "progress": {"percent": 50, "recordsPerSecond": "312", "etaSeconds": 3},
        },
        f"Running      {BAR}  50 %  2/4 shards  1000 rows  312 rows/s  3 s left",
    ),
    "ended": (
        {
            **RUNNING, "phase": "Failed",
            "conditions": [{"type": "Stalled", "status": "True", "message": "a bug"}],
        },
        "Failed       a bug",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_line(name: str) -> None:
    status, expected = LINES[name]
    assert line(status) == expected
