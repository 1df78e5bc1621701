"""Reads the price table, a ConfigMap that an operator's setting names, whenever it changes."""

from __future__ import annotations

import logging
from typing import Any, Final

from loopwright.api.resources import CONFIGMAP
from loopwright.decide.prices import Prices, PricesMalformed, parse
from loopwright.kube.client import Client
from loopwright.kube.errors import ApiError, Forbidden, NotFound
from loopwright.kube.events import Recorder

LOOK_SECONDS: Final = 30.0
MISSING: Final = "missing"
logger = logging.getLogger(__name__)


class PriceList:
    """The newest table that made sense.

    Args:
        name: Of the ConfigMap, in the operator's namespace; empty when there is none.
    """

    def __init__(self, client: Client, events: Recorder, namespace: str, name: str) -> None:
        self._client, self._events = client, events
        self._namespace, self._name = namespace, name
        self._seen = ""
        self._prices: Prices | None = None

    def prices(self) -> Prices | None:
        """What things cost; None while nobody has said."""
        return self._prices

    async def look(self) -> bool:
        """Reads it again; returns whether prices have changed. What is wrong is said once."""
        if not self._name:
            return False
        try:
            found = await self._client.get(CONFIGMAP, self._namespace, self._name)
        except (NotFound, Forbidden) as error:
            if self._seen != MISSING:
                logger.warning("no price table: %s; costs are not estimated", error.message)
            self._seen = MISSING
            return self._take(None)
        except ApiError as error:
            logger.warning("cannot read the price table: %s", error.message)
            return False
        version = found["metadata"]["resourceVersion"]
        if version == self._seen:
            return False
        self._seen = version
        try:
            return self._take(parse(found.get("data") or {}))
        except PricesMalformed as error:
            self._complain(found, str(error))
            return False

    def _take(self, prices: Prices | None) -> bool:
        before, self._prices = self._prices, prices
        return before != prices

    def _complain(self, found: dict[str, Any], problem: str) -> None:
        kept = "the prices before stay" if self._prices else "costs are not estimated"
        text = f"price table '{self._name}': {problem}; {kept}"
        logger.warning("%s", text)
        obj = found | {"apiVersion": CONFIGMAP.api_version, "kind": CONFIGMAP.kind}
        self._events.record(obj, "Warning", "PricesMalformed", text, self._client.clock.now())
