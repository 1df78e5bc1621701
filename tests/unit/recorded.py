"""A fake of the API server for the command line tool: objects as they were recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from loopwright.api import names, resources
from loopwright.api.kinds import KINDS
from loopwright.view.cluster import Cluster
from loopwright.view.errors import NotThere, Refused, Trouble

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
MODELS = {kind.name: kind.model for kind in KINDS}
PLURALS = {kind.name: kind.plural for kind in KINDS} | {
    one.kind: one.plural for one in vars(resources).values() if isinstance(one, resources.Resource)
}
Object = dict[str, Any]


def ago(seconds: float) -> str:
    """A time before the test's present, as the API writes it."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def thing(
    kind: str, name: str, *, api: str = "v1", labels: Mapping[str, str] | None = None,
    owner: str = "", age: float = 600, **parts: Any,
) -> Object:  # fmt: skip
    """An object of any kind, whose UID is made from its name."""
    meta: Object = {
        "name": name, "namespace": "n", "uid": f"{kind}-{name}", "creationTimestamp": ago(age),
    }  # fmt: skip
    meta |= {"labels": dict(labels)} if labels else {}
    meta |= {"ownerReferences": [{"uid": owner}]} if owner else {}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}


def own(kind: str, name: str, spec: Object, status: Object | None = None, **more: Any) -> Object:
    """One of our objects; what no operator could have written is an error of the test."""
    obj = thing(kind, name, api=names.API_VERSION, spec=spec, **more)
    if status is not None:
        obj["status"] = status
    read = MODELS[kind].model_validate(obj)
    unknown = sorted(_unknown(obj.get("status") or {}, read.wire().get("status") or {}))
    assert not unknown, f"no operator writes {unknown}"
    return obj


def _unknown(given: Any, read: Any, path: str = "status") -> list[str]:
    """Fields that the model did not take."""
    if isinstance(given, dict) and isinstance(read, dict):
        lost = [f"{path}.{key}" for key in given.keys() - read.keys()]
        both = given.keys() & read.keys()
        return lost + [p for key in both for p in _unknown(given[key], read[key], f"{path}.{key}")]
    if isinstance(given, list) and isinstance(read, list):
        pairs = zip(given, read, strict=True)
        return [p for one, other in pairs for p in _unknown(one, other, f"{path}[]")]
    return []


def condition(kind: str, status: bool | None, reason: str, message: str = "") -> Object:
    """A condition."""
    word = {True: "True", False: "False", None: "Unknown"}[status]
    return {
        "type": kind, "status": word, "reason": reason, "message": message,
        "observedGeneration": 1, "lastTransitionTime": ago(60),
    }  # fmt: skip


def pod(name: str, kind: str, job: str, *, attempt: int | None = 1, node: str = "worker",
        owner: str = "", status: Object | None = None, **labels: str) -> Object:  # fmt: skip
    """A Ray pod of a job, or with a node of "" one that serves."""
    own_labels = names.child_labels(kind, job, attempt) | labels
    own_labels |= {"ray.io/node-type": node} if node else {}
    container = f"ray-{node}" if node else "kserve-container"
    spec = {"nodeName": "node-1", "containers": [{"name": container, "image": "i"}]}
    return thing(
        "Pod", name, labels=own_labels, owner=owner, spec=spec, status=status or running(container)
    )


def running(name: str = "ray-worker") -> Object:
    """The status of a pod that is ready."""
    state = {"running": {"startedAt": ago(300)}}
    one = {"name": name, "ready": True, "state": state, "restartCount": 0, "image": "i"}
    ready = [{"type": "Ready", "status": "True"}]
    return {"phase": "Running", "conditions": ready, "containerStatuses": [one]}


def unscheduled(message: str) -> Object:
    """The status of a pod that no node takes."""
    one = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [one]}


def waiting(reason: str, message: str = "", name: str = "ray-worker") -> Object:
    """The status of a pod whose container does not start."""
    state = {"waiting": {"reason": reason, "message": message}}
    one = {"name": name, "ready": False, "state": state, "restartCount": 0, "image": "r/i:1"}
    return {"phase": "Pending", "containerStatuses": [one]}


def terminated(reason: str, code: int, name: str = "ray-worker", message: str = "") -> Object:
    """The status of a pod whose container ended."""
    state = {"terminated": {"reason": reason, "exitCode": code, "message": message}}
    one = {"name": name, "ready": False, "state": state, "restartCount": 2, "image": "i"}
    return {"phase": "Running", "containerStatuses": [one]}


def event(about: Object, reason: str, message: str, kind: str = "Warning") -> Object:
    """An Event about an object."""
    meta = about["metadata"]
    involved = {"kind": about["kind"], "name": meta["name"], "uid": meta["uid"]}
    more = {"involvedObject": involved, "lastTimestamp": ago(30), "type": kind}
    name = f"{meta['name']}.{reason.lower()}"
    return thing("Event", name, reason=reason, message=message, **more)


class Answer:
    """What urllib3 would give."""

    def __init__(self, body: bytes) -> None:
        self.data = body

    def json(self) -> Any:
        return json.loads(self.data)

    def read(self, most: int) -> bytes:
        return self.data[:most]

    def release_conn(self) -> None:
        pass

    close = release_conn

    def stream(self, **_: Any) -> list[bytes]:
        # In pieces that are no lines.
        return [self.data[:10], self.data[10:]]


class Recorded(Cluster):
    """Answers from recorded objects, logs and pages."""

    def __init__(self, *objects: Object, namespace: str = "n") -> None:
        super().__init__(None, namespace)
        self.objects, self.time = list(objects), NOW
        self.pages: dict[str, bytes | Trouble] = {}
        self.refused: set[str] = set()
        self.asked: list[tuple[str, str, dict[str, Any], Any]] = []

    def open(self, method: str, path: str, query: Any = None, body: Any = None,
             read_seconds: float | None = None) -> Any:  # fmt: skip
        """The page at a path, or the objects that it means."""
        self.asked.append((method, path, dict(query or {}), body))
        if isinstance(page := self.pages.get(path), Trouble):
            raise page
        return Answer(
            page if page is not None else json.dumps(self._objects(path, query or {})).encode()
        )

    def _objects(self, path: str, query: Mapping[str, Any]) -> Any:
        parts = path.strip("/").split("/")
        group = "/".join(parts[1:3]) if parts[0] == "apis" else parts[1]
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = rest[1] if rest[:1] == ["namespaces"] and rest[1:] else ""
        if not rest:
            raise NotThere(f"nobody serves {group}")
        plural, *name = rest[2:] if namespace else rest
        if plural in self.refused:
            raise Refused(f"you may not see {plural}", "ask for a role")
        found = [
            one for one in self.objects
            if (one["apiVersion"], PLURALS[one["kind"]]) == (group, plural)
            and namespace in ("", one["metadata"]["namespace"])
        ]  # fmt: skip
        if name:
            named = [one for one in found if one["metadata"]["name"] == unquote(name[0])]
            if not named:
                raise NotThere(f'{plural} "{name[0]}" not found')
            return named[0]
        kept = [one for one in found if fits(one, query)]
        begin = int(query.get("continue") or 0)
        end = begin + int(query["limit"])
        more = {"continue": str(end)} if end < len(kept) else {}
        return {"items": kept[begin:end], "metadata": more}


def fits(obj: Object, query: Mapping[str, Any]) -> bool:
    """Whether an object is what selectors ask for."""
    labels = obj["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = part.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        path, equals, value = re.split("(!?=)", part, maxsplit=1)
        found: Any = obj
        for key in path.split("."):
            found = (found or {}).get(key)
        if (found == value) != (equals == "="):
            return False
    return True
