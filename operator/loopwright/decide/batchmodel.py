"""The model that a BatchTransform runs: what its reference means, if it can be run at all."""

from __future__ import annotations

from typing import Final

from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.batchtransform_status import BatchModel
from loopwright.api.registry import UNSAFE_FORMATS
from loopwright.decide.modelref import NO_DIGEST, Lookups, resolve
from loopwright.decide.types import Blocked

ONNX: Final = "onnx"


def resolved(
    spec: BatchTransformSpec, lookups: Lookups, *, require_approval: bool = False
) -> BatchModel | Blocked:
    """The model that spec.model means right now, or why it cannot be run and what to do."""
    assert spec.model is not None
    found = resolve(spec.model, lookups, require_approval=require_approval)
    if isinstance(found, Blocked):
        return found
    if found.format in UNSAFE_FORMATS and not found.allow_unsafe:
        text = (
            f"format {found.format} can run code when it is loaded; export the model as onnx, or"
            " register it with allowUnsafe: true"
        )
        return Blocked("UnsafeFormat", text)
    if found.format != ONNX and spec.predictor is None:
        text = (
            f"the model has format {found.format}, and only {ONNX} runs by itself; export it as"
            f" {ONNX}, or create the job anew with predictor.class, which loads it"
        )
        return Blocked("FormatUnsupported", text)
    if found.format == ONNX and found.digest is None:
        # Everything that is loaded is verified; a job's own model always has one.
        return NO_DIGEST
    return BatchModel(
        uri=found.uri,
        format=found.format,
        digest=found.digest,
        secret=found.secret,
        model_version=found.version,
    )
