"""A/B experiments: false winners of tests that are looked at after every request, and their power.

`experiment` needs no cluster: it simulates, with the constants of the code that runs in monitors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from tests import peeking
from tests.peeking import Draw, Floats, Looks, Random
from tests.perf.common import OURS
from tests.perf.figures import Figures, Quantity

from loopwright.monitor.experiment.sequential import Border, Side

EXPERIMENTS: Final = 2000
REQUESTS: Final = 10_000
POWERED: Final = 500
ALPHA: Final = 0.05
PEEKED: Final = "z-test, looked at as often"
BURN_INS: Final = (100, 300, 1000)


def run() -> list[Figures]:
    """All tables."""
    return [false_winners(), skewed(), bent(), power(), ratios()]


def _row(figures: Figures, what: str, **looks: Looks) -> None:
    for who, found in looks.items():
        figures.add(who, {Quantity(what, "%"): 100 * found.rate})
    said = ", ".join(f"{who} {100 * found.rate:.1f} %" for who, found in looks.items())
    print(f"  {what}: {said}", flush=True)


def _bernoulli(rate: float) -> Draw:
    return lambda random, requests: (random.random(requests) < rate).astype(float)


def _twice(draw: Draw) -> tuple[Draw, Draw]:
    return draw, draw


def normal(random: Random, requests: int) -> Floats:
    """The best case."""
    return random.normal(size=requests)


def exponential(random: Random, requests: int) -> Floats:
    """As of a queue."""
    return random.exponential(size=requests)


def lognormal(random: Random, requests: int) -> Floats:
    """As latency often is: its 99th percentile is ten times its median."""
    return random.lognormal(sigma=1.0, size=requests)


def pareto(random: Random, requests: int) -> Floats:
    """Hardly with a variance: the fourth moment is infinite, and so is the third."""
    return random.pareto(2.5, requests)


def false_winners() -> Figures:
    """A/A experiments."""
    figures = Figures(
        f"A/A: called different, of {EXPERIMENTS:,} experiments of {REQUESTS:,} requests, looked at"
        f" after each; alpha {ALPHA:.0%}"
    )
    for rate in (0.5, 0.05, 0.005):
        ours = peeking.proportions((rate, rate), REQUESTS, EXPERIMENTS)
        peeked = peeking.peeked(_twice(_bernoulli(rate)), REQUESTS, EXPERIMENTS)
        _row(figures, f"proportion {rate:.1%}", **{OURS: ours, PEEKED: peeked})
    ours = peeking.proportions((0.05, 0.05), REQUESTS, EXPERIMENTS, share=0.1)
    _row(figures, "proportion 5.0%, a tenth treated", **{OURS: ours})
    for name, draw in (("normal", normal), ("exponential", exponential), ("lognormal", lognormal)):
        ours = peeking.means(_twice(draw), REQUESTS, EXPERIMENTS)
        peeked = peeking.peeked(_twice(draw), REQUESTS, EXPERIMENTS)
        _row(figures, f"mean, {name}", **{OURS: ours, PEEKED: peeked})
    missed = peeking.proportions((0.05, 0.08), REQUESTS, EXPERIMENTS, border=Border(0.03))
    _row(figures, "interval ever without the true difference, 5% and 8%", **{OURS: missed})
    worst = max(max(values) for values in figures.values[OURS].values())
    figures.comparisons.append(f"Loopwright at most {worst:.1f} %; bar {ALPHA:.0%}")
    return figures


def skewed() -> Figures:
    """How large a burn-in has to be for means."""
    figures = Figures(
        f"A/A on means, by samples of each variant that were waited for ({EXPERIMENTS:,}"
        f" experiments of {REQUESTS:,} requests)"
    )
    for share in (0.5, 0.1):
        for name, draw in (
            ("normal", normal), ("exponential", exponential), ("lognormal", lognormal),
            ("Pareto 2.5", pareto),
        ):  # fmt: skip
            found = {
                f"burn-in {burn_in}": peeking.means(
                    _twice(draw), REQUESTS, EXPERIMENTS, share=share, burn_in=burn_in
                )
                for burn_in in BURN_INS
                if burn_in < share * REQUESTS
            }
            _row(figures, f"{name}, {share:.0%} treated", **found)
    return figures


def bent() -> Figures:
    """What happens when the assumptions on proportions are bent."""
    figures = Figures(
        f"A/A on proportions of 5 % when assumptions are bent ({EXPERIMENTS:,} experiments of"
        f" {REQUESTS:,} requests)"
    )

    def unequal(share: float) -> Callable[[Random, int, float], peeking.Bools]:
        return lambda random, requests, _: peeking.by_chance(random, requests, share)

    day = 0.05 * (1 + 0.8 * np.sin(np.arange(REQUESTS) * 2 * math.pi / 2500))
    for what, looks in (
        ("requests dealt out in turns", {"assign": peeking.in_turns}),
        ("rate goes up and down by 80%, four times", {"rates": (day, day)}),
        ("treatment's outcomes come 200 requests later", {"late": 200}),
        ("treatment's outcomes come 1,000 requests later", {"late": 1000}),
        ("55% treated instead of 50%", {"assign": unequal(0.55)}),
        ("60% treated instead of 50%", {"assign": unequal(0.6)}),
        ("70% treated instead of 50%", {"assign": unequal(0.7)}),
    ):
        settings = {"rates": (0.05, 0.05), **looks}
        found = peeking.proportions(requests=REQUESTS, experiments=EXPERIMENTS, **settings)  # type: ignore[arg-type]
        _row(figures, what, **{OURS: found})
    return figures


def power() -> Figures:
    """How often effects are found, and how soon, against a test at a fixed size."""
    figures = Figures(
        f"Power, against a z-test of a size planned for 80 % ({POWERED} experiments of three times"
        " that size)"
    )
    for before, after in ((0.5, 0.54), (0.05, 0.065), (0.05, 0.035), (0.005, 0.002)):
        variances = before * (1 - before), after * (1 - after)
        requests = peeking.planned(after - before, variances)
        looks = peeking.proportions((before, after), 3 * requests, POWERED)
        figures.add(f"{before:.1%} to {after:.1%}", _power(looks, requests, after > before))
    for factor in (0.9, 0.95):
        requests = peeking.planned(1 - factor, (1.0, factor**2))

        def faster(random: Random, requests: int, factor: float = factor) -> Floats:
            return factor * exponential(random, requests)

        looks = peeking.means((exponential, faster), 3 * requests, POWERED)
        figures.add(f"mean {1 - factor:.0%} less", _power(looks, requests, False))
    print("\n".join(figures.lines()[1:]), flush=True)
    return figures


def _power(looks: Looks, planned: int, above: bool) -> dict[Quantity, float]:
    right = looks.side == (Side.ABOVE if above else Side.BELOW)
    when = np.where(right, looks.when, math.inf)
    return {
        Quantity("requests planned", digits=0): planned,
        **{
            Quantity(f"found within {times} x planned", "%", 0): _percent(when <= times * planned)
            for times in (1, 2, 3)
        },
        Quantity("median until found", "x planned", 2): float(np.median(when)) / planned,
        Quantity("mean until found or 3 x", "x planned", 2): float(
            np.minimum(when, 3 * planned).mean() / planned
        ),
        Quantity("called the wrong way", "%", 1): _percent(np.isfinite(looks.when) & ~right),
    }


def _percent(which: peeking.Bools) -> float:
    return 100 * float(which.mean())


def ratios() -> Figures:
    """The sample ratio check."""
    figures = Figures(
        f"Ratio check, alpha 0.1 %, looked at after each request ({EXPERIMENTS:,} experiments of"
        f" {REQUESTS:,} requests)"
    )
    alarms, median = Quantity("alarms", "%", 2), Quantity("median requests until then", digits=0)
    for share, true in ((0.5, 0.5), (0.1, 0.1), (0.5, 0.53), (0.5, 0.55), (0.1, 0.13), (0.5, 0.0)):
        count = EXPERIMENTS if share == true else POWERED
        looks = peeking.ratios(true, share, REQUESTS, count)
        values = {alarms: 100 * looks.rate}
        if looks.rate > 0.5:
            values[median] = float(np.median(looks.when))
        figures.add(f"{true:.0%} for {share:.0%}", values)
        print(f"  {true:.0%} for {share:.0%}: {100 * looks.rate:.2f} %", flush=True)
    return figures
