"""Requests to the API server: raw JSON, one field manager, a limit on their rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson

from loopwright.api.names import FIELD_MANAGER
from loopwright.kube.connection import Connection
from loopwright.kube.errors import ApiError, NotFound, Unavailable, from_response
from loopwright.kube.ratelimit import TokenBucket
from loopwright.kube.resources import Resource, resource_of

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

# Connections beyond this only wait inside the server.
CONNECTIONS: Final = 20
PAGE: Final = 500
TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)


class Client:
    """The API server. Every method raises a subclass of `ApiError` when it is refused."""

    def __init__(self, connection: Connection, bucket: TokenBucket) -> None:
        self._bucket, self._server = bucket, connection.server
        self._session = connection.session(CONNECTIONS, TIMEOUT)

    async def close(self) -> None:
        """Ends the session."""
        await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """One object."""
        return await self._send("GET", resource.path(namespace, name))

    async def exists(self, resource: Resource, namespace: str | None, name: str) -> bool:
        """Whether an object is there; only its metadata travels, so a Secret stays unread."""
        try:
            await self._send("GET", resource.path(namespace, name), accept=METADATA_ONLY)
        except NotFound:
            return False
        return True

    async def pages(
        self, resource: Resource, namespace: str | None, selector: str
    ) -> AsyncIterator[dict[str, Any]]:
        """All matching objects as the API server has them now, in lists of up to `PAGE` items."""
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            page = await self._send("GET", f"{resource.path(namespace)}?{urlencode(query)}")
            yield page
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        """Creates an object; `Conflict` when it is there already."""
        path = resource.path(obj["metadata"]["namespace"])
        return await self._send("POST", f"{path}?fieldManager={FIELD_MANAGER}", obj)

    async def replace(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        """Replaces an object, if it still has the resource version that it was read with."""
        meta = obj["metadata"]
        return await self._send("PUT", resource.path(meta["namespace"], meta["name"]), obj)

    async def apply(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Server-side applies a whole child and returns what is stored."""
        meta = obj["metadata"]
        path = resource_of(obj).path(meta["namespace"], meta["name"])
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        return await self._send("PATCH", path + query, obj, content=APPLY)

    async def patch_status(
        self, resource: Resource, obj: dict[str, Any], status: dict[str, Any]
    ) -> dict[str, Any]:
        """Makes an object's status what it should be, by the smallest merge patch.

        The patch carries the resource version that `obj` was read with, so that a status computed
        from old knowledge is refused (`Conflict`) instead of stored.
        """
        meta = obj["metadata"]
        body = {
            "metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]},
            "status": merge_diff(obj.get("status") or {}, status),
        }
        path = resource.path(meta["namespace"], meta["name"], "status")
        return await self._send("PATCH", path, body, content=MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str | None) -> None:
        """Deletes an object, if it is still the one with `uid`; one that is gone is fine."""
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._send("DELETE", resource.path(namespace, name), body)
        except NotFound:
            return

    async def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        await self._bucket.take()
        headers = {"Accept": accept, "Content-Type": content}
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, self._server + path, data=data, headers=headers
            ) as response:
                answer = await response.read()
                if response.status >= 400:
                    raise from_response(
                        response.status, answer, response.headers.get("Retry-After")
                    )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        result: dict[str, Any] = orjson.loads(answer)
        return result


def merge_diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7386) that turns `old` into `new`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_diff(before, value):
                patch[key] = inner
        elif value != before:
            patch[key] = value
    return patch


__all__ = ["ApiError", "Client", "merge_diff"]
