"""The TrainingJob that a monitor starts."""

from __future__ import annotations

from typing import Any

from loopwright.api import names, trainingjob
from loopwright.api.monitoring_status import RetrainStatus
from loopwright.desired.context import Manifest


def retraining(endpoint: str, namespace: str, one: RetrainStatus, template: Manifest) -> Manifest:
    """A job with the spec of another, which is told why it runs.

    It belongs to nobody: like a job of a person it outlives the endpoint, and its own TTL ends it.

    Args:
        template: The job that it is like, as it is stored.
    """
    policy = template["spec"].get("runPolicy") or {}
    # A template may be suspended for good.
    policy = {key: value for key, value in policy.items() if key != "suspend"}
    spec = {**template["spec"], "runPolicy": policy}
    known = {entry["name"] for entry in spec.get("env") or ()}
    told = [entry for entry in _env(endpoint, one) if entry["name"] not in known]
    return {
        "apiVersion": names.API_VERSION,
        "kind": trainingjob.KIND,
        "metadata": {
            "name": one.training_job,
            "namespace": namespace,
            "annotations": {
                names.ANNOTATION_ENDPOINT: endpoint,
                names.ANNOTATION_MONITOR: one.monitor,
            },
        },
        "spec": {**spec, "env": [*(spec.get("env") or ()), *told]},
    }


def _env(endpoint: str, one: RetrainStatus) -> list[dict[str, Any]]:
    """For code that chooses its data by what drifted. Names with LOOPWRIGHT_ no job may set."""
    values = {
        "RETRAIN_ENDPOINT": endpoint,
        "RETRAIN_MONITOR": one.monitor,
        "RETRAIN_VARIANT": one.variant,
        "RETRAIN_WINDOW_START": one.window_start and one.window_start.isoformat(),
        "RETRAIN_WINDOW_END": one.window_end and one.window_end.isoformat(),
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]
