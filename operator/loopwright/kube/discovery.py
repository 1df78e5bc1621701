"""Which kinds of other projects the API server knows, now: their CRDs come and go."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from loopwright.api.resources import PROMETHEUSRULE, Resource
from loopwright.kube.client import Client
from loopwright.kube.errors import ApiError

OPTIONAL: Final = (PROMETHEUSRULE,)
# A kind without objects has no watch events, so somebody has to ask.
LOOK_SECONDS: Final = 30.0
logger = logging.getLogger(__name__)


class Discovery:
    """What was there at the last look; an API server that does not answer changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: set[Resource] = set()

    def knows(self, resource: Resource) -> bool:
        """Whether objects of the kind can be made."""
        return resource in self._known

    async def look(self) -> bool:
        """Asks again; returns whether something has changed."""
        before = set(self._known)
        for resource in OPTIONAL:
            try:
                served = await self._client.kinds(resource)
            except ApiError as error:
                logger.warning("cannot see whether %s exist: %s", resource.plural, error.message)
                continue
            (self._known.add if resource.kind in served else self._known.discard)(resource)
        return self._known != before

    async def run(self, changed: Callable[[], None]) -> None:
        """Looks until cancelled, and tells when something has changed."""
        while True:
            spread = random.uniform(0.9, 1.1)  # noqa: S311 (spreads load)
            await asyncio.sleep(LOOK_SECONDS * spread)
            if await self.look():
                changed()
