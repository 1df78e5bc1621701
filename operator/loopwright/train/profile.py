"""The baseline profile of training data: quantile bins that a drift monitor counts into later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from loopwright.api.model import Baseline, FeatureProfile

BINS: Final = 32
MAX_FEATURES: Final = 2048


def profile(data: Any, names: Sequence[str] | None = None) -> Baseline:
    """Profiles data of shape (rows, features); further dimensions count as features."""
    table = np.asarray(data, dtype=np.float64)
    table = table.reshape(len(table), -1)
    names = names or [f"f{index}" for index in range(table.shape[1])]
    if table.shape[1] > MAX_FEATURES:
        raise ValueError(f"{table.shape[1]} features; profile at most {MAX_FEATURES}")
    if len(names) != table.shape[1]:
        raise ValueError(f"{len(names)} feature names for {table.shape[1]} features")
    features = [_feature(name, table[:, index]) for index, name in enumerate(names)]
    return Baseline(features=features, rows=len(table))


def _feature(name: str, column: Any) -> FeatureProfile:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return FeatureProfile(name=name, edges=[], counts=[0], count=0, missing=len(column))
    # Repeated quantiles of a discrete feature would make empty bins.
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, finite, side="right"), minlength=len(edges) + 1)
    return FeatureProfile(
        name=name, edges=edges.tolist(), counts=counts.tolist(), count=len(finite),
        missing=len(column) - len(finite), mean=float(finite.mean()), std=float(finite.std()),
        min=float(finite.min()), max=float(finite.max()),
    )  # fmt: skip
