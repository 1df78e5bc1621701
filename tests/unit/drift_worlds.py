"""Baselines and counts that tests of sketches and drift share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from loopwright.api.baseline import Baseline
from loopwright.drift import Check, Finding, Reference, Verdict
from loopwright.sketch import Counts, Layout, Sketch
from loopwright.train.profile import profile


def counted(layout: Layout, inputs: Any, outputs: Any = None) -> Counts:
    """What a new process counts of these tensors; an array is the first input."""
    if isinstance(inputs, np.ndarray):
        inputs = {"": inputs}
    sketch = Sketch(layout)
    sketch.add(inputs, outputs)
    return sketch.snapshot().counts


def table(values: Sequence[float]) -> Any:
    """A table of one column."""
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def compared(before: Any, now: Any) -> tuple[Reference, Counts]:
    """A reference of some rows, and others counted into its bins."""
    baseline = profile(before)
    layout = Layout.of(baseline)
    return Reference.of(baseline, layout), counted(layout, now)


def normal(rows: int, features: int, seed: int = 0) -> tuple[Any, Baseline]:
    """Independent standard normal features, and their profile."""
    data = np.random.default_rng(seed).normal(size=(rows, features))
    return data, profile(data)


def finding(verdict: Verdict, feature: str, check: Check) -> Finding:
    """What a check says of a feature."""
    [found] = [one for one in verdict.findings if (one.feature, one.check) == (feature, check)]
    return found
