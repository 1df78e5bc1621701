"""model.json: what a model directory says about itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, Digest
from loopwright.api.trainingjob_status import DataLineage, MetricValue

MODEL_FILE = "model.json"


class ModelPart(ApiModel):
    """Common settings: a newer version may have written more fields."""

    model_config = ConfigDict(extra="ignore")


class TensorSpec(ModelPart):
    """A named tensor of the model's signature."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    """Name."""
    dtype: Annotated[str, Field(max_length=32)]
    """numpy's name of the element type, for example float32."""
    shape: Annotated[list[int], Field(max_length=16)]
    """Sizes; -1 where any size will do, as for the batch."""


class Signature(ModelPart):
    """What goes in and what comes out."""

    inputs: list[TensorSpec]
    """In the order of the model's arguments."""
    outputs: list[TensorSpec]
    """In the order of its results."""


class ModelFile(ModelPart):
    """One file of the directory."""

    path: Annotated[str, Field(max_length=1024)]
    """Relative to the directory."""
    sha256: Digest
    """Of its bytes."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class FeatureProfile(ModelPart):
    """The distribution of one feature in the training data, as drift monitors compare with it."""

    name: Annotated[str, Field(max_length=128)]
    """Name of the feature."""
    edges: list[float]
    """Inner bin edges, increasing; n edges make n + 1 bins, the outer ones unbounded."""
    counts: list[int]
    """Values in each bin."""
    count: int
    """Values that were numbers."""
    missing: int = 0
    """Values that were NaN."""
    mean: float | None = None
    """Of the numbers."""
    std: float | None = None
    """Of the numbers, with n in the denominator."""
    min: float | None = None
    """Least."""
    max: float | None = None
    """Greatest."""


class Baseline(ModelPart):
    """The profile of the data that the model was trained on."""

    features: Annotated[list[FeatureProfile], Field(max_length=2048)]
    """One for each feature, in order."""
    rows: int
    """Rows profiled."""


class Registration(ModelPart):
    """What the job's `register` asked for."""

    model: str
    """Name of the model."""
    qualified: bool
    """Whether all required metrics were reached."""
    unmet: list[str] = []
    """Requirements that were not, in words."""
    card: str | None = None
    """Markdown."""


class ModelLineage(ModelPart):
    """What the model was made from."""

    job: str
    """namespace/name of the TrainingJob."""
    uid: str
    """Its UID."""
    attempt: int
    """The attempt that finished."""
    image: str
    """Container image."""
    inputs: list[DataLineage] = []
    """Data."""
    hyperparameters: dict[str, str] = {}
    """As given."""


class ModelManifest(ModelPart):
    """The content of model.json."""

    version: Literal[1] = 1
    """Of this format."""
    format: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    """onnx, safetensors, or the user's own word."""
    created: datetime
    """When training finished."""
    files: list[ModelFile]
    """All files but model.json, sorted by path."""
    signature: Signature | None = None
    """Inputs and outputs, when known."""
    frameworks: dict[str, str] = {}
    """Versions of torch, ray, onnx and so on."""
    metrics: list[MetricValue] = []
    """Final metrics."""
    baseline: Baseline | None = None
    """Profile of the training data, when given."""
    registration: Registration | None = None
    """What `register` asked for."""
    lineage: ModelLineage
    """Provenance."""
