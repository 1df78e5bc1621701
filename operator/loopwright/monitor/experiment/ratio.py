"""Whether variants get the traffic that their weights say: the sample ratio mismatch check.

Where they do not, requests are lost or misdirected on the way to one of them, and then those that
arrive may differ in kind; no comparison can be trusted. The check is looked at as often as the
experiment, so it is sequential too: a Bayes factor of a Dirichlet distribution of ratios around
the weights, against the weights. It is exact at every sample size for requests that are assigned
independently, and errs on the side of silence where a gateway deals them out in turns. Requests of
one client that stay together, as with sticky sessions, make it raise false alarms.

Lindon and Malek (2022), Anytime-valid inference for multinomial count data, NeurIPS 35.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loopwright.monitor.experiment.samples import Stratum, epochs

# Concentrations of the Dirichlet distribution, from a dead variant to a hair's breadth. Which one
# fits cannot be known, so each has a fifth of the evidence, which costs 1.6 nats at most.
CONCENTRATIONS: Final = (1e1, 1e2, 1e3, 1e4, 1e5)


@dataclass(frozen=True)
class Ratio:
    """What the check says."""

    p_value: float
    """Always valid; that weights are kept to."""
    expected: Mapping[str, float]
    """Parts of the traffic by variant since weights last changed."""
    observed: Mapping[str, float]


def log_evidence(weights: Mapping[str, float], arrivals: Mapping[str, float]) -> float:
    """The natural logarithm of the evidence that arrivals do not follow the weights.

    Args:
        weights: Parts of the traffic; above 0, and they sum to 1.
        arrivals: Requests of each.
    """
    logs = [_log_bayes_factor(one, weights, arrivals) for one in CONCENTRATIONS]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs) / len(logs))


def _log_bayes_factor(
    concentration: float, weights: Mapping[str, float], arrivals: Mapping[str, float]
) -> float:
    total = math.fsum(arrivals.values())
    terms = [math.lgamma(concentration) - math.lgamma(concentration + total)]
    for name, weight in weights.items():
        prior, count = concentration * weight, arrivals.get(name, 0.0)
        terms += [math.lgamma(prior + count) - math.lgamma(prior), -count * math.log(weight)]
    return math.fsum(terms)


def check(strata: Sequence[Stratum]) -> Ratio:
    """The check over all strata; it begins anew when weights change.

    Of several times, the n-th may use 1/(n (n + 1)) of the false alarms that are allowed; together
    these are at most all of them.
    """
    p, times = 1.0, epochs(strata)
    for number, one in enumerate(times, 1):
        log = log_evidence(one.weights, one.arrivals) - math.log(number * (number + 1))
        p = min(p, math.exp(-max(log, 0.0)))
    last = times[-1] if times else Stratum({}, {}, {})
    size = last.size
    return Ratio(
        p, last.weights, {name: n / size if size else 0.0 for name, n in last.arrivals.items()}
    )
