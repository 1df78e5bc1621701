"""Turns what training left into a model directory: files first, model.json last."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from loopwright.api import names
from loopwright.api.model import (
    MODEL_FILE,
    Baseline,
    ModelFile,
    ModelLineage,
    ModelManifest,
    Registration,
    Signature,
)
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import Register
from loopwright.api.trainingjob_status import Artifacts, DataLineage, MetricValue
from loopwright.runtime.environment import output_folder
from loopwright.runtime.errors import RunError
from loopwright.train.model import NOTES

FRAMEWORKS = ("torch", "ray", "onnx", "onnxruntime", "scikit-learn", "numpy")


def publish(
    config: RunConfig, source: Path, metrics: list[MetricValue], inputs: list[DataLineage]
) -> Artifacts | None:
    """Uploads a local model folder, if training left one, and describes it."""
    paths = sorted(p for p in source.rglob("*") if p.is_file() and p.name != NOTES)
    if not paths:
        return None
    if any(str(path.relative_to(source)) == MODEL_FILE for path in paths):
        raise RunError("ModelInvalid", f"{MODEL_FILE} is Loopwright's own; give yours another name")
    folder = output_folder(config, "model")
    # An older description must not outlive the files that it describes.
    folder.delete(MODEL_FILE)
    files = []
    for path in paths:
        name = str(path.relative_to(source))
        digest = folder.upload(path, name)
        files.append(ModelFile(path=name, sha256=digest, size=path.stat().st_size))
    manifest = _manifest(config, source, files, metrics, inputs)
    text = json.dumps(manifest.wire(), indent=1).encode()
    folder.write(MODEL_FILE, text)
    return Artifacts(
        model_uri=folder.uri,
        digest=f"sha256:{hashlib.sha256(text).hexdigest()}",
        size=sum(file.size for file in files) + len(text),
    )


def _manifest(
    config: RunConfig,
    source: Path,
    files: list[ModelFile],
    metrics: list[MetricValue],
    inputs: list[DataLineage],
) -> ModelManifest:
    notes = source / NOTES
    told = json.loads(notes.read_text()) if notes.exists() else {}
    spec = config.spec
    return ModelManifest(
        format=told.get("format") or _format(files),
        created=datetime.now(UTC).replace(microsecond=0),
        files=files,
        signature=Signature.model_validate(told["signature"]) if "signature" in told else None,
        frameworks=_versions(),
        metrics=metrics,
        baseline=Baseline.model_validate(told["baseline"]) if "baseline" in told else None,
        registration=registration(spec.register_, metrics) if spec.register_ else None,
        lineage=ModelLineage(
            job=f"{config.namespace}/{config.name}", uid=config.uid, image=config.image,
            attempt=int(os.environ.get(names.ENV_ATTEMPT, "1")), inputs=inputs,
            hyperparameters=spec.hyperparameters,
        ),
    )  # fmt: skip


def registration(register: Register, metrics: list[MetricValue]) -> Registration:
    """Whether the final metrics reach what `register` requires."""
    values = {metric.name: float(metric.value) for metric in metrics}
    unmet = []
    for one in register.require_metrics:
        value = values.get(one.metric)
        if value is None:
            unmet.append(f"{one.metric} was not reported")
        elif one.min is not None and not value >= float(one.min):
            unmet.append(f"{one.metric} is {value:g}, below {one.min}")
        elif one.max is not None and not value <= float(one.max):
            unmet.append(f"{one.metric} is {value:g}, above {one.max}")
    return Registration(model=register.model, qualified=not unmet, unmet=unmet, card=register.card)


def _format(files: list[ModelFile]) -> str:
    endings = {file.path.rpartition(".")[2] for file in files}
    return next((known for known in ("onnx", "safetensors") if known in endings), "files")


def _versions() -> dict[str, str]:
    found = {}
    for name in FRAMEWORKS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
