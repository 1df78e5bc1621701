"""A Model that nobody has written, and the ModelVersion of a finished job."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any, Final

from loopwright.api import hyperparametersweep, names, registry, trainingjob
from loopwright.api.model import MODEL_FILE
from loopwright.api.modelref import Register
from loopwright.api.registry import ModelVersionSpec
from loopwright.api.report import ModelReport
from loopwright.api.trainingjob_status import TrainedStatus
from loopwright.desired.context import Manifest
from loopwright.desired.training import TrainingContext

# Fields of a version's lineage that name the job.
MAKERS: Final = {
    trainingjob.KIND: "trainingJob",
    hyperparametersweep.KIND: "hyperparameterSweep",
}
REVISION = re.compile(r"[!-~]{1,128}")


def model(name: str, namespace: str) -> Manifest:
    """A Model whose spec is all defaults. It is the user's from then on."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": registry.MODEL_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
    }


def model_version(
    job: TrainingContext,
    register: Register,
    status: TrainedStatus,
    reported: ModelReport | None,
    annotations: dict[str, str],
) -> Manifest:
    """What a job has trained.

    It has no owner: a version outlives its job, and also its Model, which may be created anew from
    a Git repository that knows nothing of versions.

    Args:
        status: Of the job, which has succeeded and has a model.
        reported: What the driver said besides; None when the report is lost, and then the version
            lacks what model.json tells anyway.
    """
    made = status.artifacts
    assert made is not None
    assert status.model_version is not None
    output = job.training.output
    spec: dict[str, Any] = {
        "modelRef": {"name": register.model},
        "version": names.registered_version(job.uid),
        "uri": made.model_uri,
        "secretRef": output.secret_ref if output else None,
        "digest": made.digest,
        "format": made.format,
        "signature": reported.signature.wire() if reported and reported.signature else None,
        "metrics": [{"name": one.name, "value": one.value} for one in status.metrics],
        "lineage": _lineage(job, status, annotations),
        "card": register.card,
        "allowUnsafe": register.allow_unsafe,
        "aliases": register.aliases,
    }
    if reported and reported.baseline:
        spec["baselineRef"] = {"uri": f"{made.model_uri}/{MODEL_FILE}", "digest": made.digest}
    return {
        "apiVersion": names.API_VERSION,
        "kind": registry.VERSION_KIND,
        "metadata": {
            "name": status.model_version,
            "namespace": job.namespace,
            "labels": {names.LABEL_MODEL: register.model},
        },
        "spec": ModelVersionSpec.model_validate(spec).wire(),
    }


def _lineage(
    job: TrainingContext, status: TrainedStatus, annotations: dict[str, str]
) -> dict[str, Any]:
    revision = annotations.get(names.GIT_REVISION, "")
    attempt, read, ended = status.attempts[-1], status.lineage, status.completion_time
    return {
        MAKERS[job.kind]: {"name": job.name, "uid": job.uid, "attempt": attempt.number},
        "runId": attempt.run_id,
        "trainedAt": ended.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if ended else None,
        "inputs": [
            {"name": one.name, "uri": one.uri, "digest": one.digest}
            for one in (read.inputs if read else [])
        ],
        "image": job.image,
        "gitRevision": revision if REVISION.fullmatch(revision) else None,
    }
