"""`make bench`: every benchmark, or those named, one after the other."""

from __future__ import annotations

import argparse

from tests.perf import start_latency, throughput
from tests.perf.common import HEADER

BENCHMARKS = {"start_latency": start_latency.run, "throughput": throughput.run}


def main() -> None:
    """Prints what each measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"by default all: {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each side")
    parser.add_argument("--markdown", action="store_true", help="also print the table for the docs")
    options = parser.parse_args()
    names = options.benchmark or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    rows = []
    for name in names:
        print(f"== {name}", flush=True)
        result = BENCHMARKS[name](options.repeats)
        print("\n".join(result.lines()), flush=True)
        rows.append(result.row(f".venv/bin/python -m tests.perf {name}"))
    if options.markdown:
        print("\n".join([HEADER, *rows]))


if __name__ == "__main__":
    main()
