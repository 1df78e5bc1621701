"""What the operator last saw: its own objects and their children, indexed by owner.

Watch events and the answers to writes both feed it, so a reconcile sees what it wrote itself even
when the watch lags behind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from loopwright.api.names import LABEL_KIND, LABEL_NAME
from loopwright.api.resources import (
    BATCHTRANSFORM,
    HYPERPARAMETERSWEEP,
    JOBS,
    MODEL,
    MODELENDPOINT,
    MODELVERSION,
    RAYCLUSTER,
    RAYJOB,
    TRAININGJOB,
    Key,
)

OWN_KINDS: Final = frozenset({*JOBS, MODEL.kind, MODELVERSION.kind, MODELENDPOINT.kind})
# How endpoints and jobs refer to objects of ours.
REFERENCES: Final = {
    "modelRef": MODEL.kind,
    "modelVersionRef": MODELVERSION.kind,
    "trainingJobRef": TRAININGJOB.kind,
    "sweepRef": HYPERPARAMETERSWEEP.kind,
    "endpointRef": MODELENDPOINT.kind,
}
# What all jobs of a namespace share has the namespace for its owner.
NAMESPACE: Final = "Namespace"
# KubeRay's objects are large, and only their metadata and status matter.
SPECS_UNREAD: Final = frozenset({RAYJOB.kind, RAYCLUSTER.kind})
# How many deleted objects are remembered, with their last version, so that a late event cannot
# bring one back.
GRAVES: Final = 20_000


@dataclass
class Listing:
    """What a listing showed."""

    uids: set[str] = field(default_factory=set)
    version: int = 0
    news: set[Key] = field(default_factory=set)


Tell = Callable[[str | None, dict[str, Any] | None, dict[str, Any]], None]


def _nobody(*_: object) -> None:
    """For caches of which nobody wants to hear."""


class Cache:
    """Objects by (kind, namespace, name).

    Args:
        tell: Hears of all news of our own objects: the watch event, what was known, what is now.
    """

    def __init__(self, tell: Tell = _nobody) -> None:
        self._tell = tell
        self._objects: dict[Key, dict[str, Any]] = {}
        self._children: defaultdict[Key, set[Key]] = defaultdict(set)
        self._users: defaultdict[Key, set[Key]] = defaultdict(set)
        self._graves: OrderedDict[str, int] = OrderedDict()
        self.newest: defaultdict[str, int] = defaultdict(int)
        """The greatest resource version that was ever seen of each kind."""
        self.rewinds = 0
        """How often the API server was found to have another past than it had before."""
        self.of_one_past = asyncio.Event()
        """Set while nothing is known that may be of a past which the API server has lost."""
        self.of_one_past.set()

    def observe(self, event: str | None, obj: dict[str, Any]) -> Key | None:
        """Takes in a watch event (None: from a listing) or a write's answer.

        Returns:
            The object of ours (or the namespace) that it concerns, or None when it is no news.
        """
        key, owner = key_of(obj), owner_of(obj)
        self.newest[key.kind] = max(self.newest[key.kind], version_of(obj))
        uid = obj["metadata"].get("uid", "")
        if event == "DELETED":
            return self._remove(key, owner, obj)
        known = self._objects.get(key)
        if version_of(obj) <= max(self._graves.get(uid, 0), version_of(known) if known else 0):
            return None
        if key.kind in OWN_KINDS:
            self._tell(event, known, obj)
        # Nobody reads it, and it is often longer than all the rest.
        obj["metadata"].pop("managedFields", None)
        if key.kind in SPECS_UNREAD:
            obj.pop("spec", None)
        if known is not None:
            self._disown(key, known)
        self._objects[key] = obj
        if owner is not None and owner != key:
            self._children[owner].add(key)
        for used in uses(obj):
            self._users[used].add(key)
        return owner

    def get(self, key: Key) -> dict[str, Any] | None:
        """One object; callers must not change it."""
        return self._objects.get(key)

    def children(self, owner: Key, kind: str) -> list[dict[str, Any]]:
        """An object's children of one kind, by name."""
        keys = sorted(key for key in self._children.get(owner, ()) if key.kind == kind)
        return [self._objects[key] for key in keys]

    def own(self) -> list[Key]:
        """All that there is to reconcile: objects of our own kinds, or whom they belong to."""
        # Metrics ask from a thread of their own, so what is walked over must be a copy.
        owners = (owner_of(o) for k, o in list(self._objects.items()) if k.kind in OWN_KINDS)
        return list(dict.fromkeys(owner for owner in owners if owner is not None))

    def concerned(self, key: Key) -> Iterator[Key]:
        """The objects of ours that news about `key` is for: itself, or all of its namespace.

        And those that refer to it, or to a version of it.
        """
        if key.kind == NAMESPACE:
            yield from (own for own in self.own() if own.namespace == key.namespace)
            return
        yield key
        versions = self._children.get(key, ()) if key.kind == MODEL.kind else ()
        for one in (key, *versions):
            yield from tuple(self._users.get(one, ()))

    def rewound(self) -> None:
        """Notes that the API server has another past, of which all must be listed anew."""
        self.rewinds += 1
        self.of_one_past.clear()

    def rewind(self, listed: dict[str, Any], version: int) -> bool:
        """Forgets an object of which more is known than a listing shows, and drops its grave.

        A listing holds all that was written until its version, so an older object in it means that
        etcd was restored from a backup, and has come to as large a version since.

        Args:
            listed: The object as it was listed.
            version: Of the listing.
        """
        key, uid = key_of(listed), listed["metadata"]["uid"]
        known = self._objects.get(key)
        seen = version_of(known) if known is not None else 0
        seen = max(seen, self._graves.get(uid, 0))
        if not version_of(listed) < seen <= version:
            return False
        self.rewound()
        self._graves.pop(uid, None)
        if known is not None:
            self._disown(key, self._objects.pop(key))
        return True

    def clear(self, kind: str) -> None:
        """Forgets a kind, for when the API server's past has changed."""
        self.rewound()
        for key in [key for key in self._objects if key.kind == kind]:
            self._disown(key, self._objects.pop(key))
        self._graves.clear()
        self.newest[kind] = 0

    def forget_unlisted(self, kind: str, namespace: str | None, listed: Listing) -> list[Key]:
        """Drops what a complete listing did not show: it was deleted while nobody watched.

        Returns:
            The objects of ours that this concerns.
        """
        gone = [
            obj
            for key, obj in self._objects.items()
            if key.kind == kind
            and namespace in (None, key.namespace)
            and obj["metadata"]["uid"] not in listed.uids
            # A younger one was created after the listing.
            and version_of(obj) <= listed.version
        ]
        owners = [self.observe("DELETED", _at(obj, listed.version)) for obj in gone]
        return [owner for owner in owners if owner is not None]

    def _remove(self, key: Key, owner: Key | None, obj: dict[str, Any]) -> Key | None:
        uid = obj["metadata"].get("uid", "")
        # A watch by label shows the loss of the label as a deletion, so it may come back, newer.
        self._graves[uid] = version_of(obj)
        while len(self._graves) > GRAVES:
            self._graves.popitem(last=False)
        known = self._objects.get(key)
        if known is not None and known["metadata"].get("uid") == uid:
            del self._objects[key]
            self._disown(key, known)
            if key.kind in OWN_KINDS:
                self._tell("DELETED", known, obj)
        return owner

    def _disown(self, key: Key, obj: dict[str, Any]) -> None:
        owner = owner_of(obj)
        if owner is not None and owner in self._children:
            self._children[owner].discard(key)
            if not self._children[owner]:
                del self._children[owner]
        for used in uses(obj):
            self._users[used].discard(key)
            if not self._users[used]:
                del self._users[used]


def key_of(obj: dict[str, Any]) -> Key:
    """Kind, namespace and name of any object."""
    meta = obj["metadata"]
    return Key(obj["kind"], meta["namespace"], meta["name"])


def owner_of(obj: dict[str, Any]) -> Key | None:
    """The object of ours that this is, or was made for; the namespace when all share it."""
    if obj["kind"] == MODELVERSION.kind:
        # Looked at with its Model and the other versions, and also when there is no Model.
        return Key(MODEL.kind, obj["metadata"]["namespace"], obj["spec"]["modelRef"]["name"])
    if obj["kind"] in OWN_KINDS:
        return key_of(obj)
    labels = obj["metadata"].get("labels") or {}
    if labels.get(LABEL_KIND) == NAMESPACE:
        namespace = obj["metadata"]["namespace"]
        return Key(NAMESPACE, namespace, namespace)
    if labels.get(LABEL_KIND) in OWN_KINDS and LABEL_NAME in labels:
        return Key(labels[LABEL_KIND], obj["metadata"]["namespace"], labels[LABEL_NAME])
    return None


def uses(obj: dict[str, Any]) -> set[Key]:
    """The objects of ours that an endpoint or a job refers to."""
    namespace, spec = obj["metadata"]["namespace"], obj.get("spec") or {}
    refs: list[dict[str, Any]] = []
    if obj["kind"] == HYPERPARAMETERSWEEP.kind:
        warm = spec.get("warmStart") or {}
        return {Key(obj["kind"], namespace, name) for name in warm.get("sweeps") or ()}
    if obj["kind"] == MODELENDPOINT.kind:
        refs = [one.get("model") or {} for one in spec.get("variants") or ()]
        refs += _retrained_by(obj)
    elif obj["kind"] == BATCHTRANSFORM.kind:
        refs = [spec.get("model") or {}, {"endpointRef": spec.get("endpointRef")}]
    elif obj["kind"] == TRAININGJOB.kind:
        checks = [one.get("validation") or {} for one in spec.get("inputs") or ()]
        refs = [one.get("baselineRef") or {} for one in checks]
    return {
        Key(REFERENCES[name], namespace, ref["name"])
        for one in refs
        for name, ref in one.items()
        if name in REFERENCES and isinstance(ref, dict) and "name" in ref
    }


def _retrained_by(endpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """References to the jobs that an endpoint's monitors start from, and have started."""
    spec, status = endpoint.get("spec") or {}, endpoint.get("status") or {}
    found = [
        ((one.get("onViolation") or {}).get("retrain") or {}) for one in spec.get("monitors") or ()
    ]
    for one in status.get("retrains") or ():
        found += [{"trainingJobRef": {"name": one[key]}} for key in ("trainingJob", "template")]
    return found


def version_of(obj: dict[str, Any]) -> int:
    """The resource version of an object or a list; etcd counts them up."""
    return int(obj["metadata"]["resourceVersion"])


def _at(obj: dict[str, Any], version: int) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
