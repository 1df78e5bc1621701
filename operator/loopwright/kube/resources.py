"""The resources that the operator reads or writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from loopwright.api import names, trainingjob


class Key(NamedTuple):
    """One of our objects: what the queue holds and a reconcile is about."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Resource:
    """A resource of the API; paths of one without namespaces are asked for with None."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", sub: str = "") -> str:
        """Path of the resource, an object, or a subresource."""
        root = f"/apis/{self.group}" if self.group else "/api"
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = [part for part in (name, sub) if part]
        return "/".join([f"{root}/{self.version}{scope}/{self.plural}", *parts])


TRAININGJOB: Final = Resource(names.GROUP, names.VERSION, trainingjob.PLURAL, trainingjob.KIND)
RAYJOB: Final = Resource("ray.io", "v1", "rayjobs", "RayJob")
RAYCLUSTER: Final = Resource("ray.io", "v1", "rayclusters", "RayCluster")
CONFIGMAP: Final = Resource("", "v1", "configmaps", "ConfigMap")
SECRET: Final = Resource("", "v1", "secrets", "Secret")
CLAIM: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICEACCOUNT: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLE: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDING: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
NETWORKPOLICY: Final = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
EVENT: Final = Resource("", "v1", "events", "Event")
LEASE: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
PRIORITYCLASS: Final = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
LOCALQUEUE: Final = Resource("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue")

WRITTEN: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        TRAININGJOB, RAYJOB, CONFIGMAP, SERVICEACCOUNT, ROLE, ROLEBINDING, NETWORKPOLICY,
    )
}  # fmt: skip


def resource_of(obj: dict[str, Any]) -> Resource:
    """The resource that a manifest belongs to.

    Raises:
        KeyError: the operator does not write such objects.
    """
    return WRITTEN[obj["apiVersion"], obj["kind"]]
