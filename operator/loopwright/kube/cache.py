"""What the operator last saw: its own objects and their children, indexed by owner.

Watch events and the answers to writes both feed it, so a reconcile sees what it wrote itself even
when the watch lags behind.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from loopwright.api.names import LABEL_KIND, LABEL_NAME
from loopwright.kube.resources import TRAININGJOB, Key

OWN_KINDS: Final = frozenset({TRAININGJOB.kind})
# How many deleted objects are remembered, with their last version, so that a late event cannot
# bring one back.
GRAVES: Final = 20_000


@dataclass
class Listing:
    """What a listing showed."""

    uids: set[str] = field(default_factory=set)
    version: int = 0


class Cache:
    """Objects by (kind, namespace, name)."""

    def __init__(self) -> None:
        self._objects: dict[Key, dict[str, Any]] = {}
        self._children: defaultdict[Key, set[Key]] = defaultdict(set)
        self._graves: OrderedDict[str, int] = OrderedDict()

    def observe(self, event: str | None, obj: dict[str, Any]) -> Key | None:
        """Takes in a watch event (None: from a listing) or a write's answer.

        Returns:
            The object of ours that it concerns, or None when it is news to nobody.
        """
        key, owner = key_of(obj), owner_of(obj)
        uid = obj["metadata"].get("uid", "")
        if event == "DELETED":
            return self._remove(key, owner, obj)
        known = self._objects.get(key)
        if version_of(obj) <= max(self._graves.get(uid, 0), version_of(known) if known else 0):
            return None
        # Nobody reads it, and it is often longer than all the rest.
        obj["metadata"].pop("managedFields", None)
        if known is not None:
            self._disown(key, known)
        self._objects[key] = obj
        if owner is not None and owner != key:
            self._children[owner].add(key)
        return owner

    def get(self, key: Key) -> dict[str, Any] | None:
        """One object; callers must not change it."""
        return self._objects.get(key)

    def children(self, owner: Key, kind: str) -> list[dict[str, Any]]:
        """An object's children of one kind, by name."""
        keys = sorted(key for key in self._children.get(owner, ()) if key.kind == kind)
        return [self._objects[key] for key in keys]

    def own(self) -> list[Key]:
        """All objects of our own kinds."""
        # Metrics ask from a thread of their own, so what is walked over must be a copy.
        return [key for key in list(self._objects) if key.kind in OWN_KINDS]

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
        return owner

    def _disown(self, key: Key, obj: dict[str, Any]) -> None:
        owner = owner_of(obj)
        if owner is not None and owner in self._children:
            self._children[owner].discard(key)
            if not self._children[owner]:
                del self._children[owner]


def key_of(obj: dict[str, Any]) -> Key:
    """Kind, namespace and name of any object."""
    meta = obj["metadata"]
    return Key(obj["kind"], meta["namespace"], meta["name"])


def owner_of(obj: dict[str, Any]) -> Key | None:
    """The object of ours that this is, or was made for."""
    if obj["kind"] in OWN_KINDS:
        return key_of(obj)
    labels = obj["metadata"].get("labels") or {}
    if labels.get(LABEL_KIND) in OWN_KINDS and LABEL_NAME in labels:
        return Key(labels[LABEL_KIND], obj["metadata"]["namespace"], labels[LABEL_NAME])
    return None


def version_of(obj: dict[str, Any]) -> int:
    """The resource version of an object or a list; etcd counts them up."""
    return int(obj["metadata"]["resourceVersion"])


def _at(obj: dict[str, Any], version: int) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
