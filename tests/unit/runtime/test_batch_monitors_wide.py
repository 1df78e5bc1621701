"""Monitors of batches whose records have no columns: images, texts and embeddings."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from batches import World, world
from model_folders import same, write
from onnx import TensorProto
from PIL import Image

from loopwright.api.batch_report import BatchReport
from loopwright.api.report import RunState
from loopwright.train.profile import Kind, profile

pytestmark = pytest.mark.timeout(60)

DRIFT = {"name": "drift", "kind": "DataDrift", "minSamples": 100, "driftShare": "0"}
WORDS = ("the model was trained on these words and not on any others that there may be").split()
ROWS = 200


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return world(tmp_path, monkeypatch)


def serve(batch: World, kind: Kind, element: int, rows: np.ndarray) -> None:
    """Stores a model that was trained on rows of shape (rows, ...)."""
    content = same(element, ["batch", *rows.shape[1:]])
    batch.digest = write(
        batch.root / "model", content, baseline=profile({"x": rows}, kinds={"x": kind})
    )


def judged(batch: World, format: str) -> tuple[str, set[str], BatchReport]:
    """The verdict, and features that drifted."""
    report = batch.run(batch.config(format, monitors=[DRIFT]))
    assert report.state is RunState.SUCCEEDED, report
    [one] = report.monitors
    assert one.samples == ROWS
    return str(one.state), {each.feature for each in one.violations}, report


def pixels(seed: int, light: float = 1.0) -> np.ndarray:
    """Grey images of shape (rows, 1, 16, 17), from 0 to 1."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.3, 0.7, (ROWS, 1, 1, 1))
    return np.asarray(light * np.clip(base + rng.normal(0, 0.1, (ROWS, 1, 16, 17)), 0, 1), "f4")


@pytest.mark.parametrize(("light", "state"), [(1.0, "OK"), (0.4, "Violated")])
def test_images_that_are_darker(batch: World, light: float, state: str) -> None:
    serve(batch, "image", TensorProto.FLOAT, np.concatenate([pixels(n) for n in range(5)]))
    for number, image in enumerate(pixels(9, light)):
        buffer = io.BytesIO()
        Image.fromarray(np.uint8(255 * image[0]), "L").save(buffer, "PNG")
        batch.write(f"{number:03}.png", buffer.getvalue())
    found, drifted, _ = judged(batch, "images")
    assert found == state
    assert ("brightness" in drifted) == (state == "Violated")


def texts(seed: int, unknown: float = 0.0) -> list[str]:
    """Sentences of known words, and a share of words that were never seen."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(
            f"word{rng.integers(10**6)}" if rng.random() < unknown else str(rng.choice(WORDS))
            for _ in range(rng.integers(5, 15))
        )
        for _ in range(ROWS)
    ]


@pytest.mark.parametrize(("unknown", "state"), [(0.0, "OK"), (0.5, "Violated")])
def test_texts_of_other_words(batch: World, unknown: float, state: str) -> None:
    known = np.array([one for n in range(5) for one in texts(n)], object)
    serve(batch, "text", TensorProto.STRING, known)
    batch.write("a.txt", "".join(f"{one}\n" for one in texts(9, unknown)))
    found, drifted, _ = judged(batch, "text")
    assert found == state
    assert ("unknown" in drifted) == (state == "Violated")


def embeddings(seed: int, shift: float = 0.0) -> np.ndarray:
    """Rows of 300 numbers, moved along one direction."""
    rng = np.random.default_rng(seed)
    way = np.random.default_rng(0).normal(size=300)
    return np.asarray(rng.normal(size=(ROWS, 300)) + shift * way, "f4")


@pytest.mark.parametrize(("shift", "state"), [(0.0, "OK"), (1.0, "Violated")])
def test_embeddings_that_moved(batch: World, shift: float, state: str) -> None:
    serve(batch, "embedding", TensorProto.FLOAT, np.concatenate([embeddings(n) for n in range(5)]))
    lines = [json.dumps({"x": row}) for row in embeddings(9, shift).tolist()]
    batch.write("a.jsonl", "\n".join(lines))
    found, drifted, report = judged(batch, "jsonl")
    assert found == state
    assert bool(drifted) == (state == "Violated")
    # The page shows each direction that drifted, the status the worst of them.
    page = (batch.root / "out" / "_drift" / "report.html").read_text()
    assert page.count("<figure class='bad'>") >= len(drifted), report
