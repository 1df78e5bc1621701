"""Names and labels that the operator and its pods agree on, defined once."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

GROUP: Final = "loopwright.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "loopwright"

MANAGER: Final = "loopwright"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_KIND: Final = f"{GROUP}/kind"
LABEL_NAME: Final = f"{GROUP}/name"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_MODEL: Final = f"{GROUP}/model"

# Of a TrainingJob: the commit of its code, which becomes part of the model's lineage.
GIT_REVISION: Final = f"{GROUP}/git-revision"
# On the InferenceService of a variant's revision, whose Service and EndpointSlices inherit them.
LABEL_VARIANT: Final = f"{GROUP}/variant"
LABEL_REVISION: Final = f"{GROUP}/revision"

# A RayJob's name may have 47 characters and an attempt suffix takes up to four ("-a99"); three
# are kept for the kinds that create TrainingJobs themselves.
MAX_JOB_NAME: Final = 40
# As is said of a trial that were a TrainingJob of its own: "-t999".
MAX_SWEEP_NAME: Final = 34
# A version's name is its model's and its own: 63 characters in all, so that a label can hold it.
MAX_MODEL_NAME: Final = 40
MAX_VERSION: Final = 22

# With a variant's and a revision's it becomes an InferenceService's; see `inference_service_name`.
MAX_ENDPOINT_NAME: Final = 30


class Mark(NamedTuple):
    """What tells the children of a kind's objects from those of another kind's of the same name."""

    attempt: str
    """Comes before the number of an attempt, in the name of its RayJob and so of its pods."""
    infix: str = ""
    """Comes after the job's name, which holds no dots, in names of ConfigMaps."""


# The policy loopwright-report knows them too.
MARKS: Final = {
    "TrainingJob": Mark("a"),
    "HyperparameterSweep": Mark("s", ".sweep"),
    "BatchTransform": Mark("b", ".batch"),
}

CONFIG_KEY: Final = "config.json"
REPORT_KEY: Final = "report.json"
VERDICTS_KEY: Final = "verdicts.json"
CAPTURE_KEY: Final = "capture.json"
# Beside it: of ModelVersions by name, their metrics by name.
METRICS_KEY: Final = "metrics.json"
EXPERIMENT_KEY: Final = "experiment.json"
INLINE_SCRIPT_KEY: Final = "script.py"

CONFIG_DIR: Final = "/etc/loopwright/config"
SCRIPT_DIR: Final = "/etc/loopwright/script"
SECRETS_DIR: Final = "/etc/loopwright/secrets"
CODE_DIR: Final = "/opt/loopwright/code"
INPUTS_DIR: Final = "/opt/loopwright/inputs"
PVC_DIR: Final = "/mnt/loopwright/pvc"
# Of a model server: where it is told what to keep of requests, and the claim that they are kept on,
# which may be written there, unlike that of the model.
CAPTURE_CONFIG_DIR: Final = "/etc/loopwright/capture"
CAPTURE_DIR: Final = "/mnt/loopwright/capture"
# Of the container that joins answers with labels: claims with labels, by name, and the folder in
# which the monitor finds what it says.
LABELS_DIR: Final = "/mnt/loopwright/labels"
QUALITY_DIR: Final = "/run/loopwright/quality"

# What all jobs of a namespace share: the account of their head pods, and the NetworkPolicy round
# their Ray pods.
RUNTIME: Final = "loopwright-runtime"
# Of head pods; a volume shows it to the driver as `CONFIG_KEY`.
CONFIG_ANNOTATION: Final = f"{GROUP}/config"
# ServiceAccount, Role and RoleBinding of a namespace's monitors.
MONITOR_ACCOUNT: Final = "loopwright-monitor"

# What people write on an endpoint: the revision to let on, or to give up.
ANNOTATION_PROMOTE: Final = f"{GROUP}/promote"
ANNOTATION_ROLLBACK: Final = f"{GROUP}/rollback"
# On a TrainingJob that a monitor started: whose it is, and the end of the window that was violated.
ANNOTATION_ENDPOINT: Final = f"{GROUP}/endpoint"
ANNOTATION_MONITOR: Final = f"{GROUP}/monitor"
ENV_ATTEMPT: Final = "LOOPWRIGHT_ATTEMPT"
ENV_MONITOR: Final = "LOOPWRIGHT_MONITOR"
ENV_ACCOUNT: Final = "LOOPWRIGHT_ACCOUNT"
ENV_CAPTURE: Final = "LOOPWRIGHT_CAPTURE"
ENV_QUALITY: Final = "LOOPWRIGHT_QUALITY"
ENV_QUALITY_DIR: Final = "LOOPWRIGHT_QUALITY_DIR"


def owner_reference(kind: str, name: str, uid: str) -> dict[str, object]:
    """The owner reference of everything that goes with an object of ours."""
    head = {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid}
    return {**head, "controller": True, "blockOwnerDeletion": False}


def child_labels(kind: str, name: str, attempt: int | None = None) -> dict[str, str]:
    """Labels of every object the operator makes for `kind`/`name`; watches select on them."""
    labels = {LABEL_MANAGED_BY: MANAGER, LABEL_KIND: kind, LABEL_NAME: name}
    if attempt is not None:
        labels[LABEL_ATTEMPT] = str(attempt)
    return labels


def namespace_labels() -> dict[str, str]:
    """Labels of what all jobs of a namespace share."""
    return {LABEL_MANAGED_BY: MANAGER, LABEL_KIND: "Namespace"}


def rayjob_name(kind: str, job: str, attempt: int) -> str:
    """The RayJob of one attempt. Deterministic, so that repeating a creation is harmless."""
    return f"{job}-{MARKS[kind].attempt}{attempt}"


def attempt_of(kind: str, job: str, rayjob: str) -> int | None:
    """The attempt that a RayJob of a job is, by its name; labels may be edited."""
    head, _, number = rayjob.rpartition(f"-{MARKS[kind].attempt}")
    return int(number) if head == job and number.isascii() and number.isdigit() else None


def script_name(kind: str, job: str) -> str:
    """The ConfigMap that carries a script written in the job itself."""
    return f"{job}{MARKS[kind].infix}-script"


def version_name(model: str, version: str) -> str:
    """The ModelVersion of a model and version; the API server insists on it."""
    return f"{model}-{version}"


def registered_version(uid: str) -> str:
    """The version that a job's model becomes: the beginning of its UID, so always the same."""
    return uid.replace("-", "")[:10]


def report_name(kind: str, job: str) -> str:
    """The mailbox: the one ConfigMap that the job's pods may write."""
    return f"{job}{MARKS[kind].infix}-report"


def inference_service_name(namespace: str, endpoint: str, variant: str, revision: str) -> str:
    """The InferenceService of a variant's revision.

    KServe calls its Service <name>-predictor and makes a DNS label of that and the namespace, even
    where nobody asks for this host name. A name that is too long for it is cut, and told from
    others by a digest. Namespaces of more than 38 characters leave no room for a name.
    """
    room = min(48, 63 - len("-predictor-") - len(namespace))
    plain = f"{endpoint}-{variant}-{revision}"
    if len(plain) <= room:
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return f"{plain[: max(1, room - 9)].rstrip('-')}-{digest}"


def predictor_name(inference_service: str) -> str:
    """The Deployment and the Service that KServe makes for an InferenceService."""
    return f"{inference_service}-predictor"


def monitor_name(endpoint: str) -> str:
    """The Deployment that watches an endpoint's variants."""
    return f"{endpoint}-monitor"


def policy_name(endpoint: str) -> str:
    """The NetworkPolicy round an endpoint's model servers."""
    return f"{endpoint}-servers"


def observed_name(endpoint: str) -> str:
    """The monitor's mailbox; a job of any name has another."""
    return f"{endpoint}-observed"


def capture_name(endpoint: str) -> str:
    """The ConfigMap that tells an endpoint's pods what to keep of requests."""
    return f"{endpoint}-capture"
