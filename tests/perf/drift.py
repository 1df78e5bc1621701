"""Drift: what it costs to count and to judge, how often it is wrong, and what it sees.

`drift_cost` has scipy's ks_2samp on the same values as its peer; the others simulate windows of
real data sets (tests/drift_simulation.py).
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from scipy import stats
from tests import drift_simulation as simulation
from tests.drift_simulation import Population, emptied, populations, scaled, shifted, swapped
from tests.perf.figures import Figures, Quantity

from loopwright.drift import Reference, evaluate
from loopwright.serving.counting import Counting
from loopwright.sketch import Layout, Sketch, Snapshot
from loopwright.train.profile import profile

VALUES: Final = 1_000_000
FEATURES: Final = (1, 8, 64)
SMALL: Final = 10_000
REQUEST: Final = 256
MONITOR: Final = "loopwright, the monitor's part"

# Baselines, and windows of each.
BASELINES, EACH = 100, 10
WINDOW, TRAINED = 1000, 5000

MEANS: Final = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
FACTORS: Final = (1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 2.0)
MISSING: Final = (0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1)
SWAPPED: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
POWER_BASELINES, POWER_EACH = 20, 10


def cost(repeats: int) -> list[Figures]:
    """CPU time for a million values, ours and scipy's by turns; of one row; and memory."""
    figures = Figures(f"{VALUES:,} values in float64: CPU time")
    for features in FEATURES:
        _compare(figures, features, repeats)
    figures.comparisons = [
        f"of ks_2samp with a baseline as large, {what}: {_ratios(figures, who)} (bar: 1/10)"
        for what, who in (("counting included", "loopwright"), ("the monitor's part", MONITOR))
    ]
    return [figures, _request(repeats), _memory()]


def _ratios(figures: Figures, who: str) -> str:
    sizes = map(_quantity, FEATURES)
    ratios = [figures.median("ks_2samp", one) / figures.median(who, one) for one in sizes]
    return ", ".join(f"1/{ratio:.1f}" for ratio in ratios)


def _quantity(features: int) -> Quantity:
    return Quantity(f"{features} features" if features > 1 else "1 feature", "ms", 1)


def _compare(figures: Figures, features: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    rows = VALUES // features
    before, now = rng.normal(size=(rows, features)), rng.normal(size=(rows, features))
    small = before[:SMALL]
    baseline = profile(before)
    layout, reference = Layout.of(baseline), Reference.of(baseline)
    data = _counted(layout, now)
    contenders: dict[str, Callable[[], object]] = {
        "loopwright": partial(_watched, layout, reference, now),
        "loopwright, float32": partial(_watched, layout, reference, now.astype(np.float32)),
        MONITOR: partial(_judged, layout, reference, data),
        "ks_2samp": partial(_tested, before, now),
        f"ks_2samp, {SMALL:,} rows of baseline": partial(_tested, small, now),
    }
    for turn in range(repeats + 1):
        for who, work in contenders.items():
            seconds = _cpu(work)
            if turn:
                figures.add(who, {_quantity(features): 1000 * seconds})


def _watched(layout: Layout, reference: Reference, rows: Any) -> object:
    """Counts rows as they come in requests, sends the counts, reads and judges them."""
    return _judged(layout, reference, _counted(layout, rows))


def _counted(layout: Layout, rows: Any) -> bytes:
    """What the model server does."""
    counting = Counting(Sketch(layout), texts=False)
    for at in range(0, len(rows), REQUEST):
        part = rows[at : at + REQUEST]
        counting.add(part.nbytes, {"": part}, [], [])
    return counting.snapshot().to_bytes()


def _judged(layout: Layout, reference: Reference, data: bytes) -> object:
    """What the monitor does."""
    return evaluate(reference, Snapshot.parse(data, layout).counts)


def _tested(before: Any, now: Any) -> object:
    pairs = zip(before.T, now.T, strict=True)
    return [stats.ks_2samp(*one, method="asymp").pvalue for one in pairs]


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _request(repeats: int) -> Figures:
    """A row at a time, as most requests have."""
    figures = Figures("CPU time of counting one row of float32, with label and probabilities")
    rng = np.random.default_rng(0)
    outputs = {"label": rng.integers(0, 10, 2000), "probabilities": rng.dirichlet([1] * 10, 2000)}
    for features in (8, 64, 256):
        rows = rng.normal(size=(2000, features)).astype(np.float32)
        layout = Layout.of(profile({"input": rows}, outputs=outputs))
        requests = [
            ({"input": rows[at : at + 1]}, [array[at : at + 1] for array in outputs.values()])
            for at in range(2000)
        ]
        for turn in range(repeats + 1):
            counting = Counting(Sketch(layout), texts=False)
            seconds = _cpu(partial(_added, counting, list(outputs), requests))
            if turn:
                quantity = Quantity(f"{features} features", "us", 1)
                figures.add("loopwright", {quantity: 1e6 * seconds / len(requests)})
    return figures


def _added(counting: Counting, outputs: list[str], requests: list[Any]) -> None:
    for inputs, arrays in requests:
        counting.add(inputs["input"].nbytes, inputs, outputs, arrays)
    counting.snapshot()


def _memory() -> Figures:
    figures = Figures("Peak memory of counting 64 features, in requests of 256 rows")
    rows = np.random.default_rng(0).normal(size=(REQUEST, 64)).astype(np.float32)
    layout = Layout.of(profile(rows))
    for times in (40, 400, 4000):
        tracemalloc.start()
        sketch = Sketch(layout)
        for _ in range(times):
            sketch.add({"": rows})
        sketch.snapshot()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        quantity = Quantity(f"{times * rows.size:,} values", "KiB", 0)
        figures.add("loopwright", {quantity: most / 1024})
    return figures


def alarms() -> list[Figures]:
    """False alarms in windows without drift."""
    title = f"Windows of {WINDOW} rows without drift that violate something"
    figures = Figures(f"{title}, of {BASELINES * EACH}; baselines of {TRAINED} rows")
    whole, worst = simulation.Alarms(), 0.0
    for population in populations().values():
        found = simulation.alarms(population, WINDOW, TRAINED, BASELINES, EACH, peer=True)
        values = {
            Quantity("tests alone, alpha 0.05", "%", 1): found.rate(found.tests_at_5),
            Quantity("tests alone, alpha 0.01", "%", 1): found.rate(found.tests_at_1),
            Quantity("default rules", "%", 1): found.rate(found.default),
            Quantity("default rules, two of three windows", "%", 1): found.rate(found.held),
            Quantity("any of scipy's ks_2samp below 0.05", "%", 1): found.rate(found.uncorrected),
        }
        figures.add(population.name, values)
        whole.windows += found.windows
        whole.tests_at_5 += found.tests_at_5
        whole.tests_at_1 += found.tests_at_1
        worst = max(worst, found.rate(found.default))
    at_5, at_1 = whole.rate(whole.tests_at_5), whole.rate(whole.tests_at_1)
    figures.comparisons = [
        f"all together: {at_5:.1f} % at alpha 0.05, {at_1:.1f} % at 0.01 (bars: 5 %, 1 %)",
        f"at most {worst:.1f} % with default rules (bar: 1 %)",
    ]
    return [figures]


def power() -> list[Figures]:
    """What share of windows with a change of one column shows it."""
    total = POWER_BASELINES * POWER_EACH
    title = f"of {total} windows of {WINDOW} rows: seen"
    return [
        _curve(f"Mean moved by, {title}", "{} sd", shifted, MEANS, _COLUMNS),
        _curve(f"Standard deviation times, {title}", "{}", scaled, FACTORS, _COLUMNS),
        _curve(f"Share of missing values, {title}", "{:.0%}", emptied, MISSING, _COLUMNS),
        _curve(f"Share of a category that is another, {title}", "{:.0%}", swapped, SWAPPED,
               _CATEGORIES),
    ]  # fmt: skip


# A shift of digits' whole numbers would be one of all values to others.
_COLUMNS: Final = {"normal": "x0", "wine": "alcohol", "diabetes": "bmi"}
_CATEGORIES: Final = {"wine": "cultivar", "diabetes": "sex", "digits": "digit"}


def _curve(
    title: str,
    label: str,
    change: Callable[[float], simulation.Change],
    sizes: tuple[float, ...],
    columns: dict[str, str],
) -> Figures:
    figures = Figures(title)
    for name, column in columns.items():
        population: Population = populations()[name]
        for size in sizes:
            seen = simulation.power(
                population, column, change(size), WINDOW, TRAINED, POWER_BASELINES, POWER_EACH
            )
            figures.add(f"{name}, {column}", {Quantity(label.format(size), "%", 0): 100 * seen})
    return figures
