"""The API server as the benchmarks use it: many requests at once, and watches that count."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import orjson
import yaml

Object = dict[str, Any]

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PLAIN: Final = "application/json"


class Refused(RuntimeError):
    """The API server refused a request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:500]}")
        self.status = status


class Api:
    """An administrator's client.

    Args:
        connections: How many requests may be under way at once; watches do not count.
    """

    def __init__(self, kubeconfig: Path, connections: int) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        self._connections = connections

    async def __aenter__(self) -> Self:
        self.server: str = self._config["clusters"][0]["cluster"]["server"]
        tls, never = self._tls(), aiohttp.ClientTimeout(total=None)
        limited = aiohttp.TCPConnector(limit=self._connections, ssl=tls)
        self._session = aiohttp.ClientSession(connector=limited, timeout=never)
        free = aiohttp.TCPConnector(limit=0, ssl=tls)
        self._watches = aiohttp.ClientSession(connector=free, timeout=never)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._watches.close()

    async def send(
        self, method: str, path: str, body: Object | bytes | None = None, content: str = PLAIN
    ) -> bytes:
        """One request.

        Raises:
            Refused: the answer's status is 400 or more.
        """
        data = orjson.dumps(body) if isinstance(body, dict) else body
        headers = {"Content-Type": content}
        async with self._session.request(
            method, self.server + path, data=data, headers=headers
        ) as response:
            answer = await response.read()
            if response.status >= 400:
                raise Refused(response.status, answer.decode(errors="replace"))
            return answer

    async def create(self, path: str, objects: Iterable[Object]) -> None:
        """Creates many objects of a kind, as many at once as there are connections."""
        await asyncio.gather(*(self.send("POST", path, obj) for obj in objects))

    async def watch(self, path: str, accept: str = METADATA) -> AsyncGenerator[Object]:
        """All objects as they are, then as they change; deletions are left out.

        An object may come again unchanged: the API server ends watches whose clients are slow, as
        one may be on a busy machine, and then everything is shown anew.
        """
        while True:
            async with self._watches.get(
                f"{self.server}{path}?watch=true", headers={"Accept": accept}
            ) as response:
                if response.status >= 400 and response.status != 429:
                    raise Refused(response.status, await response.text())
                if response.status == 200:
                    async for obj in _objects(response):
                        yield obj
            # 429: the server still fills its cache of a kind whose CRD is new.
            await asyncio.sleep(0.1)

    async def until(
        self, path: str, count: int, good: Callable[[Object], bool] | None = None
    ) -> None:
        """Waits until so many objects are there, or fulfil a condition.

        Args:
            good: Sees whole objects; without it only metadata travels.
        """
        found: set[str] = set()
        events = self.watch(path, METADATA if good is None else PLAIN)
        async for obj in events:
            if good is None or good(obj):
                found.add(obj["metadata"]["uid"])
            if len(found) >= count:
                break
        await events.aclose()

    def _tls(self) -> ssl.SSLContext:
        cluster, user = self._config["clusters"][0]["cluster"], self._config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        return context


async def _objects(response: aiohttp.ClientResponse) -> AsyncGenerator[Object]:
    rest = b""
    # Not line by line: aiohttp refuses lines as long as some objects are.
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for event in map(orjson.loads, lines):
            if event["type"] in ("ADDED", "MODIFIED"):
                yield event["object"]


async def within(seconds: float, what: str, waiting: Awaitable[None]) -> None:
    """Waits, but not for ever.

    Raises:
        TimeoutError: it took longer; the message says what did.
    """
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError as error:
        raise TimeoutError(f"{what}: not within {seconds:.0f} s") from error
