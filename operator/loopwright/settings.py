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
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; none means all."""
    namespace: str = "loopwright-system"
    """Where the operator itself runs, and keeps its Lease."""
    identity: str = ""
    """Name of this replica, by default the host's."""
    qps: float = 50.0
    """Sustained requests a second to the API server."""
    burst: int = 100
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
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(default)(text)
    except ValueError as error:
        kind = type(default).__name__
        raise SettingsError(f"{name} must be a {kind}, not {text!r}") from error
