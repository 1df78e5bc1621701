"""The pods of a Ray cluster: restricted, with everything the runtime expects in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from loopwright.api import names, quantity
from loopwright.api.policy import Spot
from loopwright.api.shared import PodOverrides, Resources
from loopwright.desired.context import AttemptContext, JobContext, Manifest, Mounted

USER: Final = 1000
# As in the runtime image's Dockerfile.
GRACE_SECONDS: Final = 30
TOKEN_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 (a path)
GPU_TAINT: Final = "nvidia.com/gpu"


def template(
    job: JobContext, attempt: AttemptContext, resources: Resources, *, head: bool
) -> Manifest:
    """A pod template of the head or of a worker."""
    overrides = [job.spec.pod, *([job.spec.head.pod] if head else [])]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for one in overrides:
        labels |= one.labels
        annotations |= one.annotations
    labels |= names.child_labels(job.kind, job.name, attempt.number)
    if head:
        annotations[names.CONFIG_ANNOTATION] = job.config(attempt)
    spec = _pod_spec(job, attempt, resources, overrides, head=head)
    metadata = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    return {"metadata": metadata, "spec": spec}


def _pod_spec(
    job: JobContext,
    attempt: AttemptContext,
    resources: Resources,
    overrides: list[PodOverrides],
    *,
    head: bool,
) -> Manifest:
    spot = job.spec.spot if job.spec.spot and job.spec.spot.enabled else None
    interruptible = spot if spot and not head and not attempt.on_demand else None
    volumes = [*_volumes(job, resources, head=head)]
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(job),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # Changing the owner of every file on a large claim would take longer than training.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, attempt, resources, volumes, overrides, head=head)],
        "volumes": [volume for volume, _ in volumes]
        + [volume.wire() for one in overrides for volume in one.volumes],
        **placement(resources, overrides, interruptible),
        **pull_secrets(job.pull_secrets, overrides),
    }
    if head:
        spec["serviceAccountName"] = names.RUNTIME
    if job.spec.scheduling and job.spec.scheduling.priority_class:
        spec["priorityClassName"] = job.spec.scheduling.priority_class
    return spec


def placement(resources: Resources, overrides: list[PodOverrides], spot: Spot | None) -> Manifest:
    """Where pods may run."""
    selector: dict[str, str] = {}
    tolerations: list[Manifest] = []
    placement: Manifest = {}
    for one in overrides:
        selector |= one.node_selector
        tolerations += [toleration.wire() for toleration in one.tolerations]
        if one.affinity is not None:
            placement["affinity"] = one.affinity
    if spot is not None:
        selector |= spot.node_selector
        tolerations += [toleration.wire() for toleration in spot.tolerations]
    if resources.gpu:
        # GPU nodes are commonly tainted with their own resource, to keep others off.
        for key in sorted({GPU_TAINT, resources.gpu_resource}):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoSchedule"})
    if selector:
        placement["nodeSelector"] = selector
    if tolerations:
        placement["tolerations"] = tolerations
    return placement


def pull_secrets(known: Iterable[str], overrides: Iterable[PodOverrides] = ()) -> Manifest:
    """By what images are pulled: the Secrets of the pods themselves, and of the installation.

    Nodes try without those that a namespace lacks, so none of them has to be there.
    """
    own = (secret.name for one in overrides for secret in one.image_pull_secrets)
    found = [{"name": name} for name in dict.fromkeys([*own, *known])]
    return {"imagePullSecrets": found} if found else {}


def _container(
    job: JobContext,
    attempt: AttemptContext,
    resources: Resources,
    volumes: list[Mounted],
    overrides: list[PodOverrides],
    *,
    head: bool,
) -> Manifest:
    mounts = [mount for _, mount in volumes]
    mounts += [mount.wire() for one in overrides for mount in one.volume_mounts]
    more = {"envFrom": [one.wire() for one in job.spec.env_from]} if job.spec.env_from else {}
    return {
        "name": "ray-head" if head else "ray-worker",
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [*_env(job, attempt, resources), *(one.wire() for one in job.spec.env)],
        # Kubernetes, KubeRay and Kueue take them for the requests as well, and the API server reads
        # a RayJob with half as many quantities in a sixth less time.
        "resources": {"limits": amounts(resources)},
        "securityContext": restricted(),
        "volumeMounts": mounts,
        "lifecycle": {
            "preStop": {"exec": {"command": ["python", "-m", "loopwright.runtime.prestop"]}}
        },
        **_probes(),
        **more,
    }


def restricted() -> Manifest:
    """The security context of a container, as the restricted Pod Security Standard asks for it."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def once(volumes: Iterable[Manifest]) -> list[Manifest]:
    """Each volume once, by its name: several parts of a pod may need the same claim or Secret."""
    return list({volume["name"]: volume for volume in volumes}.values())


def amounts(resources: Resources) -> Manifest:
    """What a container may use, by resource."""
    found = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.ephemeral_storage:
        found["ephemeral-storage"] = resources.ephemeral_storage
    if resources.gpu:
        found[resources.gpu_resource] = str(resources.gpu)
    return found


def _grace(job: JobContext) -> int:
    """Seconds that a pod has from being told to stop until it is killed."""
    spot = job.spec.spot
    return spot.grace_period_seconds if spot and spot.enabled else GRACE_SECONDS


def _probes() -> Manifest:
    """KubeRay's own wait ten seconds before they look; a Ray node is up in five."""
    check = {"httpGet": {"path": "/api/healthz", "port": 52365}}
    return {
        "readinessProbe": {
            **check, "initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 5,
            "failureThreshold": 120,
        },
        # A node that computes hard answers late; only one that is silent for minutes is dead.
        "livenessProbe": {
            **check, "initialDelaySeconds": 60, "periodSeconds": 10, "timeoutSeconds": 10,
            "failureThreshold": 30,
        },
    }  # fmt: skip


def _env(job: JobContext, attempt: AttemptContext, resources: Resources) -> list[Manifest]:
    # What is the same in all pods, the image has: each entry costs the API server time, twice.
    values = {
        names.ENV_ATTEMPT: str(attempt.number),
        "OMP_NUM_THREADS": str(_threads(job, resources)),
    }
    if (grace := _grace(job)) != GRACE_SECONDS:
        values |= {
            "LOOPWRIGHT_GRACE_SECONDS": str(grace),
            # Ray must leave training the time to save its state.
            "RAY_JOB_STOP_WAIT_TIME_S": str(grace - 5),
        }
    return [{"name": name, "value": value} for name, value in values.items()]


def _threads(job: JobContext, resources: Resources) -> int:
    return max(1, int(quantity.parse(resources.cpu)) // job.procs)


def _volumes(job: JobContext, resources: Resources, *, head: bool) -> Iterator[Mounted]:
    """Each volume with its mount."""
    if head:
        yield _config()
        yield token()
    yield mounted("tmp", {"emptyDir": {}}, "/tmp")  # noqa: S108 (the pod's own)
    yield mounted("home", {"emptyDir": {}}, "/home/ray")
    yield mounted("shm", {"emptyDir": _shm(resources)}, "/dev/shm")  # noqa: S108
    yield from job.volumes()
    for claim in sorted(job.claims()):
        source = {"persistentVolumeClaim": {"claimName": claim}}
        yield mounted(f"pvc-{claim}", source, f"{names.PVC_DIR}/{claim}")
    for secret in sorted(job.secrets()):
        source = {"secret": {"secretName": secret}}
        yield mounted(f"secret-{secret}", source, f"{names.SECRETS_DIR}/{secret}", read_only=True)


def mounted(name: str, source: Manifest, path: str, *, read_only: bool = False) -> Mounted:
    """A volume of the operator's, and its mount."""
    name = _volume_name(name)
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    return Mounted({"name": name, **source}, mount | ({"readOnly": True} if read_only else {}))


def _volume_name(name: str) -> str:
    """A DNS label; where a name has to be changed for that, a digest tells it from others."""
    plain = f"loopwright-{name}"
    if len(plain) <= 63 and "." not in plain:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[:54].replace('.', '-').rstrip('-')}-{digest}"


def _shm(resources: Resources) -> Manifest:
    half = f"{int(quantity.parse(resources.memory)) // 2}"
    return {"medium": "Memory", "sizeLimit": resources.shm_size or half}


def _config() -> Mounted:
    """The driver's configuration, which the head pod carries as an annotation."""
    field = {"fieldPath": f"metadata.annotations['{names.CONFIG_ANNOTATION}']"}
    items = [{"path": names.CONFIG_KEY, "fieldRef": field}]
    return mounted("config", {"downwardAPI": {"items": items}}, names.CONFIG_DIR, read_only=True)


def token() -> Mounted:
    """What automounting would give, but for this one pod, and one hour at a time."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    return mounted("token", {"projected": {"sources": sources}}, TOKEN_DIR, read_only=True)
