"""What every builder needs to know about a job."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from loopwright.api import names, quantity
from loopwright.api.jobspec import JobSpec

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """The object of ours that children are made for."""

    kind: str
    name: str
    namespace: str
    uid: str

    def metadata(self, name: str, attempt: int | None = None) -> Manifest:
        """Metadata of a child: labels to find it by, and an owner that takes it along."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": names.child_labels(self.kind, self.name, attempt),
            "ownerReferences": [names.owner_reference(self.kind, self.name, self.uid)],
        }


class Mounted(NamedTuple):
    """A volume of a pod, and where the Ray container sees it."""

    volume: Manifest
    mount: Manifest


@dataclass(frozen=True)
class AttemptContext:
    """One attempt of a job."""

    number: int
    remaining_seconds: int
    """How long it may run before the job's limit is reached."""
    on_demand: bool = False
    """Whether interruptible nodes are given up on."""


@dataclass(frozen=True)
class JobContext(ABC):
    """A job of some kind, and what the operator filled in for it."""

    kind: ClassVar[str]
    grace: ClassVar[int] = 0
    """Seconds that the driver gets to end by itself when its time is up."""

    name: str
    namespace: str
    uid: str
    spec: JobSpec
    image: str
    ray_version: str
    output_uri: str
    """Without a slash at the end."""
    pull_secrets: tuple[str, ...] = field(default=(), kw_only=True)
    """Secrets of registries, of this installation."""

    def metadata(self, name: str, attempt: int | None = None) -> Manifest:
        """Metadata of one of its children."""
        return Owner(self.kind, self.name, self.namespace, self.uid).metadata(name, attempt)

    @property
    @abstractmethod
    def procs(self) -> int:
        """Processes of the user's code in each pod that works."""

    @abstractmethod
    def config(self, attempt: AttemptContext) -> str:
        """The driver's configuration, as JSON."""

    def support(self) -> list[Manifest]:
        """Objects that its attempts rely on, and no other job does."""
        return []

    def volumes(self) -> Iterator[Mounted]:
        """Volumes of all pods, besides those of claims and Secrets."""
        return iter(())

    @abstractmethod
    def claims(self) -> set[str]:
        """Claims that its URIs name."""

    @abstractmethod
    def secrets(self) -> set[str]:
        """Secrets with credentials for its URIs."""

    def configmaps(self) -> Iterator[tuple[str, str]]:
        """ConfigMaps of others that it names, each with what to do about one that is missing."""
        return iter(())


def cpus(cpu: str) -> int:
    """CPUs that Ray offers in a pod: it counts whole ones."""
    return max(1, math.ceil(quantity.parse(cpu)))


def claims_of(*uris: str | None) -> set[str]:
    """Claims that URIs name."""
    return {
        uri.removeprefix("pvc://").split("/")[0]
        for uri in uris
        if uri is not None and uri.startswith("pvc://")
    }
