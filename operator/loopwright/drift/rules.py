"""What is asked of a window: which distance, which limits, how sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from loopwright.api.monitoring_status import MonitorState as State

__all__ = ["DISTANCES", "Check", "Correction", "Limits", "Method", "Rules", "State"]


class Check(StrEnum):
    """What is looked at."""

    DRIFT = "Drift"
    """The distribution of an input feature."""
    PREDICTION_DRIFT = "PredictionDrift"
    """The distribution of a feature of the model's outputs."""
    MISSING = "Missing"
    """More values are missing."""
    OUT_OF_RANGE = "OutOfRange"
    """Numbers are outside the range of the reference."""
    UNSEEN = "Unseen"
    """Categories are new."""
    INVALID = "Invalid"
    """Values are of a wrong type."""
    REFUSED = "Refused"
    """Rows do not have the form of the model's inputs."""
    DRIFT_SHARE = "DriftShare"
    """So many input features drifted at once."""


class Method(StrEnum):
    """A distance of distributions."""

    AUTO = "Auto"
    """JS."""
    PSI = "PSI"
    """Population stability index."""
    JENSEN_SHANNON = "JS"
    """Jensen and Shannon's distance: the root of the divergence in bits."""
    KOLMOGOROV_SMIRNOV = "KS"
    """Kolmogorov and Smirnov's largest difference of distribution functions; categories have none,
    and take Auto."""
    WASSERSTEIN = "Wasserstein"
    """In standard deviations of the reference; categories take Auto."""
    CHI_SQUARE = "ChiSquare"
    """Cohen's w: the root of the sum of (q - p)^2 / ((p + q) / 2)."""


class Correction(StrEnum):
    """For testing many features at once."""

    BENJAMINI_HOCHBERG = "BH"
    NONE = "None"


# What of a method is worth telling: each is reached when a normal feature moves by 0.2 to 0.32
# standard deviations. Evidently takes 0.1 for the first two, and for Wasserstein's too, which would
# be a move by 0.1.
DISTANCES: Final[Mapping[Method, float]] = {
    Method.PSI: 0.1,
    Method.JENSEN_SHANNON: 0.1,
    Method.KOLMOGOROV_SMIRNOV: 0.1,
    Method.WASSERSTEIN: 0.2,
    Method.CHI_SQUARE: 0.25,
}


@dataclass(frozen=True)
class Limits:
    """From where on a difference matters. Shares are beyond those of the reference."""

    method: Method = Method.AUTO
    distance: float | None = None
    """In the method's own unit; by default that of DISTANCES."""
    missing: float = 0.02
    """Share of missing values, beyond that of the reference."""
    out_of_range: float = 0.02
    """Share of values outside the range, beyond what a sample of that size leaves out."""
    unseen: float = 0.02
    """Share of new categories, beyond what is to be expected."""
    invalid: float = 0.01
    """Share of values of a wrong type."""

    @property
    def chosen(self) -> Method:
        """The method, never Auto."""
        return Method.JENSEN_SHANNON if self.method is Method.AUTO else self.method

    def limit(self, method: Method) -> float:
        """Of the distance by a method, which is the chosen one or what stands in for it."""
        if self.distance is not None and method is self.chosen:
            return self.distance
        return DISTANCES[method]


@dataclass(frozen=True)
class Rules:
    """How a window is judged."""

    limits: Limits = Limits()
    """Of all features that have none of their own."""
    features: Mapping[str, Limits] = field(default_factory=dict)
    """Of features, by name."""
    ignore: frozenset[str] = frozenset()
    """Names of features that are not judged."""
    checks: frozenset[Check] = frozenset(Check)
    """What is looked at. What is not needs no correction either."""
    alpha: float = 0.01
    """The probability that a window without drift violates anything, at most."""
    correction: Correction = Correction.BENJAMINI_HOCHBERG
    """Over all features and checks. With None, alpha is that of each alone."""
    min_samples: int = 500
    """Rows, and values of a feature, without which there is NoData."""
    drift_share: float | None = None
    """Share of drifted input features that violates; None: any that drifts does."""
    refused: float = 0.05
    """Share of refused rows."""

    def of(self, name: str) -> Limits:
        """The limits of a feature."""
        return self.features.get(name, self.limits)
