"""Shows a TrainingJob's progress on a terminal until it ends."""

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
    if "epoch" in progress:
        parts.append(f"epoch {progress['epoch']}")
    parts += [f"{m['name']} {m['value'][:7]}" for m in status.get("metrics", [])[:3]]
    if progress.get("etaSeconds"):
        parts.append(f"{progress['etaSeconds']} s left")
    return "  ".join(parts)


def follow(
    kubectl: Kubectl, name: str, namespace: str, *, timeout: float = 900, out: TextIO = sys.stdout
) -> dict[str, Any]:
    """Prints the job's progress until it ends, and returns its last status.

    On a terminal the line is rewritten; in a log each change of it is a line of its own.

    Raises:
        KubectlError: the job is gone, or did not end within `timeout` seconds.
    """
    started, shown = time.monotonic(), ""
    while time.monotonic() - started < timeout:
        job = kubectl.get("trainingjob", name, namespace)
        if job is None:
            raise KubectlError(f"TrainingJob {namespace}/{name} does not exist")
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
    raise KubectlError(f"TrainingJob {namespace}/{name} did not end within {timeout:.0f} s")
