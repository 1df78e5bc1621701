"""Handwritten digits as compressed JSON lines in S3, and a model that reads them.

Made once for all tests: the model is fitted here, in a fraction of a second, so that no test waits
for a cluster that trains one.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from objects import BUCKET
from pyarrow import fs
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from stored_model import SECRET, StoredModel, store_model, write

KIND = "BatchTransform"
# Each file is a shard, since nobody can begin to read in the middle of what is compressed.
FILES, ROWS = 24, 2000
# Line of a file that is no JSON.
BAD = {2: 1, 9: 777, FILES - 1: ROWS + 1}
END = "jsonl.gz"


@dataclass(frozen=True)
class DigitRows:
    """What lies in S3."""

    uri: str
    model: StoredModel
    labels: dict[int, int]
    """What the model says of each row, by its id."""

    def transform(self, name: str, output: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """A BatchTransform of all rows, which leaves ids and labels."""
        return {
            "apiVersion": "loopwright.io/v1alpha1",
            "kind": KIND,
            "metadata": {"name": name},
            "spec": {
                "model": {"modelRef": {"name": "digits", "version": "v1"}},
                "input": {"uri": f"{self.uri}/in", "format": "jsonl", **SECRET},
                "output": {"compression": "Gzip", **output},
                "dataProcessing": {"joinSource": "Input", "outputFilter": "$['id', 'label']"},
                "errors": {"maxFailedRecords": len(BAD)},
                "retry": {"backoffSeconds": 1},
                **spec,
            },
        }

    def check(self, parts: list[bytes], letters: bytes) -> None:
        """Each row is there once, with its label; bad lines are dead letters, and nothing else."""
        rows = [json.loads(line) for part in parts for line in gzip.decompress(part).splitlines()]
        assert len(rows) == len(self.labels)
        assert dict(rows) == self.labels
        told = [json.loads(line) for line in letters.splitlines()]
        assert {one["reason"] for one in told} == {"Unparsable"}
        assert {(one["file"], one["line"]) for one in told} == {
            (file_name(number), line) for number, line in BAD.items()
        }
        assert len(told) == len(BAD)


def file_name(number: int) -> str:
    """Of a file of rows."""
    return f"rows-{number:02d}.{END}"


def store(storage: fs.S3FileSystem, name: str, credentials: dict[str, str]) -> DigitRows:
    """Puts model and rows into a folder of the bucket."""
    root = f"{BUCKET}/{name}"
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    # One that takes its time for each record, and little space.
    model = SVC().fit(x, y)
    labels = model.predict(x).tolist()
    stored = store_model(storage, f"{root}/model", model, x, "pixels", credentials)
    pixels = [json.dumps(row) for row in x.tolist()]
    for number in range(FILES):
        write(storage, f"{root}/in/{file_name(number)}", _rows(number, pixels))
    known = {n: int(labels[n % len(x)]) for n in range(FILES * ROWS)}
    return DigitRows(f"s3://{root}", stored, known)


def _rows(number: int, pixels: Sequence[str]) -> bytes:
    ids = range(number * ROWS, (number + 1) * ROWS)
    lines = [f'{{"id": {n}, "pixels": {pixels[n % len(pixels)]}}}' for n in ids]
    if number in BAD:
        lines.insert(BAD[number] - 1, '{"id": 1, "pixels": [0.5')
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1, mtime=0)
