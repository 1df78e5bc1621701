"""Judges a window of counts by a reference: distances, tests, limits, windows and hysteresis.

Pure: time and counts are given. What counts is `loopwright.sketch`; the endpoint's monitor and the
batch runtime call `evaluate`. numpy computes all of it: no scipy, no pandas.
"""

from loopwright.drift.figures import Figures, compare
from loopwright.drift.hysteresis import Hysteresis
from loopwright.drift.reference import Reference
from loopwright.drift.rules import Check, Correction, Limits, Method, Rules, State
from loopwright.drift.verdict import Finding, Verdict, evaluate
from loopwright.drift.windows import Replicas, Window, Windows

__all__ = [
    "Check", "Correction", "Figures", "Finding", "Hysteresis", "Limits", "Method", "Reference",
    "Replicas", "Rules", "State", "Verdict", "Window", "Windows", "compare", "evaluate",
]  # fmt: skip
