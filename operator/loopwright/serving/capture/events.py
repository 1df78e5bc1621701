"""Events of KServe's inference logger: CloudEvents in binary mode, which say all in headers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from loopwright.serving.asgi import Headers
from loopwright.serving.errors import Refused

REQUEST: Final = "org.kubeflow.serving.inference.request"
RESPONSE: Final = "org.kubeflow.serving.inference.response"
SPEC_VERSION: Final = "1.0"
# Seconds that an event may be old, as agents hold them back while this is away, and that clocks may
# differ by. Its time chooses the folder, so whoever sends events must not choose any.
PAST: Final = 3600.0
FUTURE: Final = 300.0
_STRUCTURED: Final = b"application/cloudevents"
_ID: Final = re.compile(r"[!-~]{1,128}")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Owner(NamedTuple):
    """Whose events they are."""

    name: str
    """Of the InferenceService."""
    namespace: str
    component: str

    def __str__(self) -> str:
        return f"{self.component} of InferenceService {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Event:
    """A request, or an answer."""

    id: str
    type: str
    """REQUEST or RESPONSE."""
    time: float
    """In seconds since the epoch."""
    written: str
    """The time as it was sent, which is finer."""


def read(headers: Headers, owner: Owner, now: float) -> Event:
    """What an event says of itself.

    Args:
        owner: Whose events are taken.

    Raises:
        Refused: it is no event of KServe's logger, or somebody else's.
    """
    if headers.get(b"content-type", b"").strip().lower().startswith(_STRUCTURED):
        raise Refused("send events in binary mode, attributes in Ce- headers, not structured", 415)
    if _attribute(headers, "Specversion") != SPEC_VERSION:
        raise Refused(f"expected CloudEvents {SPEC_VERSION}, as Ce-Specversion says")
    found = Owner(
        _attribute(headers, "Inferenceservicename"), _attribute(headers, "Namespace"),
        _attribute(headers, "Component"),
    )  # fmt: skip
    if found != owner:
        raise Refused(f"this collector is for {owner}, not for {found}"[:1000], 403)
    id, type = _attribute(headers, "Id"), _attribute(headers, "Type")
    if not _ID.fullmatch(id):
        raise Refused("expected Ce-Id to have 1 to 128 printable ASCII characters, and no space")
    if type not in (REQUEST, RESPONSE):
        raise Refused(f"expected Ce-Type to be {REQUEST} or {RESPONSE}")
    written = _attribute(headers, "Time")
    return Event(id, type, _moment(written, now), written)


def _attribute(headers: Headers, name: str) -> str:
    value = headers.get(b"ce-" + name.lower().encode())
    if not value:
        raise Refused(f"expected an event of KServe's logger: there is no header Ce-{name}")
    return value.decode("latin-1")


def _moment(written: str, now: float) -> float:
    if not _TIME.fullmatch(written):
        raise Refused("expected Ce-Time to be such as 2026-12-01T12:00:00.123Z")
    try:
        found = datetime.fromisoformat(written.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise Refused("expected Ce-Time to be a date and time that there are") from error
    if not -PAST <= found - now <= FUTURE:
        text = f"expected Ce-Time to be at most {PAST:g} s ago, and {FUTURE:g} s ahead"
        raise Refused(f"{text}; compare the clocks of the nodes")
    return found
