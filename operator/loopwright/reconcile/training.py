"""What reconciles of jobs that train share: where results go, and what becomes of the model."""

from __future__ import annotations

from typing import Final

from loopwright.api.resources import Key
from loopwright.api.trainingjob import Training
from loopwright.decide.types import Blocked
from loopwright.reconcile.context import Context

NO_OUTPUT: Final = Blocked(
    "OutputMissing",
    "create the job anew with spec.output.uri, or set the operator's LOOPWRIGHT_DEFAULT_OUTPUT",
    permanent=True,
)


def places(ctx: Context, key: Key, spec: Training) -> tuple[str, str] | None:
    """Where results and checkpoints go; None when nobody says."""
    output = spec.output.uri if spec.output else ctx.settings.default_output
    if not output:
        return None
    output = output.replace("{namespace}", key.namespace).replace("{name}", key.name).rstrip("/")
    checkpoint = spec.checkpoint.uri if spec.checkpoint and spec.checkpoint.uri else None
    return output, (checkpoint or f"{output}/checkpoints").rstrip("/")
