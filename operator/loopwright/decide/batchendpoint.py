"""The address that a BatchTransform asks: what its endpointRef means, if it can be asked at all."""

from __future__ import annotations

from loopwright.api import names
from loopwright.api.batchtransform import EndpointRef
from loopwright.api.batchtransform_status import BatchEndpoint
from loopwright.api.modelendpoint import ModelEndpoint
from loopwright.api.modelendpoint_status import VariantStatus
from loopwright.decide.types import Blocked


def located(
    ref: EndpointRef, namespace: str, endpoint: ModelEndpoint | None, generation: int = 0
) -> BatchEndpoint | Blocked:
    """Where the endpoint answers right now, or why it does not and what to do.

    One variant is asked at the Service of its revision, which moves with rollouts. An endpoint with
    only one variant has a Service that stays; only one with several takes the Gateway, which
    divides requests between them.

    Args:
        endpoint: None when there is none; one that is being deleted counts as gone.
        generation: Of the endpoint.
    """
    if endpoint is None:
        text = f"ModelEndpoint '{ref.name}' is missing; create it, or name another in a new job"
        return Blocked("EndpointNotFound", text)
    known = {one.name: one for one in endpoint.status.variants}
    if ref.variant is not None:
        if ref.variant not in {one.name for one in endpoint.spec.variants}:
            there = ", ".join(one.name for one in endpoint.spec.variants)
            text = (
                f"ModelEndpoint '{ref.name}' has no variant '{ref.variant}', but {there}; add it,"
                " or name another in a new job"
            )
            return Blocked("VariantNotFound", text)
        return _variant(ref.name, namespace, known.get(ref.variant), ref.variant)
    if endpoint.status.observed_generation != generation:
        return _not_ready(f"ModelEndpoint '{ref.name}'", "its newest spec is not served yet")
    ready = next((one for one in endpoint.status.conditions if one.type == "Ready"), None)
    if ready is None or ready.status != "True":
        why = f"{ready.reason}: {ready.message}".rstrip(": ") if ready is not None else ""
        return _not_ready(f"ModelEndpoint '{ref.name}'", why)
    url = endpoint.status.internal_url if len(endpoint.spec.variants) == 1 else endpoint.status.url
    if url is None:
        text = (
            f"ModelEndpoint '{ref.name}' has several variants and no address through a Gateway,"
            " which would divide requests; see to the Gateway, or name one in endpointRef.variant"
            " of a new job"
        )
        return Blocked("NoAddress", text)
    return BatchEndpoint(name=ref.name, url=url)


def _variant(
    name: str, namespace: str, known: VariantStatus | None, variant: str
) -> BatchEndpoint | Blocked:
    if known is None or known.serving is None or not known.ready:
        why = f"{known.reason}: {known.message}".strip(": ") if known is not None else ""
        return _not_ready(f"variant '{variant}' of ModelEndpoint '{name}'", why)
    service = names.predictor_name(known.serving.inference_service)
    return BatchEndpoint(name=name, variant=variant, url=f"http://{service}.{namespace}.svc")


def _not_ready(what: str, why: str) -> Blocked:
    told = f" ({why})" if why else ""
    return Blocked("EndpointNotReady", f"{what} is not ready{told}; the batch begins once it is")
