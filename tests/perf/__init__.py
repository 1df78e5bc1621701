"""Benchmarks against peers in the same run; never part of the tests."""

import sys
from pathlib import Path

# kubectl and install are programs of tools/, not a package.
sys.path.append(str(Path(__file__).parents[2] / "tools"))
