"""Requests to the API server: raw JSON, one field manager, a limit on their rate."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson

from loopwright.api.names import FIELD_MANAGER
from loopwright.api.resources import Resource, resource_of
from loopwright.kube.clock import ServerClock
from loopwright.kube.connection import Connection
from loopwright.kube.errors import ApiError, KindMissing, NotFound, Unavailable, from_response
from loopwright.kube.ratelimit import TokenBucket

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

REVIEW: Final = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

# Connections beyond this only wait inside the server.
CONNECTIONS: Final = 20
# RayJobs are large, and each page is in memory as a whole.
PAGE: Final = 100
# How long something that was there counts as there, in seconds, and of how much that is known.
MOMENT: Final = 5.0
MOST_REMEMBERED: Final = 1000
# aiohttp rounds up to a whole second of its clock, so that no request takes longer than 15 s.
TIMEOUT: Final = aiohttp.ClientTimeout(total=14, connect=5)


def _always() -> None:
    """Lets every write pass."""


class Client:
    """The API server. Every method raises a subclass of `ApiError` when it is refused."""

    def __init__(
        self, connection: Connection, bucket: TokenBucket, may_write: Callable[[], None] = _always
    ) -> None:
        """
        Args:
            may_write: Called before each write; it raises when this replica may no longer act.
        """
        self._bucket, self._server, self._may_write = bucket, connection.server, may_write
        self._session = connection.session(CONNECTIONS, TIMEOUT)
        self._there: dict[str, float] = {}
        self._user = ""
        self.clock = ServerClock()
        self.answered = time.monotonic()
        """When the API server last answered, by the monotonic clock."""

    async def close(self) -> None:
        """Ends the session."""
        await self._session.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        """One object."""
        return await self._send("GET", resource.path(namespace, name))

    async def exists(self, resource: Resource, namespace: str | None, name: str) -> bool:
        """Whether an object is there, or was a moment ago.

        Many jobs name the same. Only metadata travels, so a Secret stays unread.
        """
        path = resource.path(namespace, name)
        if time.monotonic() < self._there.get(path, 0.0):
            return True
        try:
            await self._send("GET", path, accept=METADATA_ONLY)
        except NotFound:
            return False
        if len(self._there) >= MOST_REMEMBERED:
            self._there.clear()
        self._there[path] = time.monotonic() + MOMENT
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

    async def patch_spec(
        self, resource: Resource, obj: dict[str, Any], change: dict[str, Any]
    ) -> dict[str, Any]:
        """Merges a change into an object's spec; `Conflict` when it is not as `obj` any more."""
        meta = obj["metadata"]
        body = {
            "metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]},
            "spec": change,
        }
        path = resource.path(meta["namespace"], meta["name"])
        return await self._send(
            "PATCH", f"{path}?fieldManager={FIELD_MANAGER}", body, content=MERGE
        )

    async def user(self) -> str:
        """The name that the API server knows this process by."""
        if not self._user:
            answer = await self._send("POST", REVIEWS, REVIEW)
            self._user = answer["status"]["userInfo"]["username"]
        return self._user

    async def kinds(self, resource: Resource) -> set[str]:
        """The kinds that the API server has in a resource's group and version."""
        try:
            found = await self._send("GET", f"/apis/{resource.api_version}")
        except (KindMissing, NotFound):
            return set()
        return {one["kind"] for one in found["resources"]}

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Sets how many replicas an object should have."""
        path = resource.path(namespace, name, "scale")
        await self._send("PATCH", path, {"spec": {"replicas": replicas}}, content=MERGE)

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str | None, version: str = ""
    ) -> None:
        """Deletes an object, if it is still the one with `uid`; one that is gone is fine.

        With a resource version, only an object that nobody has changed since (`Conflict`).
        """
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
            if version:
                body["preconditions"]["resourceVersion"] = version
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
        if method != "GET":
            self._may_write()
        headers = {"Accept": accept, "Content-Type": content}
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, self._server + path, data=data, headers=headers
            ) as response:
                answer = await response.read()
                self._learn(response)
                if response.status >= 400:
                    raise self._refusal(response, answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        result: dict[str, Any] = orjson.loads(answer)
        return result

    def _learn(self, response: aiohttp.ClientResponse) -> None:
        self.answered = time.monotonic()
        self.clock.learn(response.headers.get("Date"))

    def _refusal(self, response: aiohttp.ClientResponse, answer: bytes) -> ApiError:
        error = from_response(response.status, answer, response.headers.get("Retry-After"))
        if response.status == 429:
            # It is not this request that is too much, but all of them together.
            self._bucket.pause(error.retry_after or 1.0)
        return error


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
