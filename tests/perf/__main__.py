"""`make bench`: every benchmark, one after the other."""

from __future__ import annotations

import runpy

for name in ("start_latency",):
    print(f"== {name}", flush=True)
    runpy.run_module(f"tests.perf.{name}", run_name="__main__")
