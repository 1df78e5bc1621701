"""Drift of a frame beside Evidently's DataDriftPreset on the same frame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.perf import ROOT
from tests.perf.common import OURS
from tests.perf.figures import Figures, Quantity, Values

EVIDENTLY_PYTHON = ROOT / ".venv/evidently/bin/python"
SIZES = ((10_000, 10), (100_000, 50))
"""Rows and columns of the frames."""
# One column of so many has moved by half a standard deviation.
MOVED_OF = 5
SHIFT = 0.5

PROFILED, PEER = "loopwright, baseline too", "evidently"
SIDES = {OURS: "judged", PROFILED: "profiled", PEER: "evidently"}
SECONDS = Quantity("time", "s", 3)
CPU = Quantity("CPU time", "s", 3)
ADDED = Quantity("memory that it takes", "MiB", 1)
PEAK = Quantity("peak memory, frames included", "MiB", 0)


def run(
    repeats: int, sizes: Sequence[tuple[int, int]] = SIZES, peer: Path = EVIDENTLY_PYTHON
) -> list[Figures]:
    """All sides in turns, forth and back, each in a process of its own.

    Args:
        sizes: Rows and columns of each frame.
        peer: The Python that has Evidently.
    """
    assert peer.exists(), "run `make evidently-venv` first"
    return [_frame(repeats, *size, peer) for size in sizes]


def _frame(repeats: int, rows: int, columns: int, peer: Path) -> Figures:
    figures = Figures(f"{rows:,} rows of {columns} columns against as many")
    moved = -(-columns // MOVED_OF)
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), rows, columns, moved)
        for turn in range(repeats):
            for who in SIDES if turn % 2 == 0 else reversed(SIDES):
                found = _once(SIDES[who], name, peer)
                assert found["drifted"] == moved, (who, found)
                figures.add(who, _values(found))
                print(f"  {who:<26}{found['seconds']:8.3f} s", flush=True)
    for who in (OURS, PROFILED):
        parts = [
            f"{text} {figures.median(who, one) / figures.median(PEER, one):.3f}"
            for text, one in (("time", SECONDS), ("CPU", CPU), ("memory", ADDED), ("peak", PEAK))
        ]
        figures.comparisons.append(f"{who} to {PEER}: {', '.join(parts)}")
    figures.comparisons.append(f"all say that {moved} of {columns} columns have drifted")
    return figures


def _write(folder: Path, rows: int, columns: int, moved: int) -> None:
    random = np.random.default_rng(0)
    for name in ("before", "now"):
        values = random.normal(size=(rows, columns))
        if name == "now":
            values[:, :moved] += SHIFT
        np.save(folder / f"{name}.npy", values)


def _once(side: str, folder: str, peer: Path) -> dict[str, float]:
    python = str(peer) if side == "evidently" else sys.executable
    # It would tell its makers that it was run.
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "DO_NOT_TRACK": "1"}
    words = [python, str(ROOT / "tests/perf/drift_frame.py"), side, folder]
    found: dict[str, float] = json.loads(subprocess.check_output(words, env=env).splitlines()[-1])
    return found


def _values(found: dict[str, float]) -> Values:
    return {
        SECONDS: found["seconds"], CPU: found["cpu"], ADDED: found["added"], PEAK: found["peak"],
    }  # fmt: skip
