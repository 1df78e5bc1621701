"""The server: who asks, which page it is, and what every answer carries."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from loopwright import __version__
from loopwright.api.kinds import Kind
from loopwright.api.resources import own
from loopwright.console import pages, session
from loopwright.console.pages import BY_PLURAL, TITLES, View
from loopwright.console.person import Person, Profile, Profiles, Server, whoami
from loopwright.console.settings import ConsoleSettings
from loopwright.view.cluster import Cluster
from loopwright.view.errors import NotThere, Refused, Trouble, Unknown
from loopwright.view.refs import Found
from loopwright.view.report import of_monitor

logger = logging.getLogger(__name__)

STATIC: Final = Path(__file__).parent / "static"
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
MAX_CONTINUE: Final = 4096
MAX_FORM: Final = 16 * 1024
MAX_REPORT: Final = 8 * 2**20
# Pages that wait for others to be made; beyond it is better to say so.
MAX_WAITING: Final = 64
HEADERS: Final = {
    # Nothing but our own style sheet and pictures; no script at all.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Forms shall say where they come from, and others nothing.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# Of reports: pods wrote them, so nothing in them may run, and they belong to no site.
SANDBOX: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
OTHERS: Final = ("trainingjobs", "hyperparametersweeps", "batchtransforms", "modelendpoints",
                 "models", "modelversions")  # fmt: skip
Make = Callable[[Cluster, str], View]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SignedOut(Exception):
    """Nobody knows who asks; the text says why."""


class Console:
    """All pages."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self.settings = settings
        self.server = Server(settings.server, settings.ca_file, settings.workers)
        self._profiles = Profiles(settings.namespaces)
        self._threads = ThreadPoolExecutor(settings.workers, "page")
        self._waiting = 0
        self._templates = Environment(
            loader=PackageLoader("loopwright.console"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters["ticks"] = ticks
        self._templates.globals |= {"version": __version__, "titles": TITLES, "plurals": OTHERS}

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=MAX_FORM, middlewares=[self._guard])
        app.on_cleanup.append(self._close)
        names = r"{namespace:[a-z0-9.-]+}/{plural:[a-z]+}/{name:[a-z0-9.-]+}"
        app.add_routes([
            web.get("/", self.overview),
            web.get("/lineage", self.lineage),
            web.get("/healthz", self.healthz),
            web.get("/sign-in", self.sign_in),
            web.post("/sign-in", self.signed_in),
            web.post("/sign-out", self.sign_out),
            web.get("/static/{file:[a-z.]+}", self.static),
            web.get("/{plural:[a-z]+}", self.objects),
            web.get(f"/{names}", self.one),
            web.get(f"/{names}/{{what:report|experiment}}", self.report),
        ])  # fmt: skip
        return app

    async def _close(self, _: web.Application) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Makes a page of every refusal, and gives every answer its headers."""
        answer: web.StreamResponse
        try:
            answer = await handler(request)
        except SignedOut as error:
            answer = await self._ask(request, str(error))
        except Unknown:
            answer = await self._ask(request, "The session has expired, or the token is not valid.")
        except NotThere as error:
            answer = await self._trouble(request, 404, error)
        except Refused as error:
            answer = await self._trouble(request, 403, error)
        except Trouble as error:
            answer = await self._trouble(request, 502, error)
        except web.HTTPException as error:
            if error.status < 400:
                answer = error
            else:
                answer = await self._trouble(request, error.status, Trouble(error.reason))
        except Exception:
            # Its text may hold what a cluster says; the log is for those who run the console.
            logger.exception("a page could not be made")
            remedy = "the console's log says more"
            answer = await self._trouble(request, 500, Trouble("this page has a bug", remedy))
        for key, value in HEADERS.items():
            answer.headers.setdefault(key, value)
        return answer

    async def _ask(self, request: web.Request, why: str) -> web.Response:
        """Has somebody sign in; what a proxy or a program sent is refused instead."""
        if "Authorization" in request.headers:
            answer = await self._trouble(request, 401, Trouble(why, "send a valid Bearer token"))
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        fresh = not session.token_of(request)
        text = "" if fresh else why
        answer = self._page(request, None, "sign_in.html", title="Sign in", error=text,
                            next=session.local(request.path_qs), status=401)  # fmt: skip
        session.forget(answer)
        return answer

    async def _trouble(self, request: web.Request, status: int, error: Trouble) -> web.Response:
        text = error.line()[:1000]
        return self._page(
            request, None, "trouble.html", title="Not shown", text=text, status=status
        )

    def _page(
        self, request: web.Request, profile: Profile | None, template: str, *, status: int = 200,
        **context: Any,
    ) -> web.Response:  # fmt: skip
        given: dict[str, Any] = {
            "profile": profile, "namespace": "", "path": request.path, "refresh": 0,
            "signed": session.token_of(request) is not None,
            "proxied": "Authorization" in request.headers, **context,
        }  # fmt: skip
        text = self._templates.get_template(template).render(given)
        return web.Response(text=text, content_type="text/html", status=status)

    def _cluster(self, token: str, namespace: str) -> Cluster:
        return Cluster(Person(self.server, token), namespace)

    async def _thread(self, work: Callable[[], Any]) -> Any:
        if self._waiting >= MAX_WAITING:
            raise web.HTTPServiceUnavailable(reason="too many pages are asked for; try again")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    async def _shown(self, request: web.Request, namespace: str, make: Make) -> web.Response:
        """A page, made in a thread: reading a cluster takes many requests."""
        token = _token(request)

        def work() -> web.Response:
            cluster = self._cluster(token, namespace)
            profile = self._profiles.of(cluster, token)
            view = make(cluster, profile.name)
            still = request.query.get("refresh") == "off" or not view.live
            return self._page(
                request, profile, view.template, title=view.title, blocks=view.blocks,
                namespace=namespace, live=view.live, paused=request.query.get("refresh") == "off",
                refresh=0 if still else self.settings.refresh_seconds,
                toggle=_toggled(request), at=f"{cluster.time:%H:%M:%S} UTC", **view.more,
            )  # fmt: skip

        answer: web.Response = await self._thread(work)
        return answer

    async def overview(self, request: web.Request) -> web.Response:
        """/"""
        return await self._shown(request, _asked(request), pages.overview)

    async def lineage(self, request: web.Request) -> web.Response:
        """/lineage"""
        return await self._shown(request, _asked(request), pages.descent)

    async def objects(self, request: web.Request) -> web.Response:
        """/{plural}"""
        kind = _kind(request)
        phase, more = request.query.get("phase", "")[:32], request.query.get("continue", "")
        if len(more) > MAX_CONTINUE:
            raise NotThere("there is no such part of the list", "begin at its first")
        return await self._shown(
            request, _asked(request), lambda api, who: pages.objects(api, who, kind, phase, more)
        )

    async def one(self, request: web.Request) -> web.Response:
        """/{namespace}/{plural}/{name}"""
        kind, (namespace, name) = _kind(request), _named(request)
        return await self._shown(
            request, namespace, lambda api, who: pages.one(api, who, kind, name)
        )

    async def report(self, request: web.Request) -> web.Response:
        """/{namespace}/modelendpoints/{name}/report: what the endpoint's monitor shows."""
        token, (namespace, name) = _token(request), _named(request)
        kind, what = _kind(request), request.match_info["what"]
        if kind.name != "ModelEndpoint":
            raise NotThere("only endpoints have monitors")

        def work() -> bytes:
            cluster = self._cluster(token, namespace)
            obj = cluster.get(own(kind), name)
            if obj is None:
                raise NotThere(f"there is no endpoint {name} in namespace {namespace}")
            return of_monitor(cluster, Found(kind, obj), what, MAX_REPORT)

        headers = {"Content-Security-Policy": SANDBOX}
        body = await self._thread(work)
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def sign_in(self, request: web.Request) -> web.Response:
        """/sign-in"""
        where = session.local(request.query.get("next", "/"))
        return self._page(request, None, "sign_in.html", title="Sign in", error="", next=where)

    async def signed_in(self, request: web.Request) -> web.Response:
        """/sign-in, sent"""
        if not session.from_own_page(request):
            raise Refused("the form was not sent by this page", "sign in here")
        form = await request.post()
        where = session.local(str(form.get("next") or "/"))
        token = session.pasted(str(form.get("token") or ""))
        error = "That is no token; tokens of more than 3800 characters need an auth proxy."
        if token is not None:
            bare = token
            try:
                await self._thread(lambda: whoami(self._cluster(bare, "")))
            except Unknown:
                error = "The API server does not accept this token; it may have expired."
            else:
                answer = web.Response(status=303, headers={"Location": where})
                seconds, always = self.settings.session_seconds, self.settings.secure_cookies
                session.keep(request, answer, token, seconds, always)
                return answer
        return self._page(request, None, "sign_in.html", title="Sign in", error=error, next=where,
                          status=401)  # fmt: skip

    async def sign_out(self, request: web.Request) -> web.Response:
        """/sign-out"""
        if not session.from_own_page(request):
            raise Refused("the form was not sent by this page", "sign out here")
        answer = web.Response(status=303, headers={"Location": "/sign-in"})
        session.forget(answer)
        return answer

    async def static(self, request: web.Request) -> web.Response:
        """The style sheet and the icon, which need nobody's token."""
        kinds = {"console.css": "text/css", "icon.svg": "image/svg+xml"}
        name = request.match_info["file"]
        if name not in kinds:
            raise NotThere("there is no such file")
        body = await asyncio.to_thread((STATIC / name).read_bytes)
        headers = {"Cache-Control": "public, max-age=3600"}
        return web.Response(body=body, content_type=kinds[name], headers=headers)

    async def healthz(self, _: web.Request) -> web.Response:
        """For probes; whether the API server answers is not the console's to mend."""
        return web.Response(text="ok")


def ticks(text: str) -> Markup:
    """Text in which commands stand between backticks, as remedies and messages have them."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _token(request: web.Request) -> str:
    token = session.token_of(request)
    if token is None:
        raise SignedOut("The request has no Bearer token.")
    return token


def _asked(request: web.Request) -> str:
    """The namespace that is chosen; none means all."""
    found = request.match_info.get("namespace") or request.query.get("namespace", "").strip()
    if found and not NAME.fullmatch(found):
        raise NotThere("there is no such namespace", "names have a-z, 0-9 and '-'")
    return found


def _named(request: web.Request) -> tuple[str, str]:
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    if not NAME.fullmatch(namespace) or not NAME.fullmatch(name):
        raise NotThere("there is no such object")
    return namespace, name


def _kind(request: web.Request) -> Kind:
    kind = BY_PLURAL.get(request.match_info["plural"])
    if kind is None:
        raise NotThere("there is no such page", "the bar above lists what there is")
    return kind


def _toggled(request: web.Request) -> str:
    """This page with, or without, loading itself again."""
    query = {key: value for key, value in request.query.items() if key != "refresh"}
    if request.query.get("refresh") != "off":
        query["refresh"] = "off"
    return str(request.rel_url.with_query(query))
