"""scikit-learn from fitting to serving: saved, published and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from loopwright import train
from loopwright.api import names
from loopwright.api.runconfig import RunConfig
from loopwright.runtime.modeldir import publish
from loopwright.serving.app import App
from loopwright.serving.loading import load
from loopwright.serving.service import Service
from loopwright.serving.settings import Settings

X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X.sum(axis=1) > 0).astype(int)
WORDS = np.array(["no", "yes"])[Y]
CONFIG = RunConfig.model_validate(
    {
        "name": "fit", "namespace": "team", "uid": "u", "image": "i",
        "outputUri": "pvc://models/fit", "checkpointUri": "pvc://models/fit/checkpoints",
        "spec": {"function": "a:b"},
    }
)  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calling: Any) -> Any:
    """Saves an estimator as a job does, publishes it, and serves what is there then."""
    monkeypatch.setenv("SM_MODEL_DIR", str(tmp_path / "left"))
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    services = []

    def save(model: BaseEstimator, examples: Any, **options: Any) -> Any:
        folder = train.save_model(model, examples, **options)
        published = publish(CONFIG, folder, [], [])
        assert published is not None
        artifacts = published.artifacts
        settings = Settings(
            model_name="m", model_uri=artifacts.model_uri, model_digest=artifacts.digest
        )
        services.append(Service.of(settings, load(settings)))
        return services[-1]

    yield save
    for service in services:
        service.direct.close()


async def predicted(service: Any, rows: Any) -> Any:
    """What v1 answers."""
    import httpx

    transport = httpx.ASGITransport(App(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as client:
        answer = await client.post("/v1/models/m:predict", json={"instances": rows})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


@pytest.mark.parametrize("labels", [Y, WORDS])
@pytest.mark.parametrize(
    "model", [make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(5)]
)
async def test_classifiers(saved: Any, model: Any, labels: Any) -> None:
    model.fit(X, labels)
    service = saved(model, X, baseline=X)
    assert await predicted(service, X[:20].tolist()) == model.predict(X[:20]).tolist()
    assert list(service.model.signature.outputs) == ["label", "probabilities"]
    rows = {"input": X[:20].astype(np.float32)}
    [probabilities] = service.model.run(rows, ["probabilities"])
    assert np.allclose(probabilities, model.predict_proba(X[:20]), atol=1e-3)


@pytest.mark.parametrize("target", [X.sum(axis=1), X[:, :2]])
async def test_regressors(saved: Any, target: Any) -> None:
    model = LinearRegression().fit(X, target)
    service = saved(model, X, input_names=["features"])
    assert list(service.model.signature.inputs) == ["features"]
    assert service.model.signature.batched
    found = np.array(await predicted(service, X[:5].tolist()))
    assert found.shape == target[:5].shape
    assert np.allclose(found, target[:5], atol=1e-3)


async def test_text(saved: Any) -> None:
    colours = np.array([["red"], ["blue"]] * 10)
    model = make_pipeline(OrdinalEncoder(), LogisticRegression())
    model.fit(colours, [1, 0] * 10)
    assert await predicted(saved(model, colours), [["blue"], ["red"]]) == [0, 1]


async def test_clusters(saved: Any) -> None:
    model = KMeans(2, n_init=1).fit(X)
    service = saved(model, X)
    assert await predicted(service, X[:20].tolist()) == model.predict(X[:20]).tolist()
    assert list(service.model.signature.outputs) == ["label", "scores"]


async def test_data_frames(saved: Any) -> None:
    frame = pd.DataFrame({"age": [20.5, 30, 40, 50], "kind": ["a", "b", "a", "b"]})
    columns = ColumnTransformer(
        [("age", StandardScaler(), ["age"]), ("kind", OneHotEncoder(), ["kind"])]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1])
    service = saved(model, frame)
    assert str(service.model.signature) == "age FP64 of shape [-1,1], kind BYTES of shape [-1,1]"
    rows = frame.to_dict("records")
    assert await predicted(service, rows) == model.predict(frame).tolist()
    rows = [{"age": [20.5], "kind": ["a"]}]
    assert await predicted(service, rows) == [0]
