"""The resources of the API that the operator, the command line tool and the console use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from loopwright.api import kinds, names


class Key(NamedTuple):
    """One of our objects: what the queue holds and a reconcile is about."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Resource:
    """A resource of the API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", sub: str = "") -> str:
        """Path of all objects, those of a namespace, one, or its subresource."""
        root = f"/apis/{self.group}" if self.group else "/api"
        scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        parts = [part for part in (quote(name, safe=""), sub) if part]
        return "/".join([f"{root}/{self.version}{scope}/{self.plural}", *parts])


def own(kind: kinds.Kind) -> Resource:
    """One of our kinds."""
    return Resource(names.GROUP, names.VERSION, kind.plural, kind.name)


TRAININGJOB: Final = own(kinds.TRAININGJOB)
HYPERPARAMETERSWEEP: Final = own(kinds.HYPERPARAMETERSWEEP)
MODEL: Final = own(kinds.MODEL)
MODELVERSION: Final = own(kinds.MODELVERSION)
MODELENDPOINT: Final = own(kinds.MODELENDPOINT)
BATCHTRANSFORM: Final = own(kinds.BATCHTRANSFORM)
RAYJOB: Final = Resource("ray.io", "v1", "rayjobs", "RayJob")
RAYCLUSTER: Final = Resource("ray.io", "v1", "rayclusters", "RayCluster")
CONFIGMAP: Final = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACE: Final = Resource("", "v1", "namespaces", "Namespace")
SECRET: Final = Resource("", "v1", "secrets", "Secret")
CLAIM: Final = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICEACCOUNT: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLE: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDING: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
NETWORKPOLICY: Final = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
EVENT: Final = Resource("", "v1", "events", "Event")
LEASE: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
PRIORITYCLASS: Final = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass")
STORAGECLASS: Final = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass")
ACCESSREVIEW: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"
)
LOCALQUEUE: Final = Resource("kueue.x-k8s.io", "v1beta1", "localqueues", "LocalQueue")
WORKLOAD: Final = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")

DEPLOYMENT: Final = Resource("apps", "v1", "deployments", "Deployment")
REVISION: Final = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
POD: Final = Resource("", "v1", "pods", "Pod")
SERVICE: Final = Resource("", "v1", "services", "Service")
BUDGET: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
HPA: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
SCALEDOBJECT: Final = Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject")
PROMETHEUSRULE: Final = Resource("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule")
INFERENCESERVICE: Final = Resource(
    "serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"
)
_GATEWAY_API: Final = ("gateway.networking.k8s.io", "v1")
HTTPROUTE: Final = Resource(*_GATEWAY_API, "httproutes", "HTTPRoute")
GATEWAY: Final = Resource(*_GATEWAY_API, "gateways", "Gateway")
GATEWAYCLASS: Final = Resource(*_GATEWAY_API, "gatewayclasses", "GatewayClass")

# What an attempt relies on; watched, so that what somebody deletes or edits is restored.
SUPPORT: Final = (CONFIGMAP, NETWORKPOLICY, SERVICEACCOUNT, ROLE, ROLEBINDING)
# What an endpoint consists of.
SERVING: Final = (
    INFERENCESERVICE, DEPLOYMENT, REVISION, SERVICE, HTTPROUTE, HPA, SCALEDOBJECT, BUDGET,
    PROMETHEUSRULE,
)  # fmt: skip
CHILDREN: Final = (RAYJOB, RAYCLUSTER, *SUPPORT, *SERVING)

# What runs as RayJobs.
JOBS: Final = {
    resource.kind: resource for resource in (TRAININGJOB, HYPERPARAMETERSWEEP, BATCHTRANSFORM)
}

WRITTEN: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        RAYJOB, CONFIGMAP, SERVICEACCOUNT, ROLE, ROLEBINDING, NETWORKPOLICY, *SERVING,
    )
}  # fmt: skip


def resource_of(obj: dict[str, Any]) -> Resource:
    """The resource that a manifest belongs to.

    Raises:
        KeyError: the operator does not write such objects.
    """
    return WRITTEN[obj["apiVersion"], obj["kind"]]
