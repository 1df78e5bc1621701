"""The InferenceService of a variant's revision, and the record that it can be made from again."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from loopwright.api import names, quantity, serving
from loopwright.api.modelendpoint import Variant
from loopwright.api.modelendpoint_status import Served
from loopwright.api.registry import OWN_FORMATS
from loopwright.desired import capture
from loopwright.desired.context import Manifest, Mounted
from loopwright.desired.endpoint import EndpointContext, ModelSource
from loopwright.desired.pods import USER, amounts, mounted, once, placement, pull_secrets

CONTAINER: Final = "kserve-container"
# KServe's own servers call a model after its InferenceService, unless they are told otherwise.
NAMED_FORMATS: Final = frozenset({"sklearn", "xgboost", "lightgbm", "pmml", "paddle"})
CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION",
    "AWS_ENDPOINT_URL",
)  # fmt: skip
# In which no requests arrive any more, once everybody knows that the pod ends.
LINGER_SECONDS: Final = 5
GRACE_SECONDS: Final = 45


def own_server(variant: Variant, model: ModelSource) -> bool:
    """Whether Loopwright's own server serves it, and so verifies the digest first."""
    runtime = variant.runtime
    stock = runtime.image is not None or runtime.serving_runtime is not None
    return not stock and (runtime.format or model.format) in OWN_FORMATS


def digest(ctx: EndpointContext, variant: Variant, model: ModelSource) -> str:
    """What tells revisions apart, also those of different variants: six letters and digits.

    Defaults do not count, so that one which a newer operator adds changes nothing. Nor does the
    model server's image, or the Secrets of an installation by which it is pulled: pods are replaced
    when people want it, not when the operator is.
    """
    own = variant.model_dump(
        mode="json", by_alias=True, include={"runtime", "resources", "pod"}, exclude_defaults=True
    )
    found: dict[str, Any] = {**own, "uri": model.uri, "format": model.format}
    found["of"] = [ctx.name, variant.name]
    # Without a digest another version may be another model, although its files are elsewhere.
    found["content"] = model.digest or model.version
    found["secret"] = model.secret
    if ctx.spec.batcher is not None and own_server(variant, model):
        found["batcher"] = ctx.spec.batcher.wire()
    if (place := capture.place(ctx)) is not None and own_server(variant, model):
        found["capture"] = place
    text = json.dumps(found, sort_keys=True).encode()
    return base64.b32encode(hashlib.sha256(text).digest()).decode().lower()[:6]


def predictor(ctx: EndpointContext, variant: Variant, model: ModelSource) -> Manifest:
    """What KServe makes the pods from."""
    own = own_server(variant, model)
    volumes = [*_volumes(variant, model), *(capture.volumes(ctx) if own else ())]
    mounts = [mount for _, mount in volumes] + [one.wire() for one in variant.pod.volume_mounts]
    amount = _canonical(amounts(variant.resources))
    container = {
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": amount, "limits": amount},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            **({"readOnlyRootFilesystem": True} if own else {}),
        },
        "volumeMounts": mounts,
    }
    if own or variant.runtime.image is not None:
        body: Manifest = {"containers": [container | _server(ctx, variant, model, own=own)]}
    else:
        body = {"model": container | _stock(ctx, variant, model)}
    annotations = {**(_scraped() if own else {}), **variant.pod.annotations}
    return {
        **body,
        # Nothing that is empty: KServe's webhook would leave it out.
        **({"annotations": annotations} if annotations else {}),
        **({"labels": dict(variant.pod.labels)} if variant.pod.labels else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            **({"runAsUser": USER, "runAsGroup": USER} if own else {}),
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # A pod goes only once another one is ready.
        "deploymentStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "volumes": once(volume for volume, _ in volumes)
        + [one.wire() for one in variant.pod.volumes],
        **placement(variant.resources, [variant.pod], None),
        **pull_secrets(ctx.pull_secrets, [variant.pod]),
    }


def record(ctx: EndpointContext, variant: str, served: Served, made: Manifest) -> Manifest:
    """What a revision's InferenceService is made from, as long as it may be needed.

    The spec says what should be; the revision that serves meanwhile is made from this again, also
    by a newer operator, which would build it otherwise.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": ctx.revision_metadata(variant, served),
        "revision": 1,
        "data": {"predictor": made},
    }


def inference_service(
    ctx: EndpointContext, variant: str, served: Served, made: Manifest
) -> Manifest:
    """The InferenceService. Nothing of it ever changes: annotations too would replace the pods."""
    meta = ctx.revision_metadata(variant, served)
    labels = meta["labels"]
    meta["labels"] = {**labels, "networking.kserve.io/visibility": "cluster-local"}
    meta["annotations"] = {
        "serving.kserve.io/deploymentMode": "Standard",
        # The operator's own autoscalers, and the operator itself, scale the Deployment.
        "serving.kserve.io/autoscalerClass": "external",
    }
    # The operator's labels come last: what selects pods must not be anybody else's.
    own = {**made, "labels": {**made.get("labels", {}), **labels}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": {"predictor": own},
    }


def _canonical(found: Manifest) -> Manifest:
    """As KServe's webhook would write them, or what is stored would differ from this."""
    return {name: quantity.canonical(amount) for name, amount in found.items()}


def _server(ctx: EndpointContext, variant: Variant, model: ModelSource, *, own: bool) -> Manifest:
    """A server that is told by variables what to serve: Loopwright's, or one of the user's."""
    runtime = variant.runtime
    found: Manifest = {
        "name": CONTAINER,
        "image": ctx.serving_images[runtime.format or model.format] if own else runtime.image,
        "env": [*_env(ctx, variant, model, own=own), *(one.wire() for one in runtime.env)],
        "ports": [{"name": "http", "containerPort": serving.HTTP_PORT, "protocol": "TCP"}],
    }
    if own:
        found["ports"].append(
            {"name": "grpc", "containerPort": serving.GRPC_PORT, "protocol": "TCP"}
        )
        found["terminationMessagePolicy"] = "FallbackToLogsOnError"
    else:
        found["lifecycle"] = {"preStop": {"sleep": {"seconds": LINGER_SECONDS}}}
    if runtime.command is not None:
        found["command"] = list(runtime.command)
    if runtime.args is not None:
        found["args"] = list(runtime.args)
    return found | _probes(own=own, protocol=runtime.protocol)


def _stock(ctx: EndpointContext, variant: Variant, model: ModelSource) -> Manifest:
    """One of KServe's ServingRuntimes, which loads the model without verifying it."""
    runtime = variant.runtime
    name = runtime.format or model.format
    format_: Manifest = {"name": name}
    if runtime.format_version is not None:
        format_["version"] = runtime.format_version
    found: Manifest = {
        "modelFormat": format_,
        "protocolVersion": runtime.protocol,
        "storageUri": model.uri,
        "lifecycle": {"preStop": {"sleep": {"seconds": LINGER_SECONDS}}},
    }
    if runtime.env:
        found["env"] = [one.wire() for one in runtime.env]
    if runtime.serving_runtime is not None:
        found["runtime"] = runtime.serving_runtime
    args = list(runtime.args or ())
    if name in NAMED_FORMATS and runtime.serving_runtime is None:
        args.insert(0, f"--model_name={ctx.name}")
    return found | ({"args": args} if args else {})


def _env(
    ctx: EndpointContext, variant: Variant, model: ModelSource, *, own: bool
) -> list[Manifest]:
    values = {
        serving.ENV_ENDPOINT: ctx.name,
        serving.ENV_VARIANT: variant.name,
        serving.ENV_MODEL_NAME: ctx.name,
        serving.ENV_MODEL_URI: model.uri,
    }
    if model.digest is not None:
        values[serving.ENV_MODEL_DIGEST] = model.digest
    batcher = ctx.spec.batcher if own else None
    if batcher is not None:
        values[serving.ENV_MAX_BATCH_SIZE] = str(batcher.max_batch_size)
        values[serving.ENV_MAX_LATENCY_MS] = str(batcher.max_latency_ms)
    env: list[Manifest] = [{"name": name, "value": value} for name, value in values.items()]
    if own and ctx.spec.data_capture is not None:
        env += capture.env(model.version, digest(ctx, variant, model))
    if model.secret is not None:
        env += [_key(model.secret, name) for name in CREDENTIALS]
    return env


def _key(secret: str, name: str) -> Manifest:
    # Only what is known: other keys of a Secret must not become variables.
    ref = {"name": secret, "key": name, "optional": name not in CREDENTIALS[:2]}
    return {"name": name, "valueFrom": {"secretKeyRef": ref}}


def _volumes(variant: Variant, model: ModelSource) -> list[Mounted]:
    """Each volume with its mount."""
    found = [mounted("tmp", {"emptyDir": {}}, "/tmp")]  # noqa: S108 (the pod's own)
    shm = variant.resources.shm_size
    if shm is not None:
        source = {"emptyDir": {"medium": "Memory", "sizeLimit": quantity.canonical(shm)}}
        found.append(mounted("shm", source, "/dev/shm"))  # noqa: S108
    if model.uri.startswith("pvc://"):
        claim = model.uri.removeprefix("pvc://").split("/")[0]
        source = {"persistentVolumeClaim": {"claimName": claim}}
        path = f"{names.PVC_DIR}/{claim}"
        found.append(mounted(f"pvc-{claim}", source, path, read_only=True))
    return found


def _probes(*, own: bool, protocol: str) -> Manifest:
    check: Manifest = {"httpGet": {"path": serving.READY_PATH, "port": serving.HTTP_PORT}}
    if not own and protocol != "v2":
        check = {"tcpSocket": {"port": serving.HTTP_PORT}}
    found: Manifest = {
        # Half an hour: a large model takes long to be read.
        "startupProbe": {**check, "periodSeconds": 1, "failureThreshold": 1800},
        "readinessProbe": {
            **check, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2,
        },
    }  # fmt: skip
    if own:
        live = {"httpGet": {"path": serving.LIVE_PATH, "port": serving.HTTP_PORT}}
        found["livenessProbe"] = {
            **live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        }  # fmt: skip
    return found


def _scraped() -> dict[str, str]:
    scrape = {"scrape": "true", "port": str(serving.HTTP_PORT), "path": "/metrics"}
    return {f"prometheus.io/{key}": text for key, text in scrape.items()}
