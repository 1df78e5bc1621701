"""What the API server's refusals mean to a reconcile."""

from __future__ import annotations

import json
from typing import Any, Final

TOO_LARGE: Final = "request is too large"


class ApiError(Exception):
    """A request failed.

    Attributes:
        reason: PascalCase, for conditions.
        message: The server's own words.
        retry_after: Seconds that the server asked to wait.
    """

    reason = "ApiError"

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class NotFound(ApiError):
    """There is no such object."""

    reason = "NotFound"


class KindMissing(ApiError):
    """The API server does not know the kind: its CRD is not installed."""

    reason = "DependencyMissing"


class Conflict(ApiError):
    """The object changed meanwhile, or exists already: look again."""

    reason = "Conflict"


class NameTaken(ApiError):
    """Somebody else has an object of the name that a child needs."""

    reason = "NameTaken"


class Forbidden(ApiError):
    """RBAC, a quota or an admission policy said no."""

    reason = "Forbidden"


class Invalid(ApiError):
    """The object itself was refused."""

    reason = "Invalid"


class Unavailable(ApiError):
    """The server is overloaded, broken or unreachable: wait."""

    reason = "ApiUnavailable"


class OldListing(Unavailable):
    """A listing that is older than what was seen before."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unavailable,  # An expired token is read anew for the next request.
    403: Forbidden,
    405: Forbidden,  # Of a kind whose CRD is being deleted nothing can be made any more.
    409: Conflict,
    413: Invalid,
    422: Invalid,
    429: Unavailable,
}


def from_response(status: int, body: bytes, retry_after: str | None) -> ApiError:
    """The error that a response with a status of 400 or more stands for."""
    answer = _status_object(body)
    message = str(answer.get("message") or body[:200].decode(errors="replace") or f"HTTP {status}")
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    if status == 404:
        # For an object that is missing the server names it; for a kind it does not.
        named = (answer.get("details") or {}).get("name")
        return NotFound(message) if named else KindMissing(message)
    if TOO_LARGE in message:
        return Invalid(message)  # etcd's limit, with status 500: asking again would not help.
    return _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)(message, wait)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
