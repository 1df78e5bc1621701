"""What the operator hands to a BatchTransform's pods as config.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from loopwright.api.base import ApiModel, WriteUri
from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.batchtransform_status import BatchEndpoint, BatchModel


class BatchConfig(ApiModel):
    """The job as the runtime sees it: its spec, and what the operator filled in."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    kind: Literal["BatchTransform"] = "BatchTransform"
    """Tells it from the configurations of other kinds."""
    name: Annotated[str, Field(max_length=63)]
    """Name of the BatchTransform."""
    namespace: Annotated[str, Field(max_length=63)]
    """Its namespace."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID, the same for all attempts: staged shards are found by it."""
    spec: BatchTransformSpec
    """Its spec."""
    image: Annotated[str, Field(max_length=500)]
    """The image that runs."""
    endpoint: BatchEndpoint | None = None
    """The endpoint to ask, when there is no model to run."""
    model: BatchModel | None = None
    """The model to run. Its Secret, like all that the spec names, is mounted below SECRETS_DIR,
    its claim below PVC_DIR."""
    output_uri: WriteUri
    """Where results go; without a slash at the end."""
    dead_letter_uri: WriteUri
    """Where bad records go; without a slash at the end."""
    procs_per_worker: Annotated[int, Field(ge=1)]
    """Model processes in each worker pod, or in the head pod when numWorkers is 0."""
