"""The watch of EndpointSlices and the report, against a fake API server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from fake_pods import slice_of

from loopwright import inpod
from loopwright.api import names
from loopwright.api.endpoint_report import EndpointReport, MonitorConfig
from loopwright.monitor import cluster as module
from loopwright.monitor.cluster import Cluster, Refused
from loopwright.monitor.slices import revisions

pytestmark = pytest.mark.timeout(30)

CONFIG = MonitorConfig(endpoint="digits", namespace="n", uid="u", report="digits-observed")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPORT = EndpointReport(
    uid="u", time=NOW, active=False, report_seconds=1, window_start=NOW, window_end=NOW
)


def event(kind: str, revision: str = "r1", version: int = 5) -> bytes:
    """A line of a watch."""
    made = slice_of(revision)
    made["metadata"]["resourceVersion"] = str(version)
    return json.dumps({"type": kind, "object": made}).encode() + b"\n"


Watch = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class FakeServer:
    """Lists `listed` in pages of one, answers watches with `watches` in turn, keeps patches."""

    def __init__(self) -> None:
        self.listed = ["r1"]
        self.watches: asyncio.Queue[Watch] = asyncio.Queue()
        self.status, self.lists, self.versions = 200, 0, list[str]()
        self.patches: list[Any] = []
        self.data: dict[str, str] = {}

    async def slices(self, request: web.Request) -> web.StreamResponse:
        """A list or a watch."""
        wanted = "loopwright.io/kind=ModelEndpoint,loopwright.io/name=digits,loopwright.io/revision"
        assert request.query["labelSelector"] == wanted
        if self.status != 200:
            return web.json_response({"message": "go away"}, status=self.status)
        if "watch" in request.query:
            self.versions.append(request.query["resourceVersion"])
            response = web.StreamResponse()
            await response.prepare(request)
            await (await self.watches.get())(request, response)
            return response
        number = int(request.query.get("continue") or 0)
        self.lists += number == 0
        items = [slice_of(one) for one in self.listed[number : number + 1]]
        more = str(number + 1) if number + 1 < len(self.listed) else ""
        return web.json_response(
            {"metadata": {"resourceVersion": "4", "continue": more}, "items": items}
        )

    async def patch(self, request: web.Request) -> web.Response:
        """Takes a report."""
        change = await request.json()
        self.patches.append((request.path, request.headers, change))
        if self.status != 200:
            return web.json_response({"message": "no such mailbox"}, status=self.status)
        self.data |= change.get("data", {})
        return web.json_response({"kind": "ConfigMap", "data": self.data})

    def says(self, *lines: bytes, cut: bool = False) -> None:
        """The next watch sends these lines, and ends or is cut off."""

        async def watch(request: web.Request, response: web.StreamResponse) -> None:
            for line in lines:
                # In pieces, as they may come.
                await response.write(line[:7])
                await response.write(line[7:])
            if cut and request.transport is not None:
                request.transport.abort()

        self.watches.put_nowait(watch)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeServer, Cluster]]:
    server, app = FakeServer(), web.Application()
    app.add_routes([
        web.get("/apis/discovery.k8s.io/v1/namespaces/n/endpointslices", server.slices),
        web.patch("/api/v1/namespaces/n/configmaps/digits-observed", server.patch),
    ])  # fmt: skip
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(inpod, "address", lambda: runner.addresses[0])
    monkeypatch.setattr(inpod, "tls", lambda: True)
    monkeypatch.setattr(inpod, "token", lambda: "secret")
    monkeypatch.setattr(module, "SCHEME", "http")
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    cluster = Cluster(CONFIG)
    watching = asyncio.create_task(cluster.watch())
    yield server, cluster
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await cluster.close()
    await runner.cleanup()


async def until(look: Callable[[], bool]) -> None:
    """Waits for what is due; the test's own limit ends it otherwise."""
    while not look():  # noqa: ASYNC110 (what is due has no event)
        await asyncio.sleep(0.005)


def known(cluster: Cluster) -> set[str]:
    """Revisions that the monitor knows."""
    return {one.revision for one in revisions(cluster.slices)}


async def test_slices_are_listed_in_pages_and_followed(world: tuple[FakeServer, Cluster]) -> None:
    server, cluster = world
    server.listed = ["r1", "r2"]
    await cluster.synced.wait()
    assert known(cluster) == {"r1", "r2"}
    server.says(event("ADDED", "r3", 6), event("DELETED", "r1", 7), event("BOOKMARK", "r9", 9))
    await until(lambda: known(cluster) == {"r2", "r3"})
    server.says(event("MODIFIED", "r3", 10))
    await until(lambda: server.versions == ["4", "9", "10"])
    assert server.lists == 1


async def test_a_watch_that_is_too_old_begins_anew(world: tuple[FakeServer, Cluster]) -> None:
    server, cluster = world
    await cluster.synced.wait()
    server.listed = ["r2"]
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    server.says(json.dumps(gone).encode() + b"\n")
    await until(lambda: known(cluster) == {"r2"})


async def test_a_watch_that_is_cut_or_talks_nonsense_begins_anew(
    world: tuple[FakeServer, Cluster],
) -> None:
    server, cluster = world
    await cluster.synced.wait()
    server.says(event("ADDED", "r2"), b'{"type": "ADD', cut=True)
    await until(lambda: server.lists == 2)
    server.says(b"<html>\n")
    await until(lambda: server.lists == 3)
    server.says(b'{"type": "ADDED"}\n')
    await until(lambda: server.lists == 4)


async def test_what_is_known_outlives_an_api_server(
    world: tuple[FakeServer, Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    server, cluster = world
    await cluster.synced.wait()
    server.status = 403
    with caplog.at_level(logging.WARNING):
        server.says(cut=True)
        await until(lambda: "go away" in caplog.text)
    assert known(cluster) == {"r1"}
    server.status, server.listed = 200, ["r2"]
    await until(lambda: known(cluster) == {"r2"})


async def test_a_report_is_a_patch_of_the_mailbox(world: tuple[FakeServer, Cluster]) -> None:
    server, cluster = world
    await cluster.write(names.REPORT_KEY, REPORT)
    path, headers, body = server.patches[0]
    assert path.endswith("/digits-observed")
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert EndpointReport.model_validate_json(body["data"][names.REPORT_KEY]) == REPORT
    server.status = 404
    with pytest.raises(Refused, match="no such mailbox"):
        await cluster.write(names.REPORT_KEY, REPORT)


async def test_the_mailbox_is_read_by_a_patch_that_changes_nothing(
    world: tuple[FakeServer, Cluster],
) -> None:
    server, cluster = world
    assert await cluster.read() == {}
    await cluster.write("one.json", REPORT)
    assert (await cluster.read()).keys() == {"one.json"}
    assert server.patches[-1][2] == {}


async def test_a_token_that_is_missing_is_no_crash(
    world: tuple[FakeServer, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError("token")

    _, cluster = world
    monkeypatch.setattr(inpod, "token", missing)
    with pytest.raises(Refused, match="token"):
        await cluster.write(names.REPORT_KEY, REPORT)
