"""The API server, as far as a monitor needs it: it watches EndpointSlices and writes its report."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson

from loopwright import inpod
from loopwright.api.base import StatusModel
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.monitor.slices import Slice, selector

logger = logging.getLogger(__name__)

SCHEME: Final = "https"
# The API server ends a watch after that; one that says nothing for longer is dead.
WATCH_SECONDS: Final = 300
SILENCE: Final = aiohttp.ClientTimeout(total=None, connect=5, sock_read=WATCH_SECONDS + 15)
REQUEST: Final = aiohttp.ClientTimeout(total=14, connect=5)
FIRST_PAUSE: Final = 0.5
LAST_PAUSE: Final = 10.0
PAGE: Final = 100


class Refused(Exception):
    """The API server did not do what it was asked; the message says why."""


class Cluster:
    """The pod's own account at the API server."""

    def __init__(self, config: MonitorConfig) -> None:
        self._config = config
        # Requests are rare, and each reads the account's files anew.
        connector = aiohttp.TCPConnector(force_close=True)
        agent = {"User-Agent": "loopwright-monitor"}
        self._session = aiohttp.ClientSession(connector=connector, headers=agent)
        self._slices: dict[str, Slice] = {}
        self.synced = asyncio.Event()
        """Set once EndpointSlices were listed."""

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()

    @property
    def slices(self) -> list[Slice]:
        """The EndpointSlices, as far as is known."""
        return list(self._slices.values())

    async def watch(self) -> None:
        """Keeps the EndpointSlices up to date, for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                version = await self._list()
                self.synced.set()
                pause = FIRST_PAUSE
                while True:
                    version = await self._follow(version)
                    await asyncio.sleep(FIRST_PAUSE)  # A proxy may end watches at once.
            except (Refused, aiohttp.ClientError, OSError, ValueError, LookupError) as error:
                # What was known stays, for pods outlive the API server's troubles.
                wait = pause * random.uniform(0.8, 1.2)  # noqa: S311 (spreads load)
                logger.warning("cannot watch EndpointSlices: %s; again in %.1f s", error, wait)
            await asyncio.sleep(wait)
            pause = min(LAST_PAUSE, pause * 2)

    async def _list(self) -> str:
        found: dict[str, Slice] = {}
        query = {"labelSelector": selector(self._config.endpoint), "limit": str(PAGE)}
        while True:
            async with self._request("GET", self._path(query), timeout=REQUEST) as response:
                page = orjson.loads(await _answer(response))
            found |= {item["metadata"]["name"]: item for item in page["items"]}
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                self._slices = found
                return str(page["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> str:
        """Takes in events until the API server ends the watch, and returns the newest version."""
        query = {
            "labelSelector": selector(self._config.endpoint), "watch": "true",
            "allowWatchBookmarks": "true", "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }  # fmt: skip
        async with self._request("GET", self._path(query), timeout=SILENCE) as response:
            if response.status >= 400:
                raise Refused(f"HTTP {response.status}")
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    version = self._take(orjson.loads(line))
        return version

    def _take(self, event: dict[str, Any]) -> str:
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            # Most often the version is too old by now, and only a listing helps.
            raise Refused(found.get("message", "the watch failed"))
        if kind == "DELETED":
            self._slices.pop(found["metadata"]["name"], None)
        elif kind != "BOOKMARK":
            self._slices[found["metadata"]["name"]] = found
        return str(found["metadata"]["resourceVersion"])

    def _path(self, query: dict[str, str]) -> str:
        namespace = self._config.namespace
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        return f"{path}?{urlencode(query)}"

    async def read(self) -> dict[str, str]:
        """What is in the mailbox.

        By a patch that changes nothing, for that is all that the account may do: rights to read
        would be to all ConfigMaps of the namespace.

        Raises:
            Refused: the API server did not answer with it.
        """
        try:
            found: dict[str, str] = orjson.loads(await self._patch({})).get("data") or {}
        except ValueError as error:
            raise Refused("the API server answered with something else than JSON") from error
        return found

    async def write(self, key: str, report: StatusModel) -> None:
        """Replaces a report in the mailbox.

        Raises:
            Refused: it was not stored.
        """
        text = report.model_dump_json(by_alias=True, exclude_none=True)
        await self._patch({"data": {key: text}})

    async def _patch(self, change: dict[str, Any]) -> bytes:
        path = inpod.configmap(self._config.namespace, self._config.report)
        path += "?fieldManager=loopwright-monitor"
        body = orjson.dumps(change)
        try:
            async with self._request("PATCH", path, body=body, timeout=REQUEST) as response:
                return await _answer(response)
        except (aiohttp.ClientError, OSError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from error

    def _request(
        self, method: str, path: str, *, timeout: aiohttp.ClientTimeout, body: bytes | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        host, port = inpod.address()
        server = f"{SCHEME}://[{host}]:{port}" if ":" in host else f"{SCHEME}://{host}:{port}"
        headers = {"Authorization": f"Bearer {inpod.token()}"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        return self._session.request(
            method, server + path, data=body, headers=headers, timeout=timeout, ssl=inpod.tls()
        )


async def _answer(response: aiohttp.ClientResponse) -> bytes:
    body = await response.read()
    if response.status < 400:
        return body
    try:
        message = orjson.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {response.status}"
    raise Refused(message)
