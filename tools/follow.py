"""Shows a job's progress on a terminal until it ends: a TrainingJob, a sweep or a batch."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from kubectl import Kubectl, KubectlError

BAR_WIDTH = 24
ENDED = {"Succeeded", "Failed"}


def bar(percent: int) -> str:
    """A progress bar of fixed width."""
    full = round(BAR_WIDTH * max(0, min(percent, 100)) / 100)
    return "█" * full + "░" * (BAR_WIDTH - full)


def condition_message(status: dict[str, Any]) -> str:
    """What the job is waiting for, in the operator's words."""
    wanted = {"Stalled": "True", "Ready": "False"}
    for name, value in wanted.items():
        for condition in status.get("conditions", []):
            if condition["type"] == name and condition["status"] == value:
                return str(condition.get("message", ""))
    return ""


def line(status: dict[str, Any]) -> str:
    """One line that says where the job is."""
    phase = status.get("phase", "Pending")
    progress = status.get("progress") or {}
    if "percent" not in progress or phase in ENDED:
        return f"{phase:<13}{condition_message(status)}".rstrip()
    parts = [f"{phase:<13}{bar(progress['percent'])} {progress['percent']:>3} %"]
    parts += _sweep(status) or _batch(status) or _training(status)
    if progress.get("etaSeconds"):
        parts.append(f"{progress['etaSeconds']} s left")
    return "  ".join(parts)


def _training(status: dict[str, Any]) -> list[str]:
    progress = status["progress"]
    parts = [f"epoch {progress['epoch']}"] if "epoch" in progress else []
    return parts + [f"{m['name']} {m['value'][:7]}" for m in status.get("metrics", [])[:3]]


def _sweep(status: dict[str, Any]) -> list[str]:
    trials = status.get("trials") or {}
    if "finished" not in trials:
        return []
    parts = [f"{trials['finished']} trials", f"{trials.get('earlyStopped', 0)} stopped early"]
    if best := status.get("best"):
        parts.append(f"best {best['name']} {best.get('value', '')[:7]}")
    return parts


def _batch(status: dict[str, Any]) -> list[str]:
    shards = status.get("shards") or {}
    if "finished" not in shards:
        return []
    parts = [f"{shards['finished']} shards", f"{(status.get('records') or {}).get('read', 0)} rows"]
    rate = status["progress"].get("recordsPerSecond")
    return parts + ([f"{rate} rows/s"] if rate else [])


def follow(
    kubectl: Kubectl, name: str, namespace: str, *, kind: str = "TrainingJob",
    timeout: float = 900, out: TextIO = sys.stdout,
) -> dict[str, Any]:  # fmt: skip
    """Prints the job's progress until it ends, and returns its last status.

    On a terminal the line is rewritten; in a log each change of it is a line of its own.

    Raises:
        KubectlError: the job is gone, or did not end within `timeout` seconds.
    """
    started, shown = time.monotonic(), ""
    while time.monotonic() - started < timeout:
        job = kubectl.get(kind, name, namespace)
        if job is None:
            raise KubectlError(f"{kind} {namespace}/{name} does not exist")
        status: dict[str, Any] = job.get("status", {})
        text = f"  {time.monotonic() - started:5.0f} s  {line(status)}"
        if line(status) != shown or out.isatty():
            shown = line(status)
            out.write(f"\r\x1b[K{text}" if out.isatty() else f"{text}\n")
            out.flush()
        if status.get("phase") in ENDED:
            out.write("\n" if out.isatty() else "")
            return status
        time.sleep(1)
    raise KubectlError(f"{kind} {namespace}/{name} did not end within {timeout:.0f} s")
