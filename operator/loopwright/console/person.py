"""Who looks: every request to the API server carries this person's own token, and no other."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from loopwright.api.resources import NAMESPACE, Resource
from loopwright.view.cluster import Cluster
from loopwright.view.errors import Refused

# Of RFC 6750; whatever else is in it could become a header.
TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
REVIEW: Final = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview")
# Names are looked up again after this; rights are the API server's to judge, at every request.
REMEMBERED_SECONDS: Final = 60.0
MOST_REMEMBERED: Final = 1000
MOST_NAMESPACES: Final = 500


class Server:
    """The API server. No credentials belong to it."""

    def __init__(self, url: str, ca_file: str, connections: int) -> None:
        self.url = url.rstrip("/")
        context = ssl.create_default_context(cafile=ca_file or None)
        # Python 3.13 asks of a CA what RFC 5280 does, and many clusters' lack it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.pool = urllib3.PoolManager(
            maxsize=connections, ssl_context=context, retries=urllib3.Retry(connect=1, read=0)
        )


class Person:
    """Somebody with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self._server, self._token = server, token

    @property
    def host(self) -> str:
        """The API server's URL."""
        return self._server.url

    def request(
        self, method: str, url: str, headers: dict[str, str], body: Any, timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Asks as this person, and returns the answer before its body is read."""
        headers |= {"Authorization": f"Bearer {self._token}", "User-Agent": "loopwright-console"}
        data = None if body is None else json.dumps(body).encode()
        # A redirect would carry the token to somebody else.
        return self._server.pool.request(
            method, url, body=data, headers=headers, timeout=timeout, redirect=False,
            preload_content=False,
        )  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """What a page says of whoever looks."""

    name: str
    namespaces: Sequence[str]
    """Those that can be offered; there may be more."""


class Profiles:
    """Who people are, as the API server says; remembered for a moment, by a digest of the token."""

    def __init__(
        self, namespaces: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._offered, self._clock = tuple(namespaces), clock
        self._known: dict[bytes, tuple[float, Profile]] = {}
        self._lock = threading.Lock()

    def of(self, cluster: Cluster, token: str) -> Profile:
        """Whoever has a token.

        Raises:
            Unknown: the API server does not know the token.
            Trouble: it does not answer.
        """
        key, now = hashlib.sha256(token.encode()).digest(), self._clock()
        with self._lock:
            until, known = self._known.get(key, (0.0, None))
        if known is not None and now < until:
            return known
        found = Profile(whoami(cluster), self._namespaces(cluster))
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = (now + REMEMBERED_SECONDS, found)
        return found

    def _namespaces(self, cluster: Cluster) -> Sequence[str]:
        try:
            page = cluster.page(NAMESPACE, namespace="", limit=MOST_NAMESPACES)
        except Refused:
            return self._offered
        return [str(one["metadata"]["name"]) for one in page.items]


def whoami(cluster: Cluster) -> str:
    """The name that the API server knows the person by; raises as `Profiles.of` does."""
    body = {"apiVersion": REVIEW.api_version, "kind": REVIEW.kind}
    answer = json.loads(cluster.read("POST", REVIEW.path(), body=body))
    return str(answer["status"]["userInfo"].get("username") or "unknown")
