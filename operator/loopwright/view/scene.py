"""An object with all that was made for it, as one read of the cluster shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loopwright.api import names
from loopwright.api.modelendpoint_status import ModelEndpointStatus
from loopwright.api.registry import ModelVersion
from loopwright.api.resources import (
    CLAIM,
    EVENT,
    HTTPROUTE,
    HYPERPARAMETERSWEEP,
    INFERENCESERVICE,
    MODEL,
    MODELVERSION,
    POD,
    RAYCLUSTER,
    RAYJOB,
    TRAININGJOB,
    WORKLOAD,
    Resource,
)
from loopwright.view.cluster import Cluster, Object
from loopwright.view.errors import Refused, Trouble
from loopwright.view.refs import Found, parsed

# What carries the object's labels.
LABELLED: Final = (RAYJOB, RAYCLUSTER, INFERENCESERVICE, HTTPROUTE, POD)
SERVED_BY: Final = "serving.kserve.io/inferenceservice"
# Events are asked for by object; more of them than this explain nothing.
MAX_ASKED: Final = 24


@dataclass(frozen=True)
class Scene:
    """What was read; everything that is said about it is computed from this."""

    found: Found
    now: datetime
    """The API server's time."""
    children: Sequence[Object] = ()
    events: Sequence[Object] = ()
    """Of the object and its children."""
    unseen: Sequence[str] = ()
    """What this user may not read, in words."""
    cut: Sequence[str] = ()
    """Of what there is more than was read, in words."""

    def of(self, kind: str) -> list[Object]:
        """Children of a kind, by name."""
        found = [one for one in self.children if one["kind"] == kind]
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    def below(self, parent: Object) -> list[Object]:
        """What belongs to a child of ours, by owner or by KServe's label."""
        meta = parent["metadata"]
        return [one for one in self.children if one is not parent and _belongs(one, meta)]

    @property
    def conditions(self) -> dict[str, Object]:
        """Of the object, by type."""
        return conditions(self.found.obj)


def conditions(obj: Object) -> dict[str, Object]:
    """An object's conditions, by type."""
    return {one["type"]: one for one in (obj.get("status") or {}).get("conditions") or ()}


def labels(obj: Object) -> dict[str, Any]:
    """An object's labels."""
    return obj["metadata"].get("labels") or {}


def _belongs(child: Object, parent: Object) -> bool:
    meta = child["metadata"]
    if any(owner.get("uid") == parent["uid"] for owner in meta.get("ownerReferences") or ()):
        return True
    return bool(child["kind"] == "Pod" and labels(child).get(SERVED_BY) == parent["name"])


def look(cluster: Cluster, found: Found, *, events: bool = False, most: int | None = None) -> Scene:
    """Reads what belongs to an object.

    Args:
        events: Whether to read the Events too, which takes a request for each object.
        most: Objects of a kind that are read; by default all.

    Raises:
        Trouble: the API server does not answer.
    """
    reading = _Reading(cluster, most)
    children = list(_children(reading, found))
    told: list[Object] = []
    if events:
        troubled = sorted(children, key=_settled)[:MAX_ASKED]
        for one in [found.obj, *troubled]:
            told += reading.all(EVENT, fields=f"involvedObject.uid={one['metadata']['uid']}")
    unseen, cut = (tuple(dict.fromkeys(some)) for some in (reading.unseen, reading.cut))
    return Scene(found, cluster.time, children, sorted(told, key=last_seen), unseen, cut)


def last_seen(event: Object) -> str:
    """When an Event was seen last; as text it sorts by time."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return series or event.get("lastTimestamp") or event.get("eventTime") or ""


def _settled(obj: Object) -> bool:
    return (obj.get("status") or {}).get("phase") in ("Running", "Succeeded")


class _Reading:
    """Reads what it may, and remembers what it may not."""

    def __init__(self, cluster: Cluster, most: int | None = None) -> None:
        self.cluster, self.most = cluster, most
        self.unseen: list[str] = []
        self.cut: list[str] = []

    def all(self, resource: Resource, selector: str = "", fields: str = "") -> list[Object]:
        try:
            if self.most is None:
                return self.cluster.list(resource, selector, fields)
            page = self.cluster.page(resource, selector, fields, limit=self.most)
        except Refused:
            self.unseen.append(resource.plural)
            return []
        self.cut += [resource.plural] if page.more else []
        return page.items

    def one(self, resource: Resource, name: str | None) -> list[Object]:
        try:
            obj = self.cluster.get(resource, name) if name else None
        except Refused:
            self.unseen.append(resource.plural)
            return []
        return [obj] if obj is not None else []


def _children(reading: _Reading, found: Found) -> Iterator[Object]:
    kind = found.kind.name
    if kind == "Model":
        fields = f"spec.modelRef.name={found.name}"
        yield from reading.all(MODELVERSION, fields=fields)
    elif kind == "ModelVersion":
        yield from _origin(reading, found)
    else:
        yield from _made(reading, found)
        yield from _results(reading, found)


def _origin(reading: _Reading, found: Found) -> Iterator[Object]:
    """The job that a version came from, and its Model."""
    spec = found.read(ModelVersion).spec
    yield from reading.one(MODEL, spec.model_ref.name)
    made = spec.lineage
    if made and made.training_job:
        yield from reading.one(TRAININGJOB, made.training_job.name)
    if made and made.hyperparameter_sweep:
        yield from reading.one(HYPERPARAMETERSWEEP, made.hyperparameter_sweep.name)


def _made(reading: _Reading, found: Found) -> Iterator[Object]:
    """What the operator, KubeRay, KServe and Kueue made."""
    kind, name = found.kind.name, found.name
    for resource in LABELLED:
        # An endpoint's monitor has no label of a kind.
        for one in reading.all(resource, f"{names.LABEL_NAME}={name}"):
            if labels(one).get(names.LABEL_KIND, "ModelEndpoint") == kind:
                yield one
                if resource is RAYJOB:
                    uid = one["metadata"]["uid"]
                    yield from reading.all(WORKLOAD, f"kueue.x-k8s.io/job-uid={uid}")
    for claim in sorted(claims(found.obj)):
        yield from reading.one(CLAIM, claim)


def _results(reading: _Reading, found: Found) -> Iterator[Object]:
    """Objects of ours that the status names."""
    status = found.obj.get("status") or {}
    yield from reading.one(MODELVERSION, status.get("modelVersion"))
    if found.kind.name == "ModelEndpoint":
        read = parsed(ModelEndpointStatus, status, found.ref)
        used = {one.serving.model_version for one in read.variants if one.serving}
        for version in sorted(filter(None, used)):
            yield from reading.one(MODELVERSION, version)
        for job in read.retrains:
            yield from reading.one(TRAININGJOB, job.training_job)


def claims(obj: Object) -> set[str]:
    """The claims that a spec names by pvc:// or as a volume."""
    return set(_claims(obj.get("spec")))


def _claims(part: Any) -> Iterable[str]:
    if isinstance(part, dict):
        if isinstance(claim := part.get("claimName"), str):
            yield claim
        for one in part.values():
            yield from _claims(one)
    elif isinstance(part, list):
        for one in part:
            yield from _claims(one)
    elif isinstance(part, str) and part.startswith("pvc://"):
        yield part.removeprefix("pvc://").partition("/")[0]


def ready_pod(pods: Sequence[Object], what: str) -> Object:
    """One of the pods that is ready.

    Raises:
        Trouble: none is.
    """
    for pod in pods:
        if conditions(pod).get("Ready", {}).get("status") == "True":
            return pod
    raise Trouble(f"no pod of {what} is ready", "loopwright explain says why")
