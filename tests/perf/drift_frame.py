"""Compares one frame with another, in a process of its own; prints what it took as JSON.

`python drift_frame.py SIDE FOLDER`: the frames are before.npy and now.npy, rows of numbers. The
sides that are Loopwright's and Evidently's run in different environments.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Rows that come at once, as a request has them.
REQUEST = 256

Compared = Callable[[], int]
"""How many columns have drifted."""


def judged(before: Any, now: Any) -> Compared:
    """Ours, of a model whose baseline was stored when it was trained."""
    from loopwright.train.profile import profile

    baseline = profile(before)
    return lambda: _judge(baseline, now)


def profiled(before: Any, now: Any) -> Compared:
    """Ours, with all that was done when the model was trained."""
    from loopwright.train.profile import profile

    return lambda: _judge(profile(before), now)


def _judge(baseline: Any, now: Any) -> int:
    from loopwright.drift import Reference, evaluate
    from loopwright.drift.rules import Check
    from loopwright.sketch import Layout, Sketch, Snapshot

    layout, reference = Layout.of(baseline), Reference.of(baseline)
    sketch = Sketch(layout)
    for at in range(0, len(now), REQUEST):
        sketch.add({"": now[at : at + REQUEST]})
    data = sketch.snapshot().to_bytes()
    verdict = evaluate(reference, Snapshot.parse(data, layout).counts)
    return len({one.feature for one in verdict.findings
                if one.check is Check.DRIFT and one.violated})  # fmt: skip


def evidently(before: Any, now: Any) -> Compared:
    """DataDriftPreset, as its documentation shows it."""
    import pandas as pd
    from evidently import Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    names = [f"f{place}" for place in range(before.shape[1])]
    frames = [pd.DataFrame(one, columns=names) for one in (now, before)]

    def compare() -> int:
        run = Report([DataDriftPreset()]).run(*map(Dataset.from_pandas, frames))
        [whole] = [m for m in run.dict()["metrics"] if "DriftedColumnsCount" in m["metric_name"]]
        return int(whole["value"]["count"])

    return compare


SIDES: dict[str, Callable[[Any, Any], Compared]] = {
    "judged": judged, "profiled": profiled, "evidently": evidently,
}  # fmt: skip


def main() -> None:
    """Compares a few rows first, so that what is loaded once is not measured."""
    side, folder = SIDES[sys.argv[1]], Path(sys.argv[2])
    before, now = (np.load(folder / f"{name}.npy") for name in ("before", "now"))
    side(before[:2000, :1], now[:2000, :1])()
    work = side(before, now)
    # The kernel forgets what the peak was.
    Path("/proc/self/clear_refs").write_text("5")
    resident = _memory("VmRSS")
    start, cpu = time.perf_counter(), time.process_time()
    drifted = work()
    print(json.dumps({
        "drifted": drifted, "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu, "added": _memory("VmHWM") - resident,
        "peak": _memory("VmHWM"),
    }))  # fmt: skip


def _memory(what: str) -> float:
    """Of this process, in MiB."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
