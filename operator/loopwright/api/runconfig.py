"""What the operator hands to a job's pods as config.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, WriteUri
from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.validation import MAX_RESULTS, InputBaseline


class RunConfig(ApiModel):
    """The job as the runtime sees it: its spec, and what the operator filled in."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(max_length=63)]
    """Name of the TrainingJob."""
    namespace: Annotated[str, Field(max_length=63)]
    """Its namespace."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID."""
    spec: TrainingJobSpec
    """Its spec."""
    image: Annotated[str, Field(max_length=500)]
    """The image that runs."""
    output_uri: WriteUri
    """Where results go."""
    checkpoint_uri: WriteUri
    """Where checkpoints go."""
    baselines: Annotated[list[InputBaseline], Field(max_length=MAX_RESULTS)] = []
    """What inputs are compared with. Secrets and claims are mounted, as those that the spec names.
    """
