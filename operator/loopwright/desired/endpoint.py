"""What every builder needs to know about an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loopwright.api import names
from loopwright.api.modelendpoint import KIND, ModelEndpointSpec
from loopwright.api.modelendpoint_status import Served
from loopwright.desired.context import Manifest, Owner


@dataclass(frozen=True)
class ModelSource:
    """A model, as a reference to it was resolved."""

    uri: str
    format: str
    digest: str | None = None
    secret: str | None = None
    """Name of the Secret with credentials to read `uri`."""
    version: str | None = None
    """Name of the ModelVersion."""


@dataclass(frozen=True)
class EndpointContext:
    """A ModelEndpoint, and what the operator filled in for it."""

    name: str
    namespace: str
    uid: str
    spec: ModelEndpointSpec
    serving_images: Mapping[str, str]
    """Loopwright's own model servers, by the format that they load."""
    prometheus_url: str = ""
    pull_secrets: tuple[str, ...] = ()
    """Secrets of registries, of this installation."""
    metrics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of ModelVersions whose answers are compared with them."""

    def metadata(self, name: str) -> Manifest:
        """Metadata of one of its children."""
        return Owner(KIND, self.name, self.namespace, self.uid).metadata(name)

    def labels(self, variant: str, revision: str) -> dict[str, str]:
        """Labels of a revision's children, and of its pods."""
        own = {names.LABEL_VARIANT: variant, names.LABEL_REVISION: revision}
        return {**names.child_labels(KIND, self.name), **own}

    def revision_metadata(self, variant: str, served: Served) -> Manifest:
        """Metadata of one of a revision's children."""
        meta = self.metadata(served.inference_service)
        return {**meta, "labels": self.labels(variant, served.revision)}


def pod_selector(inference_service: str) -> dict[str, str]:
    """Finds the pods of an InferenceService, by the label that KServe's own Service uses."""
    return {"app": f"isvc.{names.predictor_name(inference_service)}"}
