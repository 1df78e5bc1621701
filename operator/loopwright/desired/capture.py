"""What data capture adds to an endpoint: a ConfigMap, and parts of its pods and of its monitor's.

What to keep is in the ConfigMap, which pods read again while they run. Only where it goes, and with
which Secret, is part of the pods.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from loopwright.api import names, serving
from loopwright.api.capture import CaptureConfig, CaptureDestination
from loopwright.desired.context import Manifest, Mounted
from loopwright.desired.endpoint import EndpointContext
from loopwright.desired.pods import USER, mounted, restricted

MEMORY: Final = "192Mi"


def configmap(ctx: EndpointContext) -> Manifest:
    """What the pods are told; nothing if nothing is to be captured."""
    config = _config(ctx)
    data = {names.CAPTURE_KEY: _text(config) if config is not None else ""}
    asked = [one.quality.worse_than_baseline for one in ctx.spec.monitors if one.quality]
    if config is not None and any(asked):
        data[names.METRICS_KEY] = json.dumps(ctx.metrics, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": ctx.metadata(names.capture_name(ctx.name)),
        "data": data,
    }


def place(ctx: EndpointContext) -> Manifest | None:
    """What pods must be made anew for: where requests go, as far as it is part of them."""
    if ctx.spec.data_capture is None:
        return None
    destination = ctx.spec.data_capture.destination
    secret = destination.secret_ref
    return {"claim": destination.claim, "secret": secret.name if secret is not None else None}


def env(model_version: str | None, revision: str) -> list[Manifest]:
    """Variables of a model server that captures."""
    values = {
        serving.ENV_CAPTURE_CONFIG: f"{names.CAPTURE_CONFIG_DIR}/{names.CAPTURE_KEY}",
        serving.ENV_REVISION: revision,
        serving.ENV_REGISTERED_VERSION: model_version,
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def volumes(ctx: EndpointContext) -> list[Mounted]:
    """Volumes of a model server that captures."""
    if ctx.spec.data_capture is None:
        return []
    return [told(ctx.name), *storage(ctx.spec.data_capture.destination)]


def told(endpoint: str) -> Mounted:
    """The ConfigMap; neither serving nor joining must depend on it to start."""
    source = {"configMap": {"name": names.capture_name(endpoint), "optional": True}}
    return mounted("capture", source, names.CAPTURE_CONFIG_DIR, read_only=True)


def storage(destination: CaptureDestination) -> Sequence[Mounted]:
    """The claim, which may be written to, or the Secret."""
    if destination.claim is not None:
        claim = {"persistentVolumeClaim": {"claimName": destination.claim}}
        return [mounted(f"pvc-{destination.claim}", claim, names.CAPTURE_DIR)]
    if destination.secret_ref is None:
        return []
    return [keys(destination.secret_ref.name)]


def keys(name: str) -> Mounted:
    """A Secret with credentials; a container starts without it too, and says that it is missing."""
    secret = {"secret": {"secretName": name, "optional": True}}
    return mounted(f"secret-{name}", secret, f"{names.SECRETS_DIR}/{name}", read_only=True)


def retention(ctx: EndpointContext) -> tuple[Manifest, list[Manifest]] | None:
    """A container beside the monitor that deletes what is too old, and its volumes."""
    config = _config(ctx)
    if config is None or config.capture.retention_days is None:
        return None
    made = beside(ctx, "retention", "loopwright.serving.capture.retention", MEMORY)
    env = [{"name": names.ENV_CAPTURE, "value": _text(config)}]
    return attached({**made, "env": env}, storage(config.capture.destination))


def beside(ctx: EndpointContext, name: str, module: str, memory: str) -> Manifest:
    """A container beside the monitor that reaches the storage."""
    return {
        "name": name,
        "image": ctx.serving_images["onnx"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", module],
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}, "limits": {"memory": memory}},
        "securityContext": {
            **restricted(),
            # As model servers, whose files these are.
            "runAsUser": USER,
            "runAsGroup": USER,
        },
    }


def attached(container: Manifest, volumes: Sequence[Mounted]) -> tuple[Manifest, list[Manifest]]:
    """A container with its mounts, and the volumes."""
    mounts = [mount for _, mount in volumes]
    return container | ({"volumeMounts": mounts} if mounts else {}), [one for one, _ in volumes]


def _config(ctx: EndpointContext) -> CaptureConfig | None:
    if ctx.spec.data_capture is None:
        return None
    return CaptureConfig(endpoint=ctx.name, namespace=ctx.namespace, capture=ctx.spec.data_capture)


def _text(config: CaptureConfig) -> str:
    return json.dumps(config.wire(), sort_keys=True)
