"""A BatchTransform as its children are made from it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from loopwright.api import quantity
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.batchtransform import KIND, BatchTransformSpec
from loopwright.api.batchtransform_status import BatchModel
from loopwright.desired.context import AttemptContext, JobContext, claims_of
from loopwright.desired.training import SPENT

LETTERS = "_dead_letter"


@dataclass(frozen=True)
class BatchContext(JobContext):
    """A BatchTransform, and what the operator filled in for it."""

    kind = KIND

    spec: BatchTransformSpec
    model: BatchModel
    """What all attempts run."""

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
        return claims_of(self.spec.input.uri, self.output_uri, self.dead_letter_uri, self.model.uri)

    def secrets(self) -> set[str]:
        """Secrets with credentials for its URIs."""
        refs = (self.spec.input.secret_ref, self.spec.output.secret_ref)
        found = {ref.name for ref in refs if ref is not None}
        return found | ({self.model.secret} if self.model.secret else set())
