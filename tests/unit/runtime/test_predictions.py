"""A saved model's baseline has a profile of what it predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_torch
import numpy as np
import pandas
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from loopwright import train
from loopwright.api.model import Baseline, Signature
from loopwright.sketch import Layout, Sketch
from loopwright.train import predictions
from loopwright.train.model import NOTES
from loopwright.train.profile import profile

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
Y = (X.sum(axis=1) > 0).astype(int)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are saved."""
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path))
    return tmp_path


def baseline(folder: Path) -> Baseline:
    """Of the model that was saved."""
    return Baseline.model_validate(json.loads((folder / NOTES).read_text())["baseline"])


def test_a_classifier(folder: Path) -> None:
    model = LogisticRegression().fit(X, Y)
    train.save_model(model, X, baseline=X, feature_names=["a", "b", "c", "d"])
    found = baseline(folder)
    assert [one.name for one in found.features] == ["a", "b", "c", "d"]
    assert found.sources[0].tensor == "input"
    assert [one.name for one in found.predictions] == [
        "label", "probabilities.class", "probabilities.confidence",
    ]  # fmt: skip
    label, same, confidence = found.predictions
    assert sorted(label.counts) == sorted(same.counts)
    assert confidence.min is not None
    assert confidence.min >= 0.5


def test_a_regressor_of_a_data_frame(folder: Path) -> None:
    frame = pandas.DataFrame(X, columns=list("abcd"))
    scaler = ColumnTransformer([("scaled", StandardScaler(), list("abcd"))])
    model = make_pipeline(scaler, LinearRegression()).fit(frame, X.sum(axis=1))
    train.save_model(model, frame, baseline=frame)
    found = baseline(folder)
    assert [one.tensor for one in found.sources] == list("abcd")
    [output] = found.predictions
    assert output.name == "output"
    assert output.mean == pytest.approx(X.sum(axis=1).mean())
    # The server gives as many inputs.
    sketch = Sketch(Layout.of(found))
    sketch.add({name: X[:5, at : at + 1] for at, name in enumerate("abcd")}, {"output": X[:5, 0]})
    assert sketch.snapshot().counts.rows.tolist() == [5] * 5


class Network:
    """A torch module in a fake torch: two classes of a picture."""

    def __call__(self, pictures: Any) -> Any:
        assert pictures.shape[1:] == (2, 2)
        flat = pictures.numpy().reshape(-1, 4)
        assert flat.dtype == np.float32
        return fake_torch.Tensor(np.stack([flat.sum(axis=1), -flat.sum(axis=1)], axis=1))


SIGNATURE = Signature.model_validate({
    "inputs": [{"name": "picture", "dtype": "float32", "shape": [-1, 2, 2]}],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 2]}],
})  # fmt: skip


def test_a_network_predicts_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch.installed(monkeypatch)
    found = predictions.predict(Network(), X, SIGNATURE)
    assert found["logits"][:, 0] == pytest.approx(X.sum(axis=1), abs=1e-5)
    named = predictions.predict(Network(), {"picture": X.reshape(-1, 2, 2)}, SIGNATURE)
    np.testing.assert_array_equal(named["logits"], found["logits"])


def test_only_some_rows_are_predicted() -> None:
    model = LogisticRegression().fit(X, Y)
    signature = Signature.model_validate({
        "inputs": [{"name": "input", "dtype": "float32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "dtype": "int64", "shape": [-1]},
                    {"name": "scores", "dtype": "float32", "shape": [-1]}],
    })  # fmt: skip
    for rows in (np.repeat(X, 100, axis=0), pandas.DataFrame(np.repeat(X, 100, axis=0))):
        found = predictions.predict(model, rows, signature)
        assert {name: len(one) for name, one in found.items()} == {"label": 10_000}


def test_rows_that_the_model_cannot_take_have_no_predictions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = LogisticRegression().fit(X, Y)
    train.save_model(model, X, baseline=np.ones((10, 9)))
    assert len(baseline(folder).features) == 9
    assert baseline(folder).predictions == []
    assert "the baseline has no predictions" in capsys.readouterr().out


def test_a_profile_may_be_made_already(folder: Path) -> None:
    made = profile(X, list("abcd"), outputs={"score": X[:, 0]})
    train.save_model(LogisticRegression().fit(X, Y), X, baseline=made)
    assert baseline(folder) == made


def test_columns_of_an_array_belong_to_the_inputs_of_a_data_frame(folder: Path) -> None:
    frame = pandas.DataFrame(X, columns=list("abcd"))
    scaler = ColumnTransformer([("scaled", StandardScaler(), list("abcd"))])
    model = make_pipeline(scaler, LinearRegression()).fit(frame, X.sum(axis=1))
    train.save_model(model, frame, baseline=X)
    assert [(one.tensor, one.features) for one in baseline(folder).sources] == [
        (name, 1) for name in "abcd"
    ]


def test_what_tensors_hold_can_be_said(folder: Path) -> None:
    model = LogisticRegression().fit(X, Y)
    rows = np.column_stack([X, Y])
    model = LogisticRegression().fit(rows, Y)
    train.save_model(
        model, rows, baseline=rows, feature_names=list("abcde"), categories=["e"],
        kinds={"probabilities": "values"},
    )  # fmt: skip
    found = baseline(folder)
    assert [one.kind for one in found.features][-2:] == ["Numeric", "Categorical"]
    assert [one.name for one in found.predictions] == [
        "label", "probabilities.0", "probabilities.1",
    ]  # fmt: skip
