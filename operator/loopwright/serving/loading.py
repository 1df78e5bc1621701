"""From a model directory to a model that may be served, or the reason why it may not.

The bytes that were verified are the bytes that are loaded: every file is read once. Files that
model.json does not list are never read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from loopwright.api.model import MODEL_FILE, ModelManifest
from loopwright.serving import onnx_engine
from loopwright.serving.errors import CannotServe
from loopwright.serving.model import Model
from loopwright.serving.settings import Settings
from loopwright.serving.source import Source, open_source

logger = logging.getLogger(__name__)

ONNX: Final = "onnx"
SAFETENSORS: Final = "safetensors"
PLAIN_FILE: Final = "model.onnx"
# What exporters call the weights that they put beside the ONNX file.
WEIGHTS: Final = (".data", "_data")


@dataclass(frozen=True)
class Verified:
    """A model directory whose content is what its model.json says."""

    manifest: ModelManifest
    digest: str
    """Of model.json."""
    files: dict[str, bytes]
    """Contents by path."""


def load(settings: Settings) -> Model:
    """The model of the settings, verified and warm.

    Raises:
        CannotServe: it must not be served.
    """
    return load_from(settings, open_source(settings.model_uri or settings.model_dir))


def load_from(settings: Settings, source: Source) -> Model:
    """The model in a folder; as `load`."""
    verified = verify(source, settings.model_digest, _formats())
    if verified is None:
        return _plain(settings, source)
    manifest, contents = verified.manifest, dict(verified.files)
    if manifest.format == SAFETENSORS:
        # torch is in some images only.
        from loopwright.serving import torch_engine

        network, signature = torch_engine.load(settings, manifest, contents)
        return Model.of(settings, network, signature, verified.digest, manifest.baseline)
    main = contents.pop(_only([path for path in contents if path.endswith(".onnx")], source))
    engine, signature = onnx_engine.load(settings, main, contents, manifest.signature)
    return Model.of(settings, engine, signature, verified.digest, manifest.baseline)


def _formats() -> list[str]:
    """What this image can load."""
    return [ONNX, *([SAFETENSORS] if importlib.util.find_spec("torch") else [])]


def verify(source: Source, digest: str, formats: Sequence[str] | None = None) -> Verified | None:
    """The content of a model directory, or None when nobody described it.

    Args:
        digest: What model.json must have, if not empty.
        formats: What the model may be of; anything without.

    Raises:
        CannotServe: it is not what it should be.
    """
    text = source.read(MODEL_FILE)
    if text is None:
        return None
    found = _digest(text)
    if digest and found != digest:
        raise CannotServe(
            "DigestMismatch",
            f"{source.uri}/{MODEL_FILE} has the digest {found}, not {digest}: it was"
            " changed after it was registered; restore it, or register the model anew",
        )
    manifest = _manifest(source, text, formats)
    return Verified(manifest, found, _files(source, manifest))


def _plain(settings: Settings, source: Source) -> Model:
    """A model that nobody described: KServe's users bring just an ONNX file."""
    if settings.model_digest:
        raise CannotServe(
            "ModelNotFound",
            f"{source.uri} has no {MODEL_FILE}; check the URI, and that the model is still there",
        )
    names = source.names()
    main = _only([name for name in names if name.endswith(".onnx")], source)
    weights = [name for name in names if name.endswith(WEIGHTS)]
    logger.warning("%s has no %s: its content is not verified", source.uri, MODEL_FILE)
    found = {name: source.read(name) or b"" for name in (main, *weights)}
    engine, signature = onnx_engine.load(settings, found.pop(main), found, None)
    return Model.of(settings, engine, signature, "")


def _manifest(source: Source, text: bytes, formats: Sequence[str] | None) -> ModelManifest:
    try:
        manifest = ModelManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CannotServe(
            "ModelInvalid",
            f"{source.uri}/{MODEL_FILE}: {where}: {first['msg']}; write the model again with"
            " loopwright.train.save_model",
        ) from error
    if formats is not None and manifest.format not in formats:
        raise CannotServe(
            "FormatUnsupported",
            f"the format of {source.uri} is {manifest.format}, and this server serves"
            f" {' and '.join(formats)}; save it as ONNX, or name another serving runtime or image",
        )
    return manifest


def _files(source: Source, manifest: ModelManifest) -> dict[str, bytes]:
    """Verified contents, by path, of all files that model.json lists."""
    contents = {}
    for file in manifest.files:
        content = source.read(file.path)
        if content is None:
            raise CannotServe(
                "ModelNotFound",
                f"{source.uri}/{file.path} is listed in {MODEL_FILE}, but not there; restore it, or"
                " register the model anew",
            )
        if (found := _digest(content)) != file.sha256:
            raise CannotServe(
                "DigestMismatch",
                f"{source.uri}/{file.path} has the digest {found}, not {file.sha256}: it was"
                " changed after training; restore it, or register the model anew",
            )
        contents[file.path] = content
    return contents


def _only(models: list[str], source: Source) -> str:
    """The ONNX file that is the model."""
    if PLAIN_FILE in models:
        return PLAIN_FILE
    if len(models) == 1:
        return models[0]
    raise CannotServe(
        "ModelInvalid" if models else "ModelNotFound",
        f"{source.uri} must have a {PLAIN_FILE}, or one other ONNX file; it has"
        f" {', '.join(models) or 'none'}; check the URI, and that the claim is mounted there",
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
