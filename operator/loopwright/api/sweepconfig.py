"""What the operator hands to a HyperparameterSweep's pods as config.json."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, WriteUri
from loopwright.api.hyperparametersweep import HyperparameterSweepSpec

GRACE: Final = 120
"""Seconds that a driver whose time is up gets to stop its trials, write what there is, and end."""


class History(ApiModel):
    """What an earlier sweep has left."""

    model_config = ConfigDict(extra="ignore")

    sweep: Annotated[str, Field(max_length=63)]
    """Its name."""
    uri: WriteUri
    """Its trials, as JSON lines."""
    secret: Annotated[str, Field(max_length=253)] | None = None
    """The Secret with credentials to read it, mounted like all others below SECRETS_DIR."""


class SweepConfig(ApiModel):
    """The sweep as the runtime sees it: its spec, and what the operator filled in."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    kind: Literal["HyperparameterSweep"] = "HyperparameterSweep"
    """Tells it from the configurations of other kinds."""
    name: Annotated[str, Field(max_length=63)]
    """Name of the sweep."""
    namespace: Annotated[str, Field(max_length=63)]
    """Its namespace."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID, the same for all attempts: the study that is continued is found by it."""
    spec: HyperparameterSweepSpec
    """Its spec, as it is when the attempt begins. Later changes of maxTrials, parallelTrials and
    maxRuntimeSeconds reach the next attempt, which continues."""
    image: Annotated[str, Field(max_length=500)]
    """The image that runs."""
    output_uri: WriteUri
    """Where results go; without a slash at the end."""
    checkpoint_uri: WriteUri
    """Where checkpoints of trials go; without a slash at the end."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """spec.algorithm.seed, or one made from the UID."""
    cpus_per_worker: Annotated[float, Field(gt=0)]
    """CPUs that each worker of a trial asks Ray for. Ray offers whole ones, so that a pod takes as
    many as it is made for and no more."""
    gpus_per_worker: Annotated[float, Field(ge=0)]
    """GPUs that each worker of a trial asks Ray for."""
    remaining_seconds: Annotated[int, Field(ge=0)]
    """How long this attempt may run until runPolicy.maxRuntimeSeconds are used up. The driver then
    stops the trials, reports what there is and ends, with the stop reason MaxRuntime. The operator
    waits GRACE seconds longer and then takes the cluster down."""
    warm_start: Annotated[list[History], Field(max_length=5)] = []
    """Of warmStart.sweeps; its results are in the spec."""
