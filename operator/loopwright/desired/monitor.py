"""An endpoint's monitor: one small pod, its mailbox, and the account of all monitors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loopwright.api import names
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.desired import pods, quality
from loopwright.desired.context import Manifest, Owner
from loopwright.desired.pods import token
from loopwright.desired.support import account

KIND: Final = "ModelEndpoint"
PORT: Final = 8080
# As in the operator's image.
USER: Final = 65532
WATCH_SLICES: Final = {
    "apiGroups": ["discovery.k8s.io"],
    "resources": ["endpointslices"],
    "verbs": ["list", "watch"],
}
PATCH_REPORT: Final = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}


@dataclass(frozen=True)
class MonitorContext:
    """What the monitor of an endpoint is made from."""

    config: MonitorConfig
    image: str
    """The operator's own, which holds the monitor too."""
    beside: Sequence[tuple[Manifest, Sequence[Manifest]]] = ()
    """Other containers of its pod, each with its volumes."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets of registries, of this installation."""

    def metadata(self, name: str) -> Manifest:
        """Metadata of one of the endpoint's children."""
        config = self.config
        return Owner(KIND, config.endpoint, config.namespace, config.uid).metadata(name)


def monitor_access(namespace: str) -> list[Manifest]:
    """The account of all monitors of a namespace: they see who serves, and patch reports.

    Which report, the ValidatingAdmissionPolicy `loopwright-observed` decides: only that of the
    endpoint whose monitor's pod the token is bound to.
    """
    return account(namespace, names.MONITOR_ACCOUNT, [WATCH_SLICES, PATCH_REPORT])


def monitor(ctx: MonitorContext) -> list[Manifest]:
    """The mailbox and the Deployment, in the order in which they are made."""
    return [mailbox(ctx), deployment(ctx)]


def mailbox(ctx: MonitorContext) -> Manifest:
    """The report. Its data belongs to the monitor, so none is applied here."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": ctx.metadata(ctx.config.report),
    }


def deployment(ctx: MonitorContext) -> Manifest:
    """The pod that watches. Another configuration is another pod: it keeps no state on disk."""
    # Without the kind: whoever selects the pods of an endpoint means those that serve.
    labels = {
        "app.kubernetes.io/name": names.MONITOR_ACCOUNT,
        names.LABEL_MANAGED_BY: "loopwright",
        names.LABEL_NAME: ctx.config.endpoint,
    }
    scrape = {"scrape": "true", "port": str(PORT), "path": "/metrics"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": ctx.metadata(names.monitor_name(ctx.config.endpoint)),
        "spec": {
            "replicas": 1,
            # Two at once would overwrite each other's report.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {f"prometheus.io/{key}": text for key, text in scrape.items()},
                },
                "spec": _pod(ctx),
            },
        },
    }


def _pod(ctx: MonitorContext) -> Manifest:
    volume, mount = token()
    volumes = pods.once(one for _, some in ctx.beside for one in some)
    shared = quality.folder()
    told = [shared.mount | {"readOnly": True}] if shared.volume in volumes else []
    return {
        "serviceAccountName": names.MONITOR_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            # Who may read the token. What is on a claim is the model servers'.
            **_group(volumes),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "monitor",
                "image": ctx.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python", "-m", "loopwright.monitor"],
                "env": [{"name": names.ENV_MONITOR, "value": _config(ctx.config)}],
                "ports": [{"name": "metrics", "containerPort": PORT, "protocol": "TCP"}],
                "readinessProbe": {**_probe("/readyz"), "periodSeconds": 2, "failureThreshold": 60},
                "livenessProbe": {**_probe("/healthz"), "initialDelaySeconds": 30,
                                  "periodSeconds": 20},
                "resources": {
                    "requests": {"cpu": "20m", "memory": "64Mi"},
                    "limits": {"memory": "128Mi"},
                },
                "securityContext": pods.restricted(),
                "volumeMounts": [mount, *told],
            },
            *(container for container, _ in ctx.beside),
        ],
        "volumes": [volume, *volumes],
        **pods.pull_secrets(ctx.pull_secrets),
    }  # fmt: skip


def _group(volumes: Sequence[Manifest]) -> Manifest:
    if any("persistentVolumeClaim" in volume for volume in volumes):
        return {"fsGroup": pods.USER, "fsGroupChangePolicy": "OnRootMismatch"}
    return {"fsGroup": USER}


def _config(config: MonitorConfig) -> str:
    return json.dumps(config.wire(), sort_keys=True)


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "metrics"}, "timeoutSeconds": 5}
