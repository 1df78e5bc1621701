"""`python -m loopwright.runtime`: the entrypoint of every RayJob."""

from __future__ import annotations

import sys

from loopwright.runtime.driver import run

if __name__ == "__main__":
    sys.exit(run())
