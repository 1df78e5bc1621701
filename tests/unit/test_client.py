"""Requests to the API server, against one that listens on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import certifi
import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import incluster_config

from loopwright.api.resources import LEASE, RAYJOB, SECRET, TRAININGJOB
from loopwright.kube import client as client_module
from loopwright.kube import errors
from loopwright.kube.client import MOMENT, PAGE, Client
from loopwright.kube.connection import Connection
from loopwright.kube.errors import ApiError, Conflict, KindMissing, Unavailable
from loopwright.kube.ratelimit import TokenBucket

pytestmark = pytest.mark.timeout(30)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
GONE = {"message": "not found", "details": {"name": "x"}}


class FakeApiServer:
    """Notes what it is asked, and answers as it was told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: deque[Answer] = deque()
        self.url = ""

    def answer(self, body: Any = None, status: int = 200, wait: int | None = None) -> None:
        """What to say next."""
        headers = {"Retry-After": str(wait)} if wait else {}
        text = body if isinstance(body, str) else json.dumps(body or {})

        async def say(_: web.Request) -> web.Response:
            return web.Response(text=text, status=status, headers=headers)

        self.answers.append(say)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        body = await request.json() if request.can_read_body else None
        asked = SimpleNamespace(query=dict(request.query), headers=request.headers, body=body)
        asked.line = f"{request.method} {request.path}"
        self.asked.append(asked)
        return await self.answers.popleft()(request)

    async def start(self, tls: ssl.SSLContext | None = None) -> web.AppRunner:
        """Listens."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
        return runner


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    server = FakeApiServer()
    runner = await server.start()
    yield server
    await runner.cleanup()


def client_of(server: FakeApiServer, **settings: Any) -> Client:
    config = Configuration(host=server.url)
    vars(config).update(settings)
    return Client(Connection(config), TokenBucket(1000, 1000))


@pytest.fixture
async def client(server: FakeApiServer) -> AsyncIterator[Client]:
    client = client_of(server)
    yield client
    await client.close()


async def test_a_listing_goes_on_until_the_last_page(server: FakeApiServer, client: Client) -> None:
    for token in ("a+/b==&limit=1", "c d%20", ""):
        server.answer({"metadata": {"continue": token}, "items": [token]})
    found = [page["items"] async for page in client.pages(RAYJOB, None, "loopwright.io/kind")]
    assert found == [["a+/b==&limit=1"], ["c d%20"], [""]]
    assert {asked.line for asked in server.asked} == {"GET /apis/ray.io/v1/rayjobs"}
    rest = {"labelSelector": "loopwright.io/kind", "limit": str(PAGE)}
    more: list[Any] = [{}, {"continue": "a+/b==&limit=1"}, {"continue": "c d%20"}]
    assert [asked.query for asked in server.asked] == [{**rest, **page} for page in more]


async def test_an_object_is_applied_whole(server: FakeApiServer, client: Client) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n", "name": "c"}}
    server.answer({**obj, "data": {"of": "others"}})
    assert "data" in await client.apply(obj)
    asked = server.asked[0]
    assert asked.line == "PATCH /api/v1/namespaces/n/configmaps/c"
    assert asked.query == {"fieldManager": "loopwright", "force": "true"}
    assert asked.headers["Content-Type"] == "application/apply-patch+yaml"
    assert asked.body == obj


async def test_a_status_patch_is_small_and_refused_when_stale(
    server: FakeApiServer, client: Client
) -> None:
    meta = {"namespace": "n", "name": "job", "resourceVersion": "7", "uid": "u", "labels": {}}
    status = {"phase": "Running", "attempt": 1, "retryTime": "x"}
    obj = {"metadata": meta, "spec": {}, "status": status}
    server.answer()
    await client.patch_status(TRAININGJOB, obj, {"phase": "Running", "attempt": 2})
    asked = server.asked[0]
    assert asked.line == "PATCH /apis/loopwright.io/v1alpha1/namespaces/n/trainingjobs/job/status"
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.body == {
        "metadata": {"resourceVersion": "7", "uid": "u"},
        "status": {"attempt": 2, "retryTime": None},
    }


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, GONE, errors.NotFound),
        (404, "404 page not found\n", KindMissing),
        (404, {"message": "could not find the requested resource", "details": {}}, KindMissing),
        (401, {"message": "Unauthorized"}, Unavailable),
        (403, {"message": "exceeded quota"}, errors.Forbidden),
        (409, {"message": "modified"}, Conflict),
        (422, {"message": "spec: required"}, errors.Invalid),
        (500, "<html>", Unavailable),
        (429, {"message": "too many requests"}, Unavailable),
        (503, {"message": "starting"}, Unavailable),
    ],
)
async def test_a_refusal_is_named_and_says_how_long_to_wait(
    server: FakeApiServer, client: Client, status: int, body: Any, error: type[ApiError]
) -> None:
    wait = 3 if status in (429, 503) else None
    server.answer(body, status, wait)
    with pytest.raises(ApiError) as raised:
        await client.get(TRAININGJOB, "n", "job")
    assert type(raised.value) is error
    assert raised.value.message == (body if isinstance(body, str) else body["message"])
    assert raised.value.retry_after == wait


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang_up_halfway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"half')
    return await hang_up(request)


@pytest.mark.parametrize("answer", [hang_up, hang_up_halfway])
async def test_a_dropped_connection_is_no_answer(
    server: FakeApiServer, client: Client, answer: Answer
) -> None:
    server.answers.append(answer)
    with pytest.raises(Unavailable):
        await client.create(LEASE, {"metadata": {"namespace": "n"}})
    assert len(server.asked) == 1  # Who knows whether it was done: asking again is for the caller.


async def test_a_server_that_is_away_or_silent_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = FakeApiServer()
    monkeypatch.setattr(client_module, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    runner = await server.start()
    client = client_of(server)

    async def silence(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    server.answers.append(silence)
    with pytest.raises(Unavailable):
        await client.get(TRAININGJOB, "n", "job")
    await runner.cleanup()
    with pytest.raises(Unavailable):
        await client.get(TRAININGJOB, "n", "job")
    await client.close()


async def test_only_what_was_meant_is_deleted(server: FakeApiServer, client: Client) -> None:
    server.answer(GONE, 404)
    server.answer({"message": "the UID does not match"}, 409)
    await client.delete(RAYJOB, "n", "r", None)  # What is gone needs no deletion.
    with pytest.raises(Conflict):
        await client.delete(RAYJOB, "n", "r", "old")
    assert server.asked[1].line == "DELETE /apis/ray.io/v1/namespaces/n/rayjobs/r"
    plain = {"propagationPolicy": "Background"}
    assert [a.body for a in server.asked] == [plain, {**plain, "preconditions": {"uid": "old"}}]


async def test_what_was_there_a_moment_ago_is_not_asked_for_again(
    server: FakeApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in (({}, 200), (GONE, 404), ({}, 200), (GONE, 404)):
        server.answer(*answer)
    assert await client.exists(SECRET, "n", "s")
    assert await client.exists(SECRET, "n", "s")
    assert len(server.asked) == 1
    # What is missing is asked for each time.
    assert not await client.exists(SECRET, "m", "s")
    assert await client.exists(SECRET, "m", "s")
    later = time.monotonic() + MOMENT
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not await client.exists(SECRET, "n", "s")


async def test_a_secret_stays_unread(server: FakeApiServer, client: Client) -> None:
    for answer in (({}, 200), (GONE, 404), ("404 page not found", 404)):
        server.answer(*answer)
    assert await client.exists(SECRET, "n", "s")
    assert not await client.exists(SECRET, "n", "t")
    with pytest.raises(KindMissing):
        await client.exists(SECRET, "n", "u")
    assert {asked.headers["Accept"] for asked in server.asked} == {METADATA_ONLY}


async def test_a_new_token_is_read_from_its_file(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 1, 1)
    time = SimpleNamespace(datetime=SimpleNamespace(now=lambda: now), timedelta=timedelta)
    monkeypatch.setattr(incluster_config, "datetime", time)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", certifi.where())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("first")
    connection = await Connection.load()
    former, connection.server = connection.server, server.url
    assert former == "https://10.0.0.1:443"
    client = Client(connection, TokenBucket(1000, 1000))
    for _ in range(2):
        server.answer()
        await client.get(TRAININGJOB, "n", "job")
        (tmp_path / "token").write_text("second")
        now += timedelta(minutes=5)
    await client.close()
    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert [one.lower() for one in sent] == ["bearer first", "bearer second"]


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A CA with less in it than RFC 5280 asks for, and a server's certificate by it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make certificates")
    text = "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=CA:TRUE\n"
    (tmp_path / "cnf").write_text(f"{text}[leaf]\nsubjectAltName=IP:127.0.0.1\n")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config cnf"
    for name, more in (("ca", ""), ("leaf", "-CA ca.crt -CAkey ca.key")):
        command = f"{words} -extensions {name} -keyout {name}.key -out {name}.crt {more}"
        line = [*command.split(), "-subj", f"/CN={name}"]
        subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.fixture
async def tls(pki: Path) -> AsyncIterator[FakeApiServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "leaf.crt", pki / "leaf.key")
    server = FakeApiServer()
    runner = await server.start(context)
    yield server
    await runner.cleanup()


async def test_a_ca_that_python_finds_wanting_is_trusted(
    tls: FakeApiServer, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_python_3_13(**options: Any) -> ssl.SSLContext:
        made = plain(**options)
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    plain, ca = ssl.create_default_context, str(pki / "ca.crt")
    monkeypatch.setattr(ssl, "create_default_context", as_python_3_13)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(tls.url, ssl=as_python_3_13(cafile=ca))
    for settings in ({"ssl_ca_cert": ca}, {"verify_ssl": False}):
        tls.answer({"it": "is"})
        client = client_of(tls, **settings)
        assert await client.get(TRAININGJOB, "n", "job") == {"it": "is"}
        await client.close()
    client = client_of(tls)  # The system's CAs are others.
    with pytest.raises(Unavailable, match="certificate"):
        await client.get(TRAININGJOB, "n", "job")
    await client.close()
