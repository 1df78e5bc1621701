"""The kinds, and what their CRDs say besides the schema: names, columns, rules, scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from loopwright.api import (
    batchtransform,
    hyperparametersweep,
    modelendpoint,
    names,
    registry,
    trainingjob,
)
from loopwright.api.base import ApiModel, Cel
from loopwright.api.shared import DNS_LABEL

Schema = dict[str, Any]

AGE: Final = ("Age", "date", ".metadata.creationTimestamp", 0)
EXPERIMENT: Final = (
    "Experiment", "string", ".status.conditions[?(@.type=='ExperimentConcluded')].reason", 1,
)  # fmt: skip
DRIFT: Final = ("Drift", "string", ".status.conditions[?(@.type=='DriftDetected')].status", 1)
# By which lists of thousands are filtered where they are.
PHASE: Final = (".status.phase",)
READY: Final = ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", 0)


class Scale(NamedTuple):
    """Where the scale subresource finds its numbers."""

    wanted: str
    found: str
    selector: str | None = None

    def schema(self) -> Schema:
        """As it stands in the CRD."""
        paths = {"specReplicasPath": self.wanted, "statusReplicasPath": self.found}
        return paths | ({"labelSelectorPath": self.selector} if self.selector else {})


@dataclass(frozen=True)
class Kind:
    """What a CRD says about a kind besides its schema."""

    model: type[ApiModel]
    plural: str
    short: str
    columns: tuple[tuple[str, str, str, int], ...]
    """Heading, type, path and priority of what `kubectl get` prints."""
    rules: tuple[Cel, ...]
    """On the object as a whole; of its metadata only the name can be read."""
    selectable: tuple[str, ...] = ()
    """Fields that `kubectl get --field-selector` takes."""
    scale: Scale | None = None
    """What `kubectl scale` reads and sets."""

    @property
    def name(self) -> str:
        """As in manifests."""
        return self.model.__name__


def _named(limit: int, why: str) -> Cel:
    return Cel(
        f"size(self.metadata.name) <= {limit}",
        f"metadata.name must have at most {limit} characters, {why}",
    )


SERVICE_NAME: Final = Cel(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must start with a letter and hold only a-z, 0-9 and '-', because Services"
    " are named after it",
)
TRAININGJOB: Final = Kind(
    trainingjob.TrainingJob,
    trainingjob.PLURAL,
    "tj",
    (
        ("Phase", "string", ".status.phase", 0),
        ("Workers", "integer", ".status.workers.ready", 0),
        ("Progress", "integer", ".status.progress.percent", 0),
        ("Attempt", "integer", ".status.attempt", 0),
        ("Queue", "string", ".status.queue.name", 1),
        ("Metric", "string", ".status.metrics[0].value", 1),
        ("Version", "string", ".status.modelVersion", 1),
        ("GPU-s", "integer", ".status.cost.gpuSeconds", 1),
        ("Cost", "string", ".status.cost.estimate", 1),
        AGE,
    ),
    (
        _named(names.MAX_JOB_NAME, "for RayJobs' sake"),
        SERVICE_NAME,
    ),
    PHASE,
)
MODEL: Final = Kind(
    registry.Model,
    registry.MODEL_PLURAL,
    "mdl",
    (
        ("Latest", "string", ".status.latestVersion", 0),
        ("Versions", "integer", ".status.versions", 0),
        ("Aliases", "string", ".status.aliases", 0),
        READY,
        ("Description", "string", ".spec.description", 1),
        AGE,
    ),
    (
        _named(names.MAX_MODEL_NAME, "because its versions are named after it"),
        Cel(
            f"self.metadata.name.matches('{DNS_LABEL}')",
            "metadata.name must hold only a-z, 0-9 and '-'",
        ),
    ),
)
MODELVERSION: Final = Kind(
    registry.ModelVersion,
    registry.VERSION_PLURAL,
    "mv",
    (
        ("Model", "string", ".spec.modelRef.name", 0),
        ("Version", "string", ".spec.version", 0),
        ("Stage", "string", ".status.phase", 0),
        ("Aliases", "string", ".status.aliases", 0),
        ("Metric", "string", ".status.metric", 0),
        ("Format", "string", ".spec.format", 1),
        ("URI", "string", ".spec.uri", 1),
        AGE,
    ),
    (
        Cel(
            "self.metadata.name == self.spec.modelRef.name + '-' + self.spec.version",
            "metadata.name must be <spec.modelRef.name>-<spec.version>, so that a version exists"
            " once",
        ),
    ),
    (".spec.modelRef.name", *PHASE),
)
MODELENDPOINT: Final = Kind(
    modelendpoint.ModelEndpoint,
    modelendpoint.PLURAL,
    "mep",
    (
        READY,
        ("Phase", "string", ".status.phase", 0),
        ("URL", "string", ".status.url", 0),
        ("Weights", "string", ".status.weights", 0),
        ("Replicas", "integer", ".status.replicas", 0),
        ("Rollout", "string", ".status.rollout", 0),
        ("Internal", "string", ".status.internalUrl", 1),
        DRIFT,
        EXPERIMENT,
        AGE,
    ),
    (
        _named(names.MAX_ENDPOINT_NAME, ", because its InferenceServices are named after it"),
        SERVICE_NAME,
    ),
    PHASE,
    Scale(".spec.replicas", ".status.replicas", ".status.selector"),
)
HYPERPARAMETERSWEEP: Final = Kind(
    hyperparametersweep.HyperparameterSweep,
    hyperparametersweep.PLURAL,
    "hps",
    (
        ("Phase", "string", ".status.phase", 0),
        ("Trials", "string", ".status.trials.finished", 0),
        ("Running", "integer", ".status.trials.running", 0),
        ("Failed", "integer", ".status.trials.failed", 0),
        ("Best", "string", ".status.best.value", 0),
        ("Stopped", "string", ".status.stopReason", 1),
        ("Algorithm", "string", ".status.algorithm", 1),
        ("Attempt", "integer", ".status.attempt", 1),
        ("Queue", "string", ".status.queue.name", 1),
        ("Version", "string", ".status.modelVersion", 1),
        AGE,
    ),
    (
        _named(names.MAX_SWEEP_NAME, "so that trials can be named after it"),
        SERVICE_NAME,
    ),
    PHASE,
    Scale(".spec.parallelTrials", ".status.trials.running"),
)
BATCHTRANSFORM: Final = Kind(
    batchtransform.BatchTransform,
    batchtransform.PLURAL,
    "bt",
    (
        ("Phase", "string", ".status.phase", 0),
        ("Shards", "string", ".status.shards.finished", 0),
        ("Records", "integer", ".status.records.written", 0),
        ("Failed", "integer", ".status.records.failed", 0),
        ("Attempt", "integer", ".status.attempt", 0),
        ("Rate", "string", ".status.progress.recordsPerSecond", 1),
        ("ETA", "integer", ".status.progress.etaSeconds", 1),
        ("Model", "string", ".status.model.modelVersion", 1),
        ("Queue", "string", ".status.queue.name", 1),
        AGE,
    ),
    (
        _named(names.MAX_JOB_NAME, "for RayJobs' sake"),
        SERVICE_NAME,
    ),
    PHASE,
    Scale(".spec.numWorkers", ".status.workers.ready"),
)
KINDS: Final = (
    TRAININGJOB, HYPERPARAMETERSWEEP, BATCHTRANSFORM, MODEL, MODELVERSION, MODELENDPOINT,
)  # fmt: skip
