"""Benchmarks against peers in the same run; never part of the tests."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# kubectl and install are programs of tools/, not a package; nor are the tests' own helpers.
FOLDERS = (
    "operator", "tools", "tests", "tests/integration", "tests/unit", "tests/unit/monitor",
    "tests/fault",
)  # fmt: skip
# Nor do peers tell anybody of a benchmark.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path += [str(ROOT / folder) for folder in FOLDERS]
