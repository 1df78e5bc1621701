"""model.json: what a model directory says about itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from loopwright.api import registry
from loopwright.api.base import Digest
from loopwright.api.baseline import Baseline, FeatureProfile, ModelPart
from loopwright.api.trainingjob_status import DataLineage, MetricValue

__all__ = [
    "MODEL_FILE", "SEQUENTIAL", "Architecture", "Baseline", "FeatureProfile", "ModelFile",
    "ModelLineage", "ModelManifest", "ModelPart", "Registration", "Signature", "TensorSpec",
]  # fmt: skip

MODEL_FILE = "model.json"
# The builder that everybody has.
SEQUENTIAL = "sequential"


def _inside(path: str) -> str:
    """model.json may be anybody's, and whoever reads or copies files goes by it."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError("must be a path within the model's directory")
    return path


class TensorSpec(registry.TensorSpec):
    """As in a ModelVersion."""

    model_config = ConfigDict(extra="ignore")


class Signature(ModelPart):
    """As in a ModelVersion."""

    inputs: Annotated[list[TensorSpec], Field(max_length=512)]
    """In the order of the model's arguments."""
    outputs: Annotated[list[TensorSpec], Field(max_length=512)]
    """In the order of its results."""


class ModelFile(ModelPart):
    """One file of the directory."""

    path: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_inside)]
    """Relative to the directory."""
    sha256: Digest
    """Of its bytes."""
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Architecture(ModelPart):
    """How the network is built whose weights a safetensors file holds."""

    builder: Annotated[
        str, Field(max_length=256, pattern=r"^(sequential|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
    ]
    """sequential, or module:callable in the image that trains or serves it."""
    arguments: dict[str, JsonValue] = {}
    """By name."""


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
    architecture: Architecture | None = None
    """The network, for safetensors."""
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
