"""The operator's settings, read once from LOOPWRIGHT_* variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


class SettingsError(ValueError):
    """A variable that cannot be understood; the message names it."""


@dataclass(frozen=True)
class Settings:
    """Each field is set by the variable LOOPWRIGHT_<FIELD> in upper case."""

    runtime_image: str = "ghcr.io/loopwright/runtime:0.1.0"
    """Image of jobs that name none."""
    ray_version: str = "2.60.0"
    """Version of Ray in that image."""
    default_output: str = ""
    """Output of jobs that name none, for example s3://b/{namespace}/{name}; or empty."""
    operator_image: str = "ghcr.io/loopwright/operator:0.1.0"
    """This operator's own image, which holds the endpoints' monitors too."""
    serving_image: str = "ghcr.io/loopwright/serving:0.1.0"
    """Image of Loopwright's model server."""
    torch_serving_image: str = "ghcr.io/loopwright/serving-torch:0.1.0"
    """The same with torch, for models in safetensors."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets by which pods of jobs, endpoints and monitors pull images, in namespaces that have
    them."""
    gateway: str = ""
    """namespace/name of the Gateway of endpoints that name none; or empty."""
    gateway_features: tuple[str, ...] = ()
    """What that Gateway can do, for a class that does not say so in its supportedFeatures."""
    prometheus_url: str = ""
    """Prometheus, for PromQL checks and KEDA; for example http://prometheus.monitoring:9090."""
    rule_labels: tuple[str, ...] = ()
    """key=value, labels of the endpoints' PrometheusRules, as a Prometheus may choose them by."""
    runbook_url: str = ""
    """Where docs/runbooks can be read, for links in alerts; or empty."""
    network_policies: bool = True
    """Whether to make NetworkPolicies round Ray pods, model servers and monitors."""
    kuberay_namespaces: tuple[str, ...] = ()
    """Where KubeRay's operator runs, for those policies; none means anywhere."""
    client_namespaces: tuple[str, ...] = ()
    """Whose pods may call endpoints, besides those of an endpoint's own: that of the Gateway's data
    plane, and of clients within the cluster; none means everybody, in the cluster and outside."""
    prometheus_namespaces: tuple[str, ...] = ()
    """Whose pods may read metrics of jobs, servers and monitors; none means anybody's."""
    prices: str = ""
    """ConfigMap with the price table, in the operator's namespace; or empty."""
    drain_seconds: int = 30
    """How long a revision runs on after it was given no traffic any more, until Gateways know."""
    require_approval: bool = False
    """Whether endpoints that do not say may serve approved ModelVersions only."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; none means all."""
    namespace: str = "loopwright-system"
    """Where the operator itself runs, and keeps its Lease."""
    identity: str = ""
    """Name of this replica, by default the host's."""
    qps: float = 500.0
    """Sustained requests a second to the API server, which asks for less when it is busy."""
    burst: int = 1000
    """Requests above that at once."""
    workers: int = 16
    """Objects reconciled at the same time."""
    resync_seconds: float = 600.0
    """How often every object is looked at without an event."""
    metrics_port: int = 8080
    """Prometheus metrics."""
    health_port: int = 8081
    """/healthz and /readyz."""
    log_level: str = "INFO"
    """Least level of log lines."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Settings from the environment.

        Raises:
            SettingsError: a value has the wrong type.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"LOOPWRIGHT_{field.name.upper()}"
            if name in env:
                values[field.name] = _convert(name, env[name], getattr(cls, field.name))
        return cls(**values)


def _convert(name: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(default)(text)
    except (ValueError, KeyError) as error:
        kind = type(default).__name__
        raise SettingsError(f"{name} must be a {kind}, not {text!r}") from error
