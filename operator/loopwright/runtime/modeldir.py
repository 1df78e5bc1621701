"""Turns what training left into a model directory: files first, model.json last."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from loopwright.api import names
from loopwright.api.base import StatusModel
from loopwright.api.model import (
    MODEL_FILE,
    Architecture,
    Baseline,
    ModelFile,
    ModelLineage,
    ModelManifest,
    Registration,
    Signature,
)
from loopwright.api.modelref import Register
from loopwright.api.report import ModelReport
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob_status import Artifacts, DataLineage, MetricValue
from loopwright.runtime.environment import output_folder
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.train.model import NOTES

# By the ending of a file, the first that there is.
FORMATS = (
    ("onnx", "onnx"), ("safetensors", "safetensors"), ("pt", "pytorch"), ("pth", "pytorch"),
    ("pkl", "pickle"), ("pickle", "pickle"), ("joblib", "joblib"),
)  # fmt: skip
FRAMEWORKS = ("torch", "ray", "onnx", "onnxruntime", "scikit-learn", "numpy")


class Published(StatusModel):
    """What the report says about a model directory."""

    artifacts: Artifacts
    """Where it is."""
    model: ModelReport
    """What the registry wants to know."""


def publish(
    config: RunConfig, source: Path, metrics: list[MetricValue], inputs: list[DataLineage]
) -> Published | None:
    """Uploads a local model folder, if training left one, and describes it."""
    paths = sorted(p for p in source.rglob("*") if p.is_file() and p.name != NOTES)
    if not paths:
        return None
    if any(str(path.relative_to(source)) == MODEL_FILE for path in paths):
        raise RunError("ModelInvalid", f"{MODEL_FILE} is Loopwright's own; give yours another name")
    # What is registered is for good, and a job of the same output may follow.
    registered = config.spec.register_ is not None
    version = names.registered_version(config.uid)
    folder = output_folder(config, f"models/{version}" if registered else "model")
    # An older description must not outlive the files that it describes.
    folder.delete(MODEL_FILE)
    files = []
    for path in paths:
        name = str(path.relative_to(source))
        digest = folder.upload(path, name)
        files.append(ModelFile(path=name, sha256=digest, size=path.stat().st_size))
    manifest = _manifest(config, source, files, metrics, inputs)
    artifacts = _described(folder, manifest)
    more = ModelReport(signature=manifest.signature, baseline=manifest.baseline is not None)
    return Published(artifacts=artifacts, model=more)


def promote(
    source: Folder, target: Folder, register: Register, metrics: list[MetricValue], job: str,
    uid: str,
) -> Artifacts:  # fmt: skip
    """Copies the model of a sweep's best trial to where it is registered from.

    Args:
        job: Namespace and name of the sweep.
        uid: Its UID.

    Raises:
        RunError: a file of it is not what its model.json says.
    """
    try:
        manifest = ModelManifest.model_validate_json(source.read(MODEL_FILE) or b"{}")
    except ValidationError as error:
        text = f"{source.child(MODEL_FILE)} was changed since, or is gone"
        raise RunError("ModelInvalid", text) from error
    target.delete(MODEL_FILE)
    with tempfile.TemporaryDirectory() as scratch:
        for file in manifest.files:
            local = Path(scratch, "file")
            source.download(file.path, local)
            if target.upload(local, file.path) != file.sha256:
                text = f"{source.child(file.path)} is not what {MODEL_FILE} says"
                raise RunError("ModelInvalid", text)
    update = {
        "metrics": metrics, "registration": registration(register, metrics),
        "lineage": manifest.lineage.model_copy(update={"job": job, "uid": uid}),
    }  # fmt: skip
    return _described(target, manifest.model_copy(update=update))


def _described(folder: Folder, manifest: ModelManifest) -> Artifacts:
    """Writes model.json, at last."""
    text = json.dumps(manifest.wire(), indent=1).encode()
    folder.write(MODEL_FILE, text)
    return Artifacts(
        model_uri=folder.uri,
        digest=f"sha256:{hashlib.sha256(text).hexdigest()}",
        format=manifest.format,
        size=sum(file.size for file in manifest.files) + len(text),
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
        architecture=(
            Architecture.model_validate(told["architecture"]) if "architecture" in told else None
        ),
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
    unmet = register.unmet(metrics)
    return Registration(model=register.model, qualified=not unmet, unmet=unmet, card=register.card)


def _format(files: list[ModelFile]) -> str:
    endings = {file.path.rpartition(".")[2] for file in files}
    return next((known for ending, known in FORMATS if ending in endings), "files")


def _versions() -> dict[str, str]:
    found = {}
    for name in FRAMEWORKS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
