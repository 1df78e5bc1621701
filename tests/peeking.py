"""Simulated experiments that are looked at after every request.

The constants of the tests, stakes, returns, boundaries, come from the code that runs in monitors;
only their sums over requests are computed in arrays here. Tests see to it that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loopwright.monitor.experiment import asymptotic, betting, ratio
from loopwright.monitor.experiment.samples import BALANCE, CHANCE, FIRST, GROWTH, Totals
from loopwright.monitor.experiment.sequential import Border, Side, tuning

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Random = np.random.Generator
Draw = Callable[[Random, int], Floats]

EQUAL: Final = Border()
PARTS: Final = np.array([one.part for one in betting.BETTORS])
# A person's test, and how sure he wants to be of finding the effect that he planned for.
Z95: Final = 1.959964
Z80: Final = 0.841621


@dataclass(frozen=True)
class Looks:
    """When experiments were decided."""

    when: Floats
    """Requests until a test said that there is a difference; infinite if none did."""
    side: Floats
    """1 if it said that the treatment is above, -1 if below, 0 if nothing."""

    @property
    def rate(self) -> float:
        """The part of experiments that were decided."""
        return float(np.isfinite(self.when).mean())

    def by(self, requests: float) -> float:
        """The part that were decided within so many requests."""
        return float((self.when <= requests).mean())


def gather(decided: Iterator[tuple[float, int]]) -> Looks:
    """Takes experiments together."""
    when, side = zip(*decided, strict=True)
    return Looks(np.array(when, float), np.array(side, float))


# ---- Who gets a request ----


def by_chance(random: Random, requests: int, share: float) -> Bools:
    """Each on its own."""
    return random.random(requests) < share


def in_turns(random: Random, requests: int, share: float) -> Bools:
    """As a gateway does that deals requests out: every n-th to the treatment."""
    turn = round(1 / share)
    return (np.arange(requests) + random.integers(turn)) % turn == 0


# ---- Proportions ----


def sorts(treated: Bools, success: Bools) -> Floats:
    """How many of each sort there were after 0, 1, ... requests; shape (requests + 1, 4)."""
    each = np.stack(
        [~treated & success, ~treated & ~success, treated & success, treated & ~success]
    )
    return np.concatenate([np.zeros((4, 1)), each.cumsum(axis=1)], axis=1).T.astype(float)


def followed(counts: Floats, share: float) -> Bools:
    """As `samples.followed`, of each row of counts."""
    of_control, of_treatment = counts[:, :2].sum(axis=1), counts[:, 2:].sum(axis=1)
    control, treatment = of_control / (1 - share), of_treatment / share
    near = (treatment <= BALANCE * control) & (control <= BALANCE * treatment)
    count = of_control + of_treatment
    return near | ((of_treatment - share * count) ** 2 <= CHANCE**2 * share * (1 - share) * count)


def betting_evidence(
    counts: Floats, share: float, tuned: float, side: Side, border: Border = EQUAL
) -> Floats:
    """The logarithm of the evidence against the border after each request.

    Args:
        counts: As of `sorts`.
    """
    found = [np.zeros(min(FIRST, len(counts) - 1))]
    logs, start = np.zeros(len(PARTS)), FIRST
    while start < len(counts) - 1:
        end = min(start * GROWTH, len(counts) - 1)
        before = counts[start]
        control, treatment = (Totals(sum(pair), pair[0]) for pair in (before[:2], before[2:]))
        made = betting.returns(control, treatment, share, border, side, tuned)
        # Not a matrix product: its threads take longer than the work.
        now = counts[start + 1 : end + 1] - before
        money = np.einsum("rs,bs->rb", now, np.array(list(made))) + logs
        money = np.where(followed(now, share)[:, None], money, logs)
        top = money.max(axis=1)
        parts = np.einsum("rb,b->r", np.exp(money - top[:, None]), PARTS)
        found.append(top + np.log(parts))
        logs, start = money[-1], end
    return np.concatenate(found)


def first_crossing(evidence: dict[Side, Floats], alpha: float) -> tuple[float, int]:
    """After how many requests evidence of a side sufficed, and of which."""
    enough = math.log(2 / alpha)
    when = {side: np.flatnonzero(logs >= enough) for side, logs in evidence.items()}
    found = [(float(at[0] + 1), int(side)) for side, at in when.items() if len(at)]
    return min(found, default=(math.inf, 0))


def proportions(
    rates: tuple[float | Floats, float | Floats], requests: int, experiments: int, *,
    seed: int = 1, share: float = 0.5, alpha: float = 0.05, tuned_for: float = 4000,
    assign: Callable[[Random, int, float], Bools] = by_chance, late: int = 0,
    border: Border = EQUAL,
) -> Looks:  # fmt: skip
    """Experiments on proportions.

    Args:
        rates: Of control and treatment; arrays if they change from request to request.
        share: What the test takes the treatment's share to be.
        late: Requests by which the treatment's outcomes come later.
        border: What is tested.
    """
    random, tuned = np.random.default_rng(seed), tuning(alpha, tuned_for)

    def decided() -> Iterator[tuple[float, int]]:
        for _ in range(experiments):
            treated = assign(random, requests, share)
            success = random.random(requests) < np.where(treated, rates[1], rates[0])
            known = np.argsort(np.arange(requests) + late * treated, kind="stable")
            known = known[: requests - late]
            counts = sorts(treated[known], success[known])
            yield first_crossing(
                {side: betting_evidence(counts, share, tuned, side, border) for side in Side}, alpha
            )

    return gather(decided())


# ---- Means ----


@dataclass(frozen=True)
class Running:
    """Sums after 1, 2, ... requests: of the control and the treatment."""

    count: tuple[Floats, Floats]
    effect: Floats
    error: Floats
    """The effect's standard error."""


def running(treated: Bools, outcome: Floats) -> Running:
    """The sums of one experiment."""
    count, mean, error = [], [], []
    for chosen in (~treated, treated):
        n = chosen.cumsum().astype(float)
        total, squares = (outcome * chosen).cumsum(), (outcome**2 * chosen).cumsum()
        with np.errstate(divide="ignore", invalid="ignore"):
            mean.append(total / n)
            error.append(np.maximum(squares - total**2 / n, 0) / (n - 1) / n)
        count.append(n)
    return Running((count[0], count[1]), mean[1] - mean[0], np.sqrt(error[0] + error[1]))


def boundaries(requests: int, alpha: float, tuned: float) -> Floats:
    """How many standard errors suffice after 1, 2, ... requests."""
    some = np.unique(np.geomspace(1, requests, 400).astype(int))
    exact = [asymptotic.boundary(alpha / 2, float(n) * tuned) for n in some]
    return np.interp(np.arange(1, requests + 1), some, exact)


def means(
    draws: tuple[Draw, Draw], requests: int, experiments: int, *, seed: int = 1,
    share: float = 0.5, alpha: float = 0.05, tuned_for: float = 4000, burn_in: int = 1000,
) -> Looks:  # fmt: skip
    """Experiments on means of outcomes that are drawn for control and treatment."""
    random = np.random.default_rng(seed)
    limits = boundaries(requests, alpha, tuning(alpha, tuned_for))
    return gather(_beyond(random, draws, share, limits, burn_in) for _ in range(experiments))


def peeked(
    draws: tuple[Draw, Draw], requests: int, experiments: int, *, seed: int = 1, burn_in: int = 100,
) -> Looks:  # fmt: skip
    """The same with an ordinary test, looked at after every request: what not to do."""
    random, limits = np.random.default_rng(seed), np.full(requests, Z95)
    return gather(_beyond(random, draws, 0.5, limits, burn_in) for _ in range(experiments))


def _beyond(
    random: Random, draws: tuple[Draw, Draw], share: float, limits: Floats, burn_in: int
) -> tuple[float, int]:
    requests = len(limits)
    treated = by_chance(random, requests, share)
    drawn = [draw(random, requests) for draw in draws]
    seen = running(treated, np.where(treated, drawn[1], drawn[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = seen.effect / seen.error
    z[(np.minimum(*seen.count) < burn_in) | ~np.isfinite(z)] = 0.0
    [at] = np.nonzero(np.abs(z) >= limits)
    return (float(at[0] + 1), int(np.sign(z[at[0]]))) if len(at) else (math.inf, 0)


# ---- What a person would plan ----


def planned(effect: float, variances: tuple[float, float]) -> int:
    """Requests of both variants that a z-test at 5 % needs to find an effect four times of five."""
    return math.ceil(2 * sum(variances) * ((Z95 + Z80) / effect) ** 2)


# ---- Ratios ----


def ratio_evidence(treated: Bools, share: float) -> Floats:
    """The logarithm of the evidence that requests are not split by the share, after each."""
    logs = []
    before = np.concatenate([[0], treated.cumsum()])[:-1].astype(float)
    number = np.arange(len(treated), dtype=float)
    part = np.where(treated, share, 1 - share)
    same = np.where(treated, before, number - before)
    for concentration in ratio.CONCENTRATIONS:
        chance = (concentration * part + same) / (concentration + number)
        logs.append(np.log(chance / part).cumsum())
    top = np.max(logs, axis=0)
    return top + np.log(np.mean(np.exp(np.array(logs) - top), axis=0))


def ratios(
    true: float, share: float, requests: int, experiments: int, *, seed: int = 1,
    alpha: float = 0.001,
) -> Looks:  # fmt: skip
    """Experiments in which the treatment gets another part of the traffic than it should."""
    random = np.random.default_rng(seed)
    # The first time of weights has half of the false alarms.
    enough = math.log(2 / alpha)

    def decided() -> Iterator[tuple[float, int]]:
        for _ in range(experiments):
            logs = ratio_evidence(by_chance(random, requests, true), share)
            at = np.flatnonzero(logs >= enough)
            yield (float(at[0] + 1), 1) if len(at) else (math.inf, 0)

    return gather(decided())
