"""Who changed what, as lines of the operator's log.

There is no webhook, so this is what watches show: the field manager of the newest write, which is
the name that the client gave itself, not a user. Who a user is only the API server knows; its own
audit log is the record that counts. Who approved a version is certain: admission compares the name.
Values are never told: a spec may hold what is nobody's business.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loopwright.api.names import GROUP
from loopwright.api.resources import MODELVERSION

logger = logging.getLogger("loopwright.audit")

# Of one change; the rest is only counted.
MAX_FIELDS: Final = 32

Object = Mapping[str, Any]


def tell(event: str | None, before: Object | None, after: Object) -> None:
    """Logs a line if an object was created or deleted, or if its spec, or what people write beside
    it, was changed.

    Args:
        event: Of the watch; None from a listing.
        before: What was known of it.
        after: With its managedFields.
    """
    what = _what(event, before, after)
    if what is None:
        return
    fields = [] if before is None or what != "changed" else list(_fields(before, after))
    meta = after["metadata"]
    line: dict[str, Any] = {
        "kind": after["kind"],
        "object": f"{meta['namespace']}/{meta['name']}",
        "uid": meta.get("uid", ""),
        "generation": meta.get("generation", 0),
        "event": what,
        # Nobody signs a deletion.
        **(_manager(after) if what != "deleted" else {}),
    }
    if fields:
        line["fields"] = fields[:MAX_FIELDS]
    if len(fields) > MAX_FIELDS:
        line["more_fields"] = len(fields) - MAX_FIELDS
    if any(one.startswith("spec.approval") for one in fields) or what == "created":
        line |= _decided(after)
    logger.info("%s", what, extra={"audit": line})


def _what(event: str | None, before: Object | None, after: Object) -> str | None:
    if event == "DELETED":
        return "deleted"
    if event == "ADDED":
        return "created"
    if before is not None:
        if before["metadata"].get("uid") != after["metadata"].get("uid"):
            return "created"
        return "changed" if next(_fields(before, after), None) else None
    # The first look after a start: what happened while nobody looked.
    observed = (after.get("status") or {}).get("observedGeneration")
    if not observed:
        return "created"
    return "changed" if observed != after["metadata"].get("generation") else None


def _fields(before: Object, after: Object) -> Iterator[str]:
    yield from _differences(before.get("spec"), after.get("spec"), "spec")
    for name in ("annotations", "labels"):
        old, new = (one["metadata"].get(name) or {} for one in (before, after))
        for key in sorted(old.keys() | new.keys()):
            if key.startswith(f"{GROUP}/") and old.get(key) != new.get(key):
                yield f"metadata.{name}.{key}"


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Paths of what differs, in order."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    else:
        yield path


def _manager(obj: Object) -> dict[str, str]:
    """Who wrote last, but for statuses."""
    entries = [
        one for one in obj["metadata"].get("managedFields") or () if not one.get("subresource")
    ]
    if not entries:
        return {}
    newest = max(entries, key=lambda one: str(one.get("time", "")))
    return {
        "manager": newest.get("manager", ""),
        "operation": newest.get("operation", ""),
        "written": newest.get("time", ""),
    }


def _decided(obj: Object) -> dict[str, str]:
    """Who decided about a version, and what."""
    approval = (obj.get("spec") or {}).get("approval") or {}
    if obj["kind"] != MODELVERSION.kind or "by" not in approval:
        return {}
    return {"actor": approval["by"], "approval": approval.get("state", "")}
