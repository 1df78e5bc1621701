"""How many pods a variant's revisions should have."""

from __future__ import annotations

from loopwright.api.modelendpoint import ModelEndpointSpec, Variant
from loopwright.api.modelendpoint_status import VariantStatus
from loopwright.decide.endpoint_types import RevisionView, Seen


def least(spec: ModelEndpointSpec, variant: Variant) -> int:
    """The number of pods that a variant has at least."""
    scaling = spec.scaling(variant)
    if scaling.mode == "External":
        return 1
    return scaling.min if scaling.mode in ("HPA", "KEDA") else spec.fixed(variant)


def floor(spec: ModelEndpointSpec, variant: Variant, status: VariantStatus, seen: Seen) -> int:
    """What a new revision must have before it takes over: as much as the old one has by now.

    Its own autoscaler would begin with the minimum, and be run over by the traffic.
    """
    scaling = spec.scaling(variant)
    if scaling.mode not in ("HPA", "KEDA") or status.serving is None:
        return least(spec, variant)
    old = seen.views.get(status.serving.inference_service)
    return max(scaling.min, min(scaling.max, old.desired if old is not None else 0))


def replicas(
    spec: ModelEndpointSpec, variant: Variant | None, view: RevisionView, *, retired: bool
) -> int | None:
    """What to set its Deployment to; None when that is another's business, or it stays as it is."""
    if spec.suspend:
        wanted = 0
    elif retired or variant is None:
        return None
    elif spec.scaling(variant).mode == "None":
        wanted = spec.fixed(variant)
    elif view.desired == 0:
        wanted = least(spec, variant)  # No autoscaler ever leaves zero by itself.
    else:
        return None
    return wanted if wanted != view.desired else None
