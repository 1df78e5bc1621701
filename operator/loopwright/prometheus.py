"""Asks Prometheus for one number. It is optional: whoever has none misses only what needs it."""

from __future__ import annotations

import logging
from typing import Any, Final

import aiohttp
import orjson

TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
logger = logging.getLogger(__name__)


class Prometheus:
    """A Prometheus server, or anything that answers as one does.

    Args:
        url: Where it is, without /api; empty when there is none.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def query(self, text: str) -> float | None:
        """The value of an instant query with exactly one result; None for any other answer."""
        if not self._url:
            return None
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(f"{self._url}/api/v1/query", data={"query": text}) as answer,
            ):
                body = await answer.read()
                if answer.status != 200:
                    text = body[:200].decode(errors="replace")
                    logger.warning("Prometheus answers %d: %s", answer.status, text)
                    return None
                return _value(orjson.loads(body))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.warning("cannot ask Prometheus: %s: %s", type(error).__name__, error)
            return None


def _value(answer: Any) -> float | None:
    """The number in an answer of the query API."""
    try:
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "scalar":
            return float(result[1])
        if kind == "vector" and len(result) == 1:
            return float(result[0]["value"][1])
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    return None
