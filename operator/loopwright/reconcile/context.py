"""What every reconcile works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from loopwright.kube.cache import Cache
from loopwright.kube.client import Client
from loopwright.settings import Settings


@dataclass(frozen=True)
class Context:
    """The world as a reconcile sees it; the clock is injected for tests."""

    client: Client
    cache: Cache
    settings: Settings
    now: Callable[[], datetime]
