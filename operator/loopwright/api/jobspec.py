"""What the specs of all kinds that run on Ray have in common."""

from __future__ import annotations

from typing import Protocol

from loopwright.api.budget import Budget
from loopwright.api.policy import Retry, RunPolicy, Scheduling, Spot
from loopwright.api.shared import EnvFrom, EnvVar, PodOverrides, Resources
from loopwright.api.trainingjob import Head


class JobSpec(Protocol):
    """A spec as the core sees it: how a job lives, and the cluster that each attempt has."""

    @property
    def run_policy(self) -> RunPolicy:
        """Limits, suspension and clean-up."""

    @property
    def budget(self) -> Budget | None:
        """What it may cost."""

    @property
    def budgets(self) -> Retry:
        """Failures of attempts that are forgiven."""

    @property
    def scheduling(self) -> Scheduling | None:
        """Queue and priority."""

    @property
    def image(self) -> str | None:
        """Container image, unless it is the operator's."""

    @property
    def ray_version(self) -> str | None:
        """Version of Ray in it, unless it is the operator's."""

    @property
    def num_workers(self) -> int:
        """Worker pods. With none the head pod works, with resources_per_worker."""

    @property
    def resources_per_worker(self) -> Resources:
        """Resources of each worker pod."""

    @property
    def head(self) -> Head:
        """The coordinating pod."""

    @property
    def spot(self) -> Spot | None:
        """Interruptible nodes for the workers."""

    @property
    def env(self) -> list[EnvVar]:
        """Variables of the Ray containers."""

    @property
    def env_from(self) -> list[EnvFrom]:
        """Secrets and ConfigMaps whose keys become variables."""

    @property
    def pod(self) -> PodOverrides:
        """Additions to all pods."""


def queue_of(spec: JobSpec) -> str | None:
    """The LocalQueue that admits the job's attempts."""
    return spec.scheduling.queue if spec.scheduling else None
