"""`make bench`: every benchmark, or those named, one after the other."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from tests.perf import (
    batch,
    cold_start,
    drift,
    drift_peer,
    endpoints,
    experiment,
    fairness,
    gateway,
    kinds,
    overhead,
    scale,
    serving,
    serving_extras,
    settled,
    start_latency,
    sweep,
    throughput,
    trial_pods,
    watching,
)
from tests.perf.common import Options, Result
from tests.perf.figures import Figures

Benchmark = Callable[[Options], Sequence[Result | Figures]]

# The first five need the embedded cluster, with Loopwright in it; serving, what is about one
# sweep, the batches, experiments and drift need neither, and the others, the monitor's memory
# among them, start a control plane.
BENCHMARKS: dict[str, Benchmark] = {
    "start_latency": lambda options: [start_latency.run(options.repeats)],
    "throughput": lambda options: [throughput.run(options.repeats)],
    "gateway": lambda options: gateway.run(options.repeats),
    "cold_start": lambda options: cold_start.run(options.repeats),
    "trial_pods": trial_pods.run,
    "scale": scale.run,
    "endpoints": endpoints.run,
    "kinds": kinds.run,
    "restart": settled.restart,
    "scrape": settled.metrics,
    "fairness": fairness.run,
    "sweep_search": lambda options: sweep.search(options.repeats),
    "sweep_overhead": lambda options: overhead.run(options.repeats),
    "serving": lambda options: serving.run(options.repeats),
    "serving_extras": lambda options: serving_extras.run(options.repeats),
    "batch": lambda options: [batch.run(options.repeats)],
    "batch_memory": lambda _: [batch.memory()],
    "batch_killed": lambda _: [batch.killed()],
    "experiment": lambda _: experiment.run(),
    "monitor_memory": lambda options: watching.run(options.repeats),
    "drift_cost": lambda options: drift.cost(options.repeats),
    "drift_frame": lambda options: drift_peer.run(options.repeats),
    "drift_alarms": lambda _: drift.alarms(),
    "drift_power": lambda _: drift.power(),
}
SCALED = ("scale", "endpoints", "kinds", "restart", "scrape", "fairness")


def main() -> None:
    """Prints what each measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__)
    parser.add_argument("benchmark", nargs="*", help=f"by default all: {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each side")
    parser.add_argument("--jobs", type=int, default=1000, help=f"objects of {', '.join(SCALED)}")
    parser.add_argument("--trials", type=int, default=30, help="trials of trial_pods")
    parser.add_argument("--contender", action="append", default=[], help="of scale; repeatable")
    parser.add_argument("--markdown", action="store_true", help="also print tables for the docs")
    words = parser.parse_args()
    names = words.benchmark or list(BENCHMARKS)
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    options = Options(words.repeats, words.jobs, tuple(words.contender), words.trials)
    tables = []
    for name in names:
        print(f"== {name}", flush=True)
        for result in BENCHMARKS[name](options):
            print("\n".join(result.lines()), flush=True)
            tables.append(result.table(command(name, options)))
    if words.markdown:
        print("\n\n".join(tables))


def command(name: str, options: Options) -> str:
    """What repeats a benchmark."""
    words = f".venv/bin/python -m tests.perf {name} --repeats {options.repeats}"
    if name in SCALED:
        words += f" --jobs {options.jobs}"
    if name == "trial_pods":
        words += f" --trials {options.trials}"
    if name == "scale":
        words += "".join(f" --contender '{who}'" for who in options.contenders)
    return words


if __name__ == "__main__":
    main()
