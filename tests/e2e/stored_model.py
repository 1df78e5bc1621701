"""Models in S3 that were fitted here in a moment, so that no test waits for a cluster to train."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from model_folders import describe
from pyarrow import fs
from space import Space

from loopwright.train.estimator import export_estimator
from loopwright.train.profile import profile

SECRET = {"secretRef": {"name": "s3-credentials"}}


class Estimator(Protocol):
    """What scikit-learn has fitted."""

    def predict(self, x: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class StoredModel:
    """A model directory in S3."""

    uri: str
    digest: str
    signature: dict[str, Any]
    credentials: dict[str, str]

    def introduce(self, space: Space, versions: Sequence[str] = ("v1",), **aliases: str) -> None:
        """Tells a namespace of versions of the model digits, and who may read them.

        Args:
            versions: All have these files.
            aliases: Besides `live`, which is v1.
        """
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
        model = _object("Model", "digits", {"aliases": {"live": "v1", **aliases}})
        spec = {
            "modelRef": {"name": "digits"}, "uri": self.uri, "digest": self.digest,
            "format": "onnx", "signature": self.signature, **SECRET,
        }  # fmt: skip
        space.apply(
            {**secret, "stringData": self.credentials},
            model,
            *(
                _object("ModelVersion", f"digits-{one}", {**spec, "version": one})
                for one in versions
            ),
        )


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return {**head, "spec": spec}


def store_model(
    storage: fs.S3FileSystem, folder: str, model: Estimator, x: np.ndarray, tensor: str,
    credentials: dict[str, str],
) -> StoredModel:  # fmt: skip
    """Puts a model directory into a folder, whose name begins with the bucket's."""
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch)
        told = export_estimator(model, x, local / "model.onnx", tensor)
        known = profile({tensor: x}, outputs={"label": model.predict(x)})
        digest = describe(local, signature=told.wire(), baseline=known)
        for file in local.iterdir():
            write(storage, f"{folder}/{file.name}", file.read_bytes())
    return StoredModel(f"s3://{folder}", digest, told.wire(), credentials)


def write(storage: fs.S3FileSystem, path: str, content: bytes) -> None:
    """A file of these bytes as they are: what ends with .gz would be compressed once more."""
    with storage.open_output_stream(path, compression=None) as stream:
        stream.write(content)
