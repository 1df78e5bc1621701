"""The models whose baselines a TrainingJob's inputs are compared with."""

from __future__ import annotations

from loopwright.api.trainingjob import Input, TrainingJobSpec
from loopwright.api.validation import InputBaseline
from loopwright.decide.modelref import NO_DIGEST, Lookups, resolve
from loopwright.decide.types import Blocked


def resolved(spec: TrainingJobSpec, lookups: Lookups) -> list[InputBaseline] | Blocked:
    """What the inputs' baselineRefs mean right now, or why one means nothing and what to do."""
    found = []
    for one in spec.inputs:
        baseline = _resolved(one, lookups)
        if isinstance(baseline, Blocked):
            return baseline
        if baseline is not None:
            found.append(baseline)
    return found


def _resolved(one: Input, lookups: Lookups) -> InputBaseline | Blocked | None:
    ref = one.validation.baseline_ref if one.validation is not None else None
    if ref is None:
        return None
    found = resolve(ref, lookups, runs=False)
    if not isinstance(found, Blocked) and found.digest is None:
        found = NO_DIGEST
    if isinstance(found, Blocked):
        return Blocked(found.reason, f"input '{one.name}': baseline: {found.message}")
    assert found.digest is not None
    return InputBaseline(
        name=one.name,
        uri=found.uri,
        digest=found.digest,
        secret=found.secret,
        model_version=found.version,
    )
