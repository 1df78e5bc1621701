"""The API server, asked by plain requests: objects are what JSON says."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import urllib3

from loopwright.api.kinds import KINDS
from loopwright.api.resources import Resource
from loopwright.view.errors import NotThere, Refused, Trouble, Unknown

Object = dict[str, Any]
Query = Mapping[str, str | int]

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
BROKEN: Final = (urllib3.exceptions.HTTPError, ssl.SSLError)
# Of one answer to a list.
PAGE: Final = 500
KIND_OF: Final = {kind.name: kind for kind in KINDS}


class User(Protocol):
    """Whoever asks: an API server, and the credentials for it."""

    @property
    def host(self) -> str:
        """The API server's URL."""

    def request(
        self, method: str, url: str, headers: dict[str, str], body: Any, timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Asks, and returns the answer before its body is read; raises one of `BROKEN`.

        Args:
            body: To be sent as JSON.
        """


class Page(NamedTuple):
    """A part of a list."""

    items: list[Object]
    more: str
    """Where the next begins; empty at the end."""


class Cluster:
    """An API server, and the namespace that commands are about."""

    def __init__(self, user: User, namespace: str) -> None:
        self._user = user
        self.namespace = namespace
        self.time = datetime.now(UTC)
        """The server's, when it last answered: clocks of different machines are not compared."""

    def open(
        self, method: str, path: str, query: Query | None = None, body: Any = None,
        read_seconds: float | None = READ_SECONDS,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        """Asks, and returns the answer before its body is read.

        Raises:
            Trouble: it was refused, or nobody answers.
        """
        url = f"{self._user.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds)
        try:
            response = self._user.request(method, url, headers, body, timeout)
        except BROKEN as error:
            raise _silent(self._user.host, error) from error
        if date := response.headers.get("Date"):
            self.time = parsedate_to_datetime(date)
        if response.status >= 400:
            raise _refusal(response.status, response.data, path)
        return response

    def read(
        self, method: str, path: str, query: Query | None = None, body: Any = None,
        most: int | None = None,
    ) -> bytes:  # fmt: skip
        """Asks, and returns the whole answer; raises as `open` does.

        Args:
            most: Bytes that an answer may have; by default any number.
        """
        answer = self.open(method, path, query, body)
        try:
            if most is None:
                return bytes(answer.data)
            found = bytes(answer.read(most + 1))
        except BROKEN as error:
            raise _silent(self._user.host, error) from error
        if len(found) > most:
            answer.close()
            raise Trouble(f"the answer has more than {most} bytes")
        answer.release_conn()
        return found

    def lines(self, path: str, query: Query) -> Iterator[str]:
        """The lines of a log, as they come."""
        rest = b""
        for part in self.open("GET", path, query, read_seconds=None).stream(decode_content=True):
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def json(self, path: str, query: Query | None = None) -> Any:
        """What is at a path; raises as `open` does."""
        text = self.read("GET", path, query)
        try:
            return json.loads(text)
        except ValueError as error:
            told = "what answers is no API server"
            raise Trouble(told, "see whether the context is right") from error

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """An object, or None when there is none, or no such kind."""
        try:
            found = self.json(
                resource.path(self.namespace if namespace is None else namespace, name)
            )
        except NotThere:
            return None
        return {"apiVersion": resource.api_version, "kind": resource.kind, **found}

    def list(
        self, resource: Resource, selector: str = "", fields: str = "",
        namespace: str | None = None,
    ) -> list[Object]:  # fmt: skip
        """Objects of the namespace; none when there is no such kind.

        Args:
            namespace: Another one; "" for all.
        """
        found: list[Object] = []
        more = ""
        while True:
            page = self.page(resource, selector, fields, namespace, more=more)
            found += page.items
            if not (more := page.more):
                return found

    def page(
        self, resource: Resource, selector: str = "", fields: str = "",
        namespace: str | None = None, *, limit: int = PAGE, more: str = "",
    ) -> Page:  # fmt: skip
        """A part of the objects that `list` gives, with where the next part begins."""
        where = self.namespace if namespace is None else namespace
        query: dict[str, str | int] = {"limit": limit}
        query |= {"labelSelector": selector} if selector else {}
        query |= {"fieldSelector": fields} if fields else {}
        query |= {"continue": more} if more else {}
        try:
            page = self.json(resource.path(where), query)
        except NotThere:
            return Page([], "")
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        items = [{**head, **one} for one in page["items"]]
        return Page(items, page["metadata"].get("continue") or "")


def _silent(host: str, error: Exception) -> Trouble:
    cause = " ".join(str(getattr(error, "reason", None) or error).split())
    text = "see whether the cluster is up and the context is right: kubectl cluster-info"
    return Trouble(f"the API server {host} does not answer: {cause}", text)


def _refusal(status: int, body: bytes, path: str) -> Trouble:
    try:
        answer = json.loads(body)
        # The second is what a model server says, through the API server's proxy.
        told = str(answer.get("message") or answer["error"])
    except (ValueError, KeyError, AttributeError):
        told = body[:300].decode(errors="replace").strip() or f"HTTP {status} for {path}"
    if status == 404:
        return NotThere(told)
    if status == 401:
        return Unknown(f"the API server does not know you: {told}", "renew your credentials")
    if status == 403:
        return Refused(told, "ask for a role, such as loopwright-view or loopwright-edit")
    return Trouble(told)
