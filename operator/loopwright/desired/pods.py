"""The pods of a Ray cluster: restricted, with everything the runtime expects in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from loopwright.api import names, quantity
from loopwright.api.policy import Spot
from loopwright.api.shared import PodOverrides, Resources
from loopwright.api.trainingjob import KIND
from loopwright.desired.context import AttemptContext, JobContext, Manifest

USER: Final = 1000
GRACE_SECONDS: Final = 30
SECRETS_DIR: Final = f"{names.CONFIG_DIR}/secrets"
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
    labels |= names.child_labels(KIND, job.name, attempt.number)
    spec = _pod_spec(job, attempt, resources, overrides, head=head)
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


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
        **_placement(resources, overrides, interruptible),
    }
    if head:
        spec["serviceAccountName"] = names.runtime_account_name(job.name)
    if job.spec.scheduling and job.spec.scheduling.priority_class:
        spec["priorityClassName"] = job.spec.scheduling.priority_class
    return spec


def _placement(resources: Resources, overrides: list[PodOverrides], spot: Spot | None) -> Manifest:
    selector: dict[str, str] = {}
    tolerations: list[Manifest] = []
    placement: Manifest = {}
    secrets: list[Manifest] = []
    for one in overrides:
        selector |= one.node_selector
        tolerations += [toleration.wire() for toleration in one.tolerations]
        secrets += [secret.wire() for secret in one.image_pull_secrets]
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
    if secrets:
        placement["imagePullSecrets"] = secrets
    return placement


def _container(
    job: JobContext,
    attempt: AttemptContext,
    resources: Resources,
    volumes: list[tuple[Manifest, Manifest]],
    overrides: list[PodOverrides],
    *,
    head: bool,
) -> Manifest:
    amounts = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.ephemeral_storage:
        amounts["ephemeral-storage"] = resources.ephemeral_storage
    if resources.gpu:
        amounts[resources.gpu_resource] = str(resources.gpu)
    mounts = [mount for _, mount in volumes]
    mounts += [mount.wire() for one in overrides for mount in one.volume_mounts]
    return {
        "name": "ray-head" if head else "ray-worker",
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [*_env(job, attempt, resources), *(one.wire() for one in job.spec.env)],
        "envFrom": [one.wire() for one in job.spec.env_from],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
        "lifecycle": {
            "preStop": {"exec": {"command": ["python", "-m", "loopwright.runtime.prestop"]}}
        },
        **_probes(),
    }


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
    values = {
        names.ENV_CONFIG: f"{names.CONFIG_DIR}/{names.CONFIG_KEY}",
        names.ENV_ATTEMPT: str(attempt.number),
        names.ENV_NAMESPACE: job.namespace,
        names.ENV_REPORT: names.report_name(job.name),
        "LOOPWRIGHT_GRACE_SECONDS": str(_grace(job)),
        # Three seconds, Ray's default, are too short for training to save its state.
        "RAY_JOB_STOP_WAIT_TIME_S": str(_grace(job) - 5),
        "HOME": "/home/ray",
        "OMP_NUM_THREADS": str(_threads(job, resources)),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Training is what the pod is for; Ray would let it run behind everything else.
        "RAY_worker_niceness": "0",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def procs_per_worker(job: JobContext) -> int:
    """Processes in each worker pod."""
    procs = job.spec.procs_per_worker
    return max(1, job.spec.resources_per_worker.gpu) if procs == "auto" else int(procs)


def _threads(job: JobContext, resources: Resources) -> int:
    return max(1, int(quantity.parse(resources.cpu)) // procs_per_worker(job))


def _volumes(
    job: JobContext, resources: Resources, *, head: bool
) -> Iterator[tuple[Manifest, Manifest]]:
    """Each volume with its mount."""
    config = {"name": names.config_name(job.name)}
    yield _mounted("config", {"configMap": config}, names.CONFIG_DIR, read_only=True)
    yield _mounted("tmp", {"emptyDir": {}}, "/tmp")  # noqa: S108 (the pod's own)
    yield _mounted("home", {"emptyDir": {}}, "/home/ray")
    yield _mounted("inputs", {"emptyDir": {}}, names.INPUTS_DIR)
    yield _mounted("shm", {"emptyDir": _shm(resources)}, "/dev/shm")  # noqa: S108
    script = job.spec.script
    if script is not None and script.config_map_ref is not None:
        source = {"configMap": {"name": script.config_map_ref.name}}
        yield _mounted("code", source, names.CODE_DIR, read_only=True)
    local = job.spec.checkpoint.local_path if job.spec.checkpoint else None
    overrides = (job.spec.pod, job.spec.head.pod)
    if local and local not in {m.mount_path for one in overrides for m in one.volume_mounts}:
        yield _mounted("checkpoint", {"emptyDir": {}}, local)
    for claim in sorted(claims(job)):
        source = {"persistentVolumeClaim": {"claimName": claim}}
        yield _mounted(f"pvc-{claim}", source, f"{names.PVC_DIR}/{claim}")
    for secret in sorted(secrets(job)):
        source = {"secret": {"secretName": secret}}
        yield _mounted(f"secret-{secret}", source, f"{SECRETS_DIR}/{secret}", read_only=True)
    for one in job.spec.inputs:
        if one.source.config_map_ref is not None:
            source = {"configMap": {"name": one.source.config_map_ref.name}}
            path = one.mount_path or f"{names.INPUTS_DIR}/{one.name}"
            yield _mounted(f"input-{one.name}", source, path, read_only=True)
        elif one.mount_path is not None and one.source.uri is not None:
            yield _input(one.name, one.source.uri, one.mount_path)
    if head:
        yield _token()


def _input(name: str, uri: str, path: str) -> tuple[Manifest, Manifest]:
    """A folder of the user's choice: part of a claim, or room for what is downloaded."""
    if not uri.startswith("pvc://"):
        return _mounted(f"input-{name}", {"emptyDir": {}}, path)
    claim, _, sub = uri.removeprefix("pvc://").partition("/")
    source = {"persistentVolumeClaim": {"claimName": claim}}
    volume, mount = _mounted(f"input-{name}", source, path, read_only=True)
    return volume, mount | ({"subPath": sub.rstrip("/")} if sub else {})


def _mounted(
    name: str, source: Manifest, path: str, *, read_only: bool = False
) -> tuple[Manifest, Manifest]:
    name = f"loopwright-{name}"[:63].rstrip("-").replace(".", "-")
    mount: dict[str, Any] = {"name": name, "mountPath": path}
    return {"name": name, **source}, mount | ({"readOnly": True} if read_only else {})


def _shm(resources: Resources) -> Manifest:
    half = f"{int(quantity.parse(resources.memory)) // 2}"
    return {"medium": "Memory", "sizeLimit": resources.shm_size or half}


def _token() -> tuple[Manifest, Manifest]:
    """What automounting would give, but for this one pod, and one hour at a time."""
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    return _mounted("token", {"projected": {"sources": sources}}, TOKEN_DIR, read_only=True)


def claims(job: JobContext) -> set[str]:
    """Claims that the job's URIs name."""
    uris = [job.output_uri, job.checkpoint_uri]
    uris += [one.source.uri for one in job.spec.inputs if one.source.uri]
    if job.spec.script is not None and job.spec.script.archive_uri:
        uris.append(job.spec.script.archive_uri)
    checkpoint = job.spec.checkpoint
    if checkpoint is not None and "://" in checkpoint.resume_from:
        uris.append(checkpoint.resume_from)
    return {uri.removeprefix("pvc://").split("/")[0] for uri in uris if uri.startswith("pvc://")}


def secrets(job: JobContext) -> set[str]:
    """Secrets with credentials that the job's URIs need."""
    spec = job.spec
    refs = [one.source.secret_ref for one in spec.inputs]
    refs += [holder.secret_ref for holder in (spec.output, spec.checkpoint, spec.script) if holder]
    return {ref.name for ref in refs if ref is not None}
