"""What every reconcile works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from loopwright.api.resources import Key, Resource
from loopwright.decide.endpoint_types import GatewayView
from loopwright.decide.prices import Prices
from loopwright.desired.network import Network
from loopwright.kube.cache import Cache
from loopwright.kube.client import Client
from loopwright.kube.events import Recorder
from loopwright.prometheus import Prometheus
from loopwright.settings import Settings


@dataclass(frozen=True)
class Kept:
    """What a job relies on, as it was when all was right."""

    generation: int | None
    """Of the job, from which the rest follows."""
    children: dict[Key, int]
    """Their resource versions."""


class Mark(NamedTuple):
    """A child as it was when nothing more could be done about it."""

    wanted: int
    """Hash of what it should be."""
    version: str
    """Its generation, or for kinds that have none its resource version."""


class Remembered(NamedTuple):
    """A Gateway, and until when it is not looked up again, by the monotonic clock."""

    gateway: GatewayView
    until: float


def _unknown(_: Resource) -> bool:
    """For tests that need no kind of another project."""
    return False


def _free() -> None:
    """For tests in which nothing has a price."""


def _nobody(_: Key) -> None:
    """For tests of a single reconcile."""


@dataclass(frozen=True)
class Context:
    """The world as a reconcile sees it; the clock is injected for tests."""

    client: Client
    cache: Cache
    events: Recorder
    settings: Settings
    now: Callable[[], datetime]
    kept: dict[Key, Kept] = field(default_factory=dict)
    """What of each job was last found right."""
    agreed: dict[Key, dict[Key, Mark]] = field(default_factory=dict)
    """The same of each endpoint's children."""
    gateways: dict[Key, Remembered] = field(default_factory=dict)
    """Gateways that were looked up lately."""
    wake: Callable[[Key], None] = _nobody
    """Has an object looked at, and whoever it concerns. What this process writes itself is no news
    when its watch event arrives, so a reconcile that changes what others look at says so."""
    knows: Callable[[Resource], bool] = _unknown
    """Whether the API server has a kind of another project that is not needed."""
    prices: Callable[[], Prices | None] = _free
    """What things cost."""
    prometheus: Prometheus = field(default_factory=lambda: Prometheus(""))
    """Where PromQL checks are asked."""

    @property
    def network(self) -> Network | None:
        """Who may come to what is made; None makes no NetworkPolicies."""
        known = self.settings
        if not known.network_policies:
            return None
        return Network(
            known.kuberay_namespaces, known.client_namespaces, known.prometheus_namespaces
        )
