"""What every builder needs to know about a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loopwright.api import names
from loopwright.api.trainingjob import KIND, TrainingJobSpec

Manifest = dict[str, Any]


@dataclass(frozen=True)
class JobContext:
    """A TrainingJob, and what the operator filled in for it."""

    name: str
    namespace: str
    uid: str
    spec: TrainingJobSpec
    image: str
    ray_version: str
    output_uri: str
    checkpoint_uri: str

    def metadata(self, name: str, attempt: int | None = None) -> Manifest:
        """Metadata of a child: labels to find it by, and an owner that takes it along."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": names.child_labels(KIND, self.name, attempt),
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": KIND,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        }


@dataclass(frozen=True)
class AttemptContext:
    """One attempt of a job."""

    number: int
    remaining_seconds: int
    """How long it may run before the job's limit is reached."""
    on_demand: bool = False
    """Whether interruptible nodes are given up on."""
