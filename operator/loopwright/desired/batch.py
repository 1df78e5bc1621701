"""A BatchTransform as its children are made from it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from loopwright.api import quantity
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform import KIND, BatchTransformSpec
from loopwright.api.batchtransform_status import BatchEndpoint, BatchModel
from loopwright.desired.context import AttemptContext, JobContext, claims_of
from loopwright.desired.training import SPENT

LETTERS = "_dead_letter"


@dataclass(frozen=True)
class BatchContext(JobContext):
    """A BatchTransform, and what the operator filled in for it."""

    kind = KIND

    spec: BatchTransformSpec
    model: BatchModel | None = None
    """What all attempts run."""
    endpoint: BatchEndpoint | None = None
    """What this attempt asks instead."""

    @property
    def procs(self) -> int:
        """Copies of the model in each pod that works."""
        procs, resources = self.spec.procs_per_worker, self.spec.resources_per_worker
        if procs != "auto":
            return int(procs)
        return resources.gpu or max(1, int(quantity.parse(resources.cpu)))

    @property
    def dead_letter_uri(self) -> str:
        """Where bad records go."""
        return (self.spec.errors.dead_letter_uri or f"{self.output_uri}/{LETTERS}").rstrip("/")

    def config(self, attempt: AttemptContext) -> str:
        """The driver's configuration, as JSON."""
        run = BatchConfig(
            name=self.name,
            namespace=self.namespace,
            uid=self.uid,
            spec=self.spec,
            image=self.image,
            model=self.model,
            endpoint=self.endpoint,
            output_uri=self.output_uri,
            dead_letter_uri=self.dead_letter_uri,
            procs_per_worker=self.procs,
        )
        wire = run.wire()
        for field in SPENT:
            wire["spec"].pop(field, None)
        return json.dumps(wire, sort_keys=True, ensure_ascii=False)

    def claims(self) -> set[str]:
        """Claims that its URIs name."""
        model = self.model.uri if self.model is not None else None
        return claims_of(self.spec.input.uri, self.output_uri, self.dead_letter_uri, model)

    def secrets(self) -> set[str]:
        """Secrets with credentials for its URIs."""
        refs = (self.spec.input.secret_ref, self.spec.output.secret_ref)
        found = {ref.name for ref in refs if ref is not None}
        secret = self.model.secret if self.model is not None else None
        return found | ({secret} if secret else set())
