"""Signing in and out: a token from an auth proxy's header, or from a cookie no script can read.

Nothing is kept here: whoever restarts or scales the console signs nobody out.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from loopwright.console.person import TOKEN

# Browsers keep cookies of up to 4096 bytes with their names and attributes.
MAX_TOKEN: Final = 3800
# Of tokens in a header; aiohttp itself ends at 8 KiB.
MAX_HEADER: Final = 8000
PLAIN: Final = "loopwright-token"
# Browsers let only HTTPS set it, for this host alone.
SECURE: Final = "__Host-loopwright-token"


def from_header(request: web.Request) -> str | None:
    """The token that an auth proxy, or a program, sends along."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return _well_formed(token.strip(), MAX_HEADER) if scheme.lower() == "bearer" else None


def token_of(request: web.Request) -> str | None:
    """Whose request it is; a proxy's word counts before the browser's."""
    if "Authorization" in request.headers:
        return from_header(request)
    found = request.cookies.get(SECURE) or request.cookies.get(PLAIN) or ""
    return _well_formed(found, MAX_TOKEN)


def pasted(text: str) -> str | None:
    """A token as people paste it: with line ends, or with the word Bearer before it."""
    bare = "".join(text.split())
    return _well_formed(bare.removeprefix("Bearer"), MAX_TOKEN)


def _well_formed(token: str, most: int) -> str | None:
    return token if 0 < len(token) <= most and TOKEN.fullmatch(token) else None


def encrypted(request: web.Request) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy before us."""
    proxy = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    return request.secure or proxy == "https"


def keep(
    request: web.Request, answer: web.Response, token: str, seconds: int, always: bool
) -> None:
    """Has the browser keep a token."""
    secure = always or encrypted(request)
    answer.set_cookie(
        SECURE if secure else PLAIN, token, max_age=seconds, path="/", httponly=True,
        secure=secure, samesite="Strict",
    )  # fmt: skip


def forget(answer: web.Response) -> None:
    """Has the browser forget it."""
    answer.del_cookie(PLAIN, path="/", httponly=True, samesite="Strict")
    answer.del_cookie(SECURE, path="/", secure=True, httponly=True, samesite="Strict")


def from_own_page(request: web.Request) -> bool:
    """Whether a form was sent by one of our pages; no script of others can set these headers."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    return bool(origin.netloc) and origin.netloc == request.host


def local(path: str) -> str:
    """A path to go to after signing in; one that leads elsewhere becomes the first page."""
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and not parts.netloc and "\\" not in path else "/"
