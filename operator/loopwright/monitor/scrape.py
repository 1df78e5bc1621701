"""Asks all pods for their metrics at once."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from loopwright.monitor.exposition import Sample, parse
from loopwright.monitor.slices import Pod

METRICS: Final = "/metrics"
MAX_BYTES: Final = 4 * 1024 * 1024
CONNECTIONS: Final = 32


class Foreign(Exception):
    """A server that answers, but has no metrics that are known."""


class Scraper:
    """Keeps its connections to the pods."""

    def __init__(self, timeout: float) -> None:
        """
        Args:
            timeout: Seconds that a pod has for its answer.
        """
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=600),
            timeout=aiohttp.ClientTimeout(total=timeout),
            # Compressing would cost the pods more than it saves inside a cluster.
            headers={"Accept": "text/plain;version=0.0.4,*/*;q=0.1", "Accept-Encoding": "identity",
                     "User-Agent": "loopwright-monitor"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )  # fmt: skip

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()

    async def scrape(self, pods: list[Pod]) -> list[Sample | Foreign | None]:
        """What each pod said; None of one that did not answer."""
        return await asyncio.gather(*(self._one(pod) for pod in pods))

    async def _one(self, pod: Pod) -> Sample | Foreign | None:
        found = await self.get(pod.url + METRICS, MAX_BYTES)
        if found is None:
            return None
        status, body = found
        if status in (401, 403, 404, 405):
            return Foreign()
        try:
            return parse(body.decode()) or Foreign() if status == 200 else None
        except ValueError:
            return None

    async def get(self, url: str, limit: int) -> tuple[int, bytes] | None:
        """Status and body of what is at a URL; None when there is no answer.

        Args:
            limit: Bytes that the body may have.
        """
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                return response.status, await _read(response.content, limit)
        except (aiohttp.ClientError, OSError, ValueError):
            return None


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    parts, size = [], 0
    async for part in content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise ValueError(f"more than {limit} bytes")
    return b"".join(parts)
