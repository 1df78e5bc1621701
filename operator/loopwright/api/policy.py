"""How a run is placed, limited and retried; shared by the kinds that run on Ray."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel, DnsName, Flag
from loopwright.api.maps import Labels
from loopwright.api.shared import DNS_LABEL, Tolerations


class Spot(ApiModel):
    """Run the workers on interruptible nodes."""

    enabled: Flag = False
    """Whether to."""
    node_selector: Labels = {}
    """Labels of interruptible nodes."""
    tolerations: Tolerations = []
    """Taints of interruptible nodes."""
    fallback_on_demand_after: Annotated[int, Field(strict=True, ge=1, le=100), WHOLE] | None = None
    """After so many infrastructure failures, attempts no longer ask for interruptible nodes."""
    grace_period_seconds: Annotated[int, Field(strict=True, ge=1, le=3600), WHOLE] = 120
    """How long a worker may take to save its state once it is told to stop."""


class ClusterRetry(ApiModel):
    """How many lost clusters are forgiven."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "self.backoffSeconds <= self.backoffMaxSeconds",
            "backoffSeconds must not exceed backoffMaxSeconds",
        ),
    )

    max_infrastructure_failures: Annotated[int, Field(strict=True, ge=0, le=100), WHOLE] = 3
    """Retries after a pod, a node or the cluster failed."""
    # The CEL rule reads both waits, and CEL takes no 2.0 for an integer: so no WHOLE here.
    backoff_seconds: Annotated[int, Field(strict=True, ge=0, le=86400)] = 10
    """Wait before the first retry; doubles with each."""
    backoff_max_seconds: Annotated[int, Field(strict=True, ge=0, le=86400)] = 300
    """The longest wait."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_seconds > self.backoff_max_seconds:
            raise ValueError("backoffSeconds must not exceed backoffMaxSeconds")
        return self


class Retry(ClusterRetry):
    """How many failures are forgiven. Bugs and lost machines have budgets of their own."""

    max_application_failures: Annotated[int, Field(strict=True, ge=0, le=100), WHOLE] = 0
    """Retries after the training code failed."""
    non_retriable_exit_codes: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=255), WHOLE]], Field(max_length=64)
    ] = []
    """Exit codes of the training code that end the job at once."""


class RunPolicy(ApiModel):
    """Limits on the job's life."""

    immutable: ClassVar[frozenset[str]] = frozenset({"maxRuntimeSeconds", "maxPendingSeconds"})

    max_runtime_seconds: Annotated[int, Field(strict=True, ge=1, le=2419200), WHOLE] = 86400
    """How long the attempts may run in sum."""
    max_pending_seconds: Annotated[int, Field(strict=True, ge=1, le=2419200), WHOLE] | None = None
    """How long an attempt may wait for its cluster."""
    suspend: Flag = False
    """Stop and free all resources; setting it back continues where the job was."""
    ttl_seconds_after_finished: (
        Annotated[int, Field(strict=True, ge=0, le=2**31 - 1), WHOLE] | None
    ) = None
    """Delete the job itself so long after it finished."""


class Scheduling(ApiModel):
    """Queueing and priority."""

    queue: Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)] | None = None
    """A Kueue LocalQueue of this namespace that admits the job."""
    priority_class: DnsName | None = None
    """PriorityClass of the pods."""
