"""Which bins there are: a baseline profile, compiled.

Whoever counts and whoever judges must mean the same bins, so a layout has a digest, which goes with
all counts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loopwright.api.baseline import CATEGORICAL, NUMERIC, Baseline, FeatureProfile, FeatureSource
from loopwright.sketch.binning import Array, Floats, Integers, cuts
from loopwright.sketch.categories import Encoder
from loopwright.sketch.extract import (
    COLUMNS,
    FEATURES,
    IMAGE,
    MAX_DIRECTIONS,
    PROJECTION,
    Extractor,
    extractor,
)

NEWEST: Final = 2
# Below this a standard deviation is taken for 0: its inverse must be finite.
LEAST_SCALE: Final = 1e-150


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature, and where its bins are cut: n cuts make n + 1 bins.

    A numeric feature's first and last bins are outside the range of the training data. A
    categorical one has a bin for each frequent category, one for all others that the training data
    had, and one for new ones.
    """

    profile: FeatureProfile
    output: bool
    """Of the model's outputs."""
    cuts: Floats
    centre: float
    """Mean in the training data; of categories 0."""
    scale: float
    """Standard deviation in the training data, or something of that order when that is 0."""

    @property
    def name(self) -> str:
        """As in the profile."""
        return self.profile.name

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.profile.kind == NUMERIC

    @property
    def ranged(self) -> bool:
        """Whether its outermost bins are outside the range of the training data."""
        return self.numeric and len(self.cuts) > 0

    @property
    def bins(self) -> int:
        """How many."""
        return len(self.cuts) + 1


@dataclass(frozen=True, eq=False)
class Group:
    """Features that are made of one tensor in one way."""

    source: FeatureSource
    output: bool
    first: int
    """Place of its first feature in the layout."""
    extractor: Extractor | None
    """None of a method that this version does not know: nothing is counted."""

    @property
    def places(self) -> slice:
        """Of its features in the layout."""
        return slice(self.first, self.first + self.source.features)


class Layout:
    """All features of a baseline, those of the inputs first.

    Layouts are equal when they mean the same bins.
    """

    def __init__(self, groups: Sequence[Group], features: Sequence[Feature], digest: bytes) -> None:
        self.groups = tuple(groups)
        self.features = tuple(features)
        self.digest = digest
        """SHA-256 of what decides on bins."""

    @classmethod
    def of(cls, baseline: Baseline) -> Layout:
        """The layout of a profile.

        Raises:
            ValueError: the profile contradicts itself, or is of a newer version.
        """
        if not 1 <= baseline.version <= NEWEST:
            raise ValueError(f"the baseline is of version {baseline.version}")
        groups: list[Group] = []
        features: list[Feature] = []
        for output, sources, profiles in (
            (False, _sources(baseline), baseline.features),
            (True, baseline.prediction_sources, baseline.predictions),
        ):
            if sum(one.features for one in sources) != len(profiles):
                raise ValueError(f"{len(profiles)} profiles are not those that the sources make")
            at = 0
            for source in sources:
                own = [
                    _feature(one, output, baseline.version == 1)
                    for one in profiles[at : at + source.features]
                ]
                groups.append(_group(source, output, len(features), own))
                features += own
                at += source.features
        return cls(groups, features, _digest(baseline))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def bins(self) -> Integers:
        """Bins of each feature."""
        return np.array([one.bins for one in self.features], dtype=np.int64)

    @cached_property
    def starts(self) -> Integers:
        """Where each feature's bins begin in an array of all bins."""
        ends = np.cumsum(self.bins)
        return np.concatenate([[0], ends[:-1]]) if len(ends) else ends

    @cached_property
    def total_bins(self) -> int:
        """Of all features."""
        return int(self.bins.sum())

    @cached_property
    def group_of(self) -> Integers:
        """The place of each feature's group."""
        sizes = [one.source.features for one in self.groups]
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def ranged(self) -> NDArray[np.bool_]:
        """Whether each feature's outermost bins are outside the range of the training data."""
        return np.array([one.ranged for one in self.features], dtype=np.bool_)

    @cached_property
    def categorical(self) -> NDArray[np.bool_]:
        """Whether each feature's values are categories."""
        kinds = [one.profile.kind == CATEGORICAL for one in self.features]
        return np.array(kinds, dtype=np.bool_)

    @cached_property
    def widths(self) -> Floats:
        """Of bins, in scales of their features; 0 of those without an end; shaped as `matrix`."""
        parts = [
            np.concatenate([[0.0], np.diff(one.cuts) / one.scale, [0.0]])
            if one.ranged
            else np.zeros(one.bins)
            for one in self.features
        ]
        return self.matrix(np.concatenate([np.zeros(0), *parts]))

    @cached_property
    def _cells(self) -> tuple[Integers, Integers]:
        rows = np.repeat(np.arange(len(self.features)), self.bins)
        return rows, np.arange(self.total_bins) - self.starts[rows]

    def matrix(self, flat: Array) -> Floats:
        """An array of all bins as one of shape (features, bins of the largest), with zeros."""
        found = np.zeros((len(self), int(self.bins.max(initial=0))))
        found[self._cells] = flat
        return found

    def sums(self, flat: Integers) -> Integers:
        """Of each feature's bins."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        found: Integers = np.add.reduceat(flat, self.starts)
        return found

    def bins_of(self, flat: Array) -> Iterator[Array]:
        """The part of an array of all bins that belongs to each feature."""
        return iter(np.split(flat, self.starts[1:]))


def _sources(baseline: Baseline) -> list[FeatureSource]:
    if baseline.sources or not baseline.features:
        return list(baseline.sources)
    count = len(baseline.features)
    return [FeatureSource(method=COLUMNS, features=count, size=count)]


def _group(source: FeatureSource, output: bool, first: int, features: list[Feature]) -> Group:
    wanted = source.size if source.method == COLUMNS else FEATURES.get(source.method)
    if source.method == PROJECTION:
        wanted = min(source.features, MAX_DIRECTIONS)
    if wanted is not None and source.features != wanted:
        raise ValueError(f"{source.method} does not make {source.features} features")
    if source.method in (PROJECTION, IMAGE) and not source.size:
        raise ValueError(f"{source.method} needs to know how many values a row has")
    encoders = {
        place: Encoder(one.profile)
        for place, one in enumerate(features)
        if one.profile.kind == CATEGORICAL
    }
    unknown = any(one.profile.kind not in (NUMERIC, CATEGORICAL) for one in features)
    return Group(source, output, first, None if unknown else extractor(source, encoders))


def _feature(profile: FeatureProfile, output: bool, on_values: bool) -> Feature:
    _check(profile)
    if profile.kind == CATEGORICAL:
        places = np.arange(len(profile.categories) + 1, dtype=np.float64)
        return Feature(profile, output, places + 0.5, 0.0, 1.0)
    if not profile.count or profile.min is None or profile.max is None:
        return Feature(profile, output, np.zeros(0), 0.0, 1.0)
    found = cuts(np.array(profile.edges), profile.min, profile.max, on_values=on_values)
    centre, std = profile.mean, profile.std
    if centre is None or not math.isfinite(centre):
        centre = profile.min / 2 + profile.max / 2
    if std is None or not LEAST_SCALE < std < math.inf:
        std = abs(centre) if abs(centre) > LEAST_SCALE else 1.0
    return Feature(profile, output, found, centre, std)


def _check(profile: FeatureProfile) -> None:
    """Whether a profile's figures go together.

    Raises:
        ValueError: they do not.
    """
    name = profile.name[:64]
    if profile.kind not in (NUMERIC, CATEGORICAL):
        return
    inner = profile.categories if profile.kind == CATEGORICAL else profile.edges
    if len(profile.counts) != len(inner) + 1:
        raise ValueError(f"{name} has {len(profile.counts)} counts for {len(inner) + 1} bins")
    counts = [profile.count, profile.missing, profile.singletons, *profile.counts]
    if min(counts) < 0 or max(counts) > 2**53 or sum(profile.counts) != profile.count:
        raise ValueError(f"the counts of {name} make no {profile.count} values")
    if profile.kind == CATEGORICAL:
        numbers = [one for one in (*profile.categories, *profile.rare) if not isinstance(one, str)]
        if not all(_finite(one) for one in numbers):
            raise ValueError(f"a category of {name} is not finite")
    else:
        _check_edges(profile, name)


def _check_edges(profile: FeatureProfile, name: str) -> None:
    edges = np.asarray(profile.edges, dtype=np.float64)
    if not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"the edges of {name} do not increase")
    low, high = profile.min, profile.max
    if low is None or high is None:
        return
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{name} ranges from {low} to {high}")


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _digest(baseline: Baseline) -> bytes:
    bins = {"name", "kind", "edges", "mean", "std", "min", "max", "categories", "rare", "complete"}
    content: list[Any] = [baseline.version]
    for sources, profiles in (
        (baseline.sources, baseline.features),
        (baseline.prediction_sources, baseline.predictions),
    ):
        content.append([one.model_dump(mode="json") for one in sources])
        content.append([one.model_dump(mode="json", include=bins) for one in profiles])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
