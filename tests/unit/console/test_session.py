"""Who may look, and what the console does with their tokens."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from console_worlds import TOKEN, FakeConsole, everything
from recorded import Answer

from loopwright.console import session
from loopwright.console.app import HEADERS, MAX_WAITING, Console
from loopwright.console.person import Person, Profiles, Server
from loopwright.console.settings import ConsoleSettings, SettingsError
from loopwright.view.cluster import Cluster
from loopwright.view.report import MONITOR_PORT

Client = TestClient[Any, Any]
OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A browser without a token."""
    async with TestClient(TestServer(FakeConsole(everything()).app())) as found:
        yield found


async def sign_in(client: Client, token: str, **headers: str) -> ClientResponse:
    """Sends the form."""
    form = {"token": token, "next": "/trainingjobs?namespace=n"}
    return await client.post(
        "/sign-in", data=form, headers={**OURS, **headers}, allow_redirects=False
    )


async def test_a_pasted_token_opens_pages_until_one_signs_out(client: Client) -> None:
    answer = await client.get("/trainingjobs?namespace=n")
    assert answer.status == 401
    assert 'name="next" value="/trainingjobs?namespace=n"' in await answer.text()
    answer = await sign_in(client, f" Bearer {TOKEN}\n")
    assert (answer.status, answer.headers["Location"]) == (303, "/trainingjobs?namespace=n")
    [cookie] = answer.headers.getall("Set-Cookie")
    assert cookie == (f"{session.PLAIN}={TOKEN}; HttpOnly; Max-Age=28800; Path=/; SameSite=Strict")
    answer = await client.get("/")
    assert answer.status == 200
    assert "ada@example.com" in await answer.text()
    answer = await client.post("/sign-out", headers=OURS, allow_redirects=False)
    assert answer.status == 303
    assert (await client.get("/")).status == 401


async def test_over_https_the_cookie_is_for_https_only(client: Client) -> None:
    answer = await sign_in(client, TOKEN, **{"X-Forwarded-Proto": "https"})
    [cookie] = answer.headers.getall("Set-Cookie")
    assert cookie.startswith(f"{session.SECURE}={TOKEN}; ")
    assert "Secure" in cookie


async def test_a_proxys_header_counts_before_the_cookie(client: Client) -> None:
    await sign_in(client, TOKEN)
    headers = {"Authorization": "Bearer another.token"}
    answer = await client.get("/", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    text = await answer.text()
    assert "send a valid Bearer token" in text
    assert "<form" not in text
    answer = await client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "Sign out" not in await answer.text()


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer a b", "Bearer a\u00e4", ""])
async def test_other_headers_are_nobodys(client: Client, header: str) -> None:
    answer = await client.get("/", headers={"Authorization": header})
    assert answer.status == 401


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("wrong.token", "does not accept this token"),
        ("not a token!", "That is no token"),
        ("", "That is no token"),
        ("x" * 3801, "That is no token"),
    ],
)
async def test_wrong_tokens_are_not_kept(client: Client, token: str, told: str) -> None:
    answer = await sign_in(client, token)
    assert answer.status == 401
    assert told in await answer.text()
    assert "Set-Cookie" not in answer.headers


async def test_an_expired_session_asks_again_and_forgets(client: Client) -> None:
    client.session.cookie_jar.update_cookies({session.PLAIN: "expired.token"})
    answer = await client.get("/n/trainingjobs/digits")
    assert answer.status == 401
    assert "The session has expired" in await answer.text()
    assert {one.split("=")[0] for one in answer.headers.getall("Set-Cookie")} == {
        session.PLAIN, session.SECURE
    }  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"}, {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
async def test_forms_of_others_do_nothing(
    client: Client, path: str, headers: dict[str, str]
) -> None:
    answer = await client.post(path, data={"token": TOKEN}, headers=headers, allow_redirects=False)
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


async def test_a_browser_that_only_tells_the_origin_may_sign_in(client: Client) -> None:
    origin = f"http://{client.host}:{client.port}"
    form = {"token": TOKEN}
    answer = await client.post(
        "/sign-in", data=form, headers={"Origin": origin}, allow_redirects=False
    )
    assert answer.status == 303


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/n/models/x?refresh=off", True), ("//evil.example", False), ("", False),
        ("https://evil.example", False), ("/\\evil.example", False), ("/a\\b", False),
        ("javascript:alert(1)", False),        ("/a\nSet-Cookie: x", False),
    ],
)  # fmt: skip
def test_signing_in_leads_to_our_own_pages_only(path: str, kept: bool) -> None:
    assert session.local(path) == (path if kept else "/")


async def test_every_answer_has_its_headers(client: Client) -> None:
    for path in ("/", "/sign-in", "/nothing", "/healthz", "/static/console.css"):
        answer = await client.get(path)
        for name, value in HEADERS.items():
            if name != "Cache-Control" or not path.startswith("/static"):
                assert answer.headers[name] == value, (path, name)
    assert "script-src" not in HEADERS["Content-Security-Policy"]
    assert HEADERS["Content-Security-Policy"].startswith("default-src 'none'")


async def test_no_token_reaches_logs_or_pages(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await sign_in(client, "wrong.secret-token")
    await sign_in(client, TOKEN)
    for path in ("/", "/n/trainingjobs/digits", "/nothing", "/sign-in"):
        assert TOKEN not in await (await client.get(path)).text()
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("loopwright")]
    assert not any("secret-token" in one or TOKEN in one for one in ours)


async def test_a_bug_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    class FakeBroken(FakeConsole):
        def _cluster(self, token: str, namespace: str) -> Cluster:
            raise RuntimeError("the inside of it")

    async with TestClient(TestServer(FakeBroken(everything()).app())) as found:
        answer = await found.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
        text = await answer.text()
    assert answer.status == 500
    assert "the inside of it" not in text
    assert TOKEN not in caplog.text


async def test_too_many_pages_at_once_are_refused() -> None:
    console = FakeConsole(everything())
    console._waiting = MAX_WAITING
    async with TestClient(TestServer(console.app())) as found:
        answer = await found.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status == 503
        assert "too many pages" in await answer.text()
        assert (await found.get("/healthz")).status == 200


async def test_reports_of_monitors_run_nothing_and_are_bounded() -> None:
    world = everything()
    where = f"/api/v1/namespaces/n/pods/digits-monitor-0:{MONITOR_PORT}/proxy/report"
    world.pages[where] = b"<script>alert(1)</script>"
    for one in world.objects:
        if one["metadata"]["name"] == "digits-monitor-0":
            one["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with TestClient(TestServer(FakeConsole(world).app())) as found:
        answer = await found.get("/n/modelendpoints/digits/report", headers=headers)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "allow-" not in policy
        world.pages[where] = b"x" * (8 * 2**20 + 1)
        assert (await found.get("/n/modelendpoints/digits/report", headers=headers)).status == 502


class Api(BaseHTTPRequestHandler):
    """Says who asks, and sends some elsewhere."""

    def do_GET(self) -> None:
        elsewhere = self.path == "/elsewhere"
        body = self.headers.get("Authorization", "").encode()
        self.send_response(302 if elsewhere else 200)
        self.send_header("Content-Length", str(len(body)))
        if elsewhere:
            self.send_header("Location", "/stolen")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    """An API server on this machine."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield Server(f"http://127.0.0.1:{found.server_port}", "", 2)
    found.shutdown()
    found.server_close()


def test_each_request_carries_the_persons_token_and_follows_nobody(server: Server) -> None:
    ada, bob = (Cluster(Person(server, token), "n") for token in ("ada", "bob"))
    assert ada.read("GET", "/me") == b"Bearer ada"
    assert bob.read("GET", "/me") == b"Bearer bob"
    assert ada.read("GET", "/me", most=10) == b"Bearer ada"
    assert ada.read("GET", "/elsewhere") == b"Bearer ada"


async def test_a_server_that_is_away_is_said_to_be() -> None:
    settings = ConsoleSettings(server="http://127.0.0.1:1", ca_file="")
    async with TestClient(TestServer(Console(settings).app())) as found:
        answer = await found.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status == 502
        assert "does not answer" in await answer.text()


def test_names_are_looked_up_again_after_a_minute() -> None:
    now = [0.0]
    world = everything()
    console = FakeConsole(world)
    profiles = Profiles(("a",), lambda: now[0])
    cluster = console._cluster(TOKEN, "")
    world.refused.add("namespaces")
    assert profiles.of(cluster, TOKEN).namespaces == ("a",)
    asked = len(world.asked)
    profiles.of(cluster, TOKEN)
    assert len(world.asked) == asked
    now[0] = 61.0
    profiles.of(cluster, TOKEN)
    assert len(world.asked) > asked


def test_settings_come_from_the_environment() -> None:
    env = {
        "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443",
        "LOOPWRIGHT_CONSOLE_NAMESPACES": "a, b", "LOOPWRIGHT_CONSOLE_SECURE_COOKIES": "true",
    }  # fmt: skip
    found = ConsoleSettings.from_env(env)
    assert found.server == "https://[fd00::1]:443"
    assert (found.namespaces, found.secure_cookies) == (("a", "b"), True)
    with pytest.raises(SettingsError, match="LOOPWRIGHT_CONSOLE_SERVER"):
        ConsoleSettings.from_env({})
    with pytest.raises(SettingsError, match="LOOPWRIGHT_CONSOLE_PORT must be a int, not 'x'"):
        ConsoleSettings.from_env({**env, "LOOPWRIGHT_CONSOLE_PORT": "x"})


def test_an_answer_of_the_fake_ends_where_it_is_told() -> None:
    assert Answer(b"abc").read(2) == b"ab"
