"""Names and labels that the operator and its pods agree on, defined once."""

from __future__ import annotations

from typing import Final

GROUP: Final = "loopwright.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "loopwright"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_KIND: Final = f"{GROUP}/kind"
LABEL_NAME: Final = f"{GROUP}/name"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"

# A RayJob's name may have 47 characters and an attempt suffix takes up to four ("-a99"); three
# are kept for the kinds that create TrainingJobs themselves.
MAX_JOB_NAME: Final = 40

CONFIG_KEY: Final = "config.json"
REPORT_KEY: Final = "report.json"
INLINE_SCRIPT_KEY: Final = "script.py"

CONFIG_DIR: Final = "/etc/loopwright"
CODE_DIR: Final = "/opt/loopwright/code"
INPUTS_DIR: Final = "/opt/loopwright/inputs"
PVC_DIR: Final = "/mnt/loopwright/pvc"

ENV_CONFIG: Final = "LOOPWRIGHT_CONFIG"
ENV_ATTEMPT: Final = "LOOPWRIGHT_ATTEMPT"
ENV_NAMESPACE: Final = "LOOPWRIGHT_NAMESPACE"
ENV_REPORT: Final = "LOOPWRIGHT_REPORT"


def child_labels(kind: str, name: str, attempt: int | None = None) -> dict[str, str]:
    """Labels of every object the operator makes for `kind`/`name`; watches select on them."""
    labels = {LABEL_MANAGED_BY: "loopwright", LABEL_KIND: kind, LABEL_NAME: name}
    if attempt is not None:
        labels[LABEL_ATTEMPT] = str(attempt)
    return labels


def rayjob_name(job: str, attempt: int) -> str:
    """The RayJob of one attempt. Deterministic, so that repeating a creation is harmless."""
    return f"{job}-a{attempt}"


def config_name(job: str) -> str:
    """The ConfigMap that carries the runtime's configuration."""
    return f"{job}-config"


def report_name(job: str) -> str:
    """The mailbox: the one ConfigMap that the job's pods may patch."""
    return f"{job}-report"


def runtime_account_name(job: str) -> str:
    """ServiceAccount, Role and RoleBinding of the job's head pod."""
    return f"{job}-runtime"


def network_policy_name(job: str) -> str:
    """The NetworkPolicy round the job's Ray pods."""
    return f"{job}-ray"
