"""The profile of the data that a model was trained on, which drift monitors compare with.

It is part of model.json, so files of older versions are read: every field that came later has a
default under which an old file means what it meant. Sizes are bounded here; whether the figures
make sense, `loopwright.sketch.Layout` checks, since a model with a bad profile can still be served.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel

MAX_FEATURES: Final = 2048
# Bins of a feature: as many edges, or categories, make one bin more.
MAX_EDGES: Final = 256
# Hashes that a vocabulary or the rare categories of a feature may have.
MAX_HASHES: Final = 4096
NUMERIC: Final = "Numeric"
CATEGORICAL: Final = "Categorical"

CATEGORY_LENGTH: Final = 128

Category = Annotated[str, Field(max_length=CATEGORY_LENGTH)] | int | float


class ModelPart(ApiModel):
    """Common settings: a newer version may have written more fields."""

    model_config = ConfigDict(extra="ignore")


class FeatureProfile(ModelPart):
    """The distribution of one feature in the training data."""

    name: Annotated[str, Field(max_length=128)]
    """Name of the feature."""
    kind: Annotated[str, Field(max_length=32)] = NUMERIC
    """Numeric or Categorical. Of other kinds, which a newer version may write, nothing is known."""
    edges: Annotated[list[float], Field(max_length=MAX_EDGES)]
    """Inner bin edges, increasing; n edges make n + 1 bins, the outer ones unbounded. A value on
    an edge belongs above it. Categorical features have none."""
    counts: Annotated[list[int], Field(max_length=MAX_EDGES + 1)]
    """Values in each bin; of a categorical feature: in each category, and in all others."""
    count: int
    """Values that were numbers, or categories. Where there are many categories, those that have
    bins are chosen by one half of the rows, and only the other half is counted."""
    missing: int = 0
    """Values that were NaN, infinite or None."""
    mean: float | None = None
    """Of the numbers."""
    std: float | None = None
    """Of the numbers, with n in the denominator."""
    min: float | None = None
    """Least."""
    max: float | None = None
    """Greatest."""
    categories: Annotated[list[Category], Field(max_length=MAX_EDGES)] = []
    """The most frequent categories: all of them texts (cut to 128 characters), or all numbers."""
    rare: Annotated[list[int | float], Field(max_length=MAX_HASHES)] = []
    """All other categories that were seen: CRC-32 of texts, or the numbers."""
    complete: bool = True
    """Whether `rare` has all of them. If not, new categories cannot be told from rare ones."""
    singletons: int = 0
    """Of the values counted, categories that were seen once: how likely a new one is."""
    doubletons: int = 0
    """Those that were seen twice: how sure that is."""


class FeatureSource(ModelPart):
    """How the next few features are made of one of the model's tensors."""

    tensor: Annotated[str, Field(max_length=256)] = ""
    """Name of the input or output; empty: the first."""
    method: Annotated[str, Field(max_length=32)]
    """Columns, Projection, Norm, Image, Text, Class or Confidence (see `loopwright.sketch`)."""
    features: Annotated[int, Field(ge=1, le=MAX_FEATURES)]
    """How many features it makes."""
    size: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Values that a row of the tensor has; 0: any number."""
    stride: Annotated[int, Field(ge=1, lt=2**31)] = 1
    """Of Image: how far apart neighbouring pixels are; as many as channels when those come last."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of Projection: what its directions are made from."""
    logits: bool = False
    """Of Confidence: the tensor holds logits, not probabilities."""
    vocabulary: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]],
                          Field(max_length=MAX_HASHES)] = []  # fmt: skip
    """Of Text: CRC-32 of the most frequent words, or the most frequent token ids."""


class Baseline(ModelPart):
    """The profile of the data that the model was trained on, and of what it predicts for them."""

    version: int = 1
    """Of the way in which edges are laid: 2 lays them between values, 1 laid them on values."""
    features: Annotated[list[FeatureProfile], Field(max_length=MAX_FEATURES)]
    """One for each feature, in order."""
    rows: int
    """Rows profiled."""
    sources: Annotated[list[FeatureSource], Field(max_length=MAX_FEATURES)] = []
    """What the features are made of, in order. Without: all are columns of the first input."""
    predictions: Annotated[list[FeatureProfile], Field(max_length=MAX_FEATURES)] = []
    """One for each feature of the model's outputs."""
    prediction_sources: Annotated[list[FeatureSource], Field(max_length=MAX_FEATURES)] = []
    """What those are made of."""
