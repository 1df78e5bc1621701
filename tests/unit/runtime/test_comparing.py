"""Inputs against the baseline of a model: real profiles, real counts, real verdicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_folders import linear, write

from loopwright.api import names
from loopwright.api.baseline import Baseline
from loopwright.api.trainingjob import Input
from loopwright.api.validation import InputBaseline, ValidationResult
from loopwright.runtime import checking
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.train.profile import profile

pytestmark = pytest.mark.timeout(60)

SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
}
COUNTRIES = np.array(["DE", "FR", "PL"], dtype=object)
WORDS = np.array("the of model data rows quick brown fox jumps over lazy dogs".split())


def people(rows: int, seed: int, *, shift: float = 0.0) -> pd.DataFrame:
    """A table with numbers, categories and gaps."""
    chance = np.random.default_rng(seed)
    age = chance.normal(40 + shift, 10, rows)
    age[chance.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "visits": chance.integers(0, 30, rows),
            "country": chance.choice(COUNTRIES, rows, p=[0.6, 0.3, 0.1]),
            "member": chance.random(rows) < 0.3,
        }
    )


class Place:
    """A claim with a model and an input."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, root / "in"
        self.data.mkdir()
        self.digest = ""

    def model(self, baseline: Baseline | None) -> Place:
        """The model that the input is compared with."""
        self.digest = write(self.root / "model", linear(), signature=SIGNATURE, baseline=baseline)
        return self

    def check(self, drift: dict[str, Any] | None = None, **more: Any) -> ValidationResult:
        """What the checks find."""
        ref = {"modelVersionRef": {"name": "m-v1"}}
        drifting = {} if drift is None else {"drift": drift}
        asked = {"name": "rows", "source": {"uri": "pvc://c/in"},
                 "validation": {"baselineRef": ref, **drifting, **more}}  # fmt: skip
        model = InputBaseline(
            name="rows", uri="pvc://c/model", digest=self.digest, model_version="m-v1"
        )
        reports = Folder("pvc://c/quality")
        return checking.check(Input.model_validate(asked), self.data, reports, model)

    def refused(self) -> str:
        """Why nothing can be compared."""
        with pytest.raises(RunError) as caught:
            self.check()
        assert caught.value.permanent
        assert "\n" not in caught.value.message
        return f"{caught.value.reason}: {caught.value.message}"

    def report(self) -> tuple[dict[str, Any], str]:
        """As JSON, and as a page."""
        folder = self.root / "quality"
        return json.loads((folder / "rows.json").read_text()), (folder / "rows.html").read_text()

    def failed(self) -> list[str]:
        """Columns of failed checks."""
        return [one["column"] for one in self.report()[0]["checks"] if not one["passed"]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "c").mkdir()
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    return Place(tmp_path / "c")


def put(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """A file of the format that its ending says."""
    if name.endswith(".csv"):
        frame.to_csv(folder / name, index=False, quoting=csv.QUOTE_MINIMAL)
    elif name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / name)
    else:
        (folder / name).write_text(frame.to_json(orient="records", lines=True))


FILES = pytest.mark.parametrize("file", ["a.csv", "a.jsonl", "a.parquet"])


@FILES
def test_data_as_in_training_passes(place: Place, file: str) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, file, people(3000, 2).assign(label=1, name="nobody"))
    result = place.check()
    assert result.passed, result.message
    # One of each feature, that lines can be read, and that there are enough rows.
    assert (result.rows, result.checks) == (3000, 6)
    told, page = place.report()
    [age] = [one for one in told["checks"] if one["column"] == "age"]
    assert age["check"] == "is as in the baseline of m-v1" and age["total"] == 3000
    assert page.count("<figure>") == 4 and "Compared with the baseline of m-v1" in page
    assert "Columns</h2>" not in page  # Of which nothing was asked.


@FILES
def test_a_shift_fails_and_is_shown(place: Place, file: str) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, file, people(3000, 2, shift=15))
    result = place.check()
    assert not result.passed and result.failed == 1
    assert "'age is as in the baseline of m-v1' fails: distance by JS 0." in result.message
    assert "limit 0.1" in result.message
    page = place.report()[1]
    assert page.count("<figure class='bad'>") == 1 and "distance by JS" in page


def test_limits_and_features_can_be_set(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.parquet", people(3000, 2, shift=15))
    assert not place.check({"threshold": "0.2"}).passed
    assert place.check({"features": [{"name": "age", "threshold": "0.9"}]}).passed
    ignored = place.check({"features": [{"name": "age", "ignore": True}]})
    assert (ignored.passed, ignored.checks) == (True, 5)


def test_new_categories_gaps_and_wrong_types_fail(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    rows = people(3000, 2)
    rows.loc[:300, "country"] = "XX"
    rows["visits"] = rows["visits"].astype(object)
    rows.loc[:300, "visits"] = "many"
    rows.loc[:900, "age"] = np.nan
    put(place.data, "a.csv", rows)
    result = place.check()
    assert sorted(place.failed()) == ["age", "country", "visits"]
    assert "missing values, limit 2.0% more than in training" in result.message
    assert "values of new categories" in result.message
    assert "values of a wrong type" in result.message


def test_fields_of_csv_that_are_no_numbers(place: Place) -> None:
    """Spaces do not matter, empty ones and nan are missing, whatever else is in the block."""
    chance = np.random.default_rng(1)
    place.model(profile({"a": chance.normal(size=2000), "b": chance.normal(size=2000)}))
    lines = [f" {a:.3f},{b:.3f} " for a, b in chance.normal(size=(800, 2))]
    odd = [",1", "nan,", "NaN,1"] * 30
    for more in ([], ["text,1"] * 5):
        (place.data / "a.csv").write_text("\n".join(["a,b", *lines, *odd, *more]))
        result = place.check()
        assert "a" in place.failed()
        assert f"{90 / result.rows:.1%} missing values" in result.message


def test_features_that_the_data_lacks_fail(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.csv", people(3000, 2).drop(columns=["age", "country"]))
    result = place.check()
    assert sorted(place.failed()) == ["age", "country"]
    assert "'age is there' fails for 3000 of 3000" in result.message
    # One that is ignored may be missing.
    drift = {"features": [{"name": one, "ignore": True} for one in ("age", "country")]}
    assert place.check(drift).passed


def test_a_feature_that_some_files_lack_is_missing_there(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.csv", people(3000, 2))
    put(place.data, "b.csv", people(1000, 3).drop(columns=["visits"]))
    result = place.check()
    assert place.failed() == ["visits"]
    assert "25.0% missing values" in result.message


def test_few_rows_fail_a_check_of_their_own(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.csv", people(100, 2))
    result = place.check()
    assert (result.passed, result.failed) == (False, 1)
    assert "at least 500 rows to compare with the baseline of m-v1' fails for 400" in result.message
    assert place.check({"minSamples": 100}).passed


@FILES
def test_files_without_rows_fail(place: Place, file: str) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, file, people(5000, 2)[:0])
    result = place.check()
    assert (result.passed, result.rows) == (False, 0)
    assert "at least 500 rows to compare" in result.message


def test_one_input_of_many_features(place: Place) -> None:
    """They are f0, f1 and so on, or named; rows may also be one column, named as the input."""
    chance = np.random.default_rng(1)
    rows, new = chance.normal(size=(5000, 3)), chance.normal(size=(3000, 3))
    place.model(profile(rows, ["a", "b", "c"]))
    put(place.data, "a.csv", pd.DataFrame(new, columns=list("abc")))
    assert place.check().passed
    put(place.data, "a.csv", pd.DataFrame(new + np.array([0, 2, 0]), columns=list("cab")))
    assert not place.check().passed and place.failed() == ["a"]
    (place.data / "a.csv").unlink()
    put(place.data, "a.parquet", pd.DataFrame({"x": list(new)}))
    assert place.check().passed
    put(place.data, "a.parquet", pd.DataFrame({"x": list(new + np.array([0, 0, 2]))}))
    assert not place.check().passed and place.failed() == ["c"]
    put(place.data, "a.parquet", pd.DataFrame({"x": list(chance.normal(size=(3000, 2)))}))
    result = place.check()
    assert not result.passed
    assert "each row has the form of the model's inputs' fails: 100.0% rows" in result.message


def test_texts_and_embeddings(place: Place) -> None:
    def made(rows: int, seed: int, words: np.ndarray, shift: float = 0.0) -> dict[str, Any]:
        chance = np.random.default_rng(seed)
        texts = [" ".join(chance.choice(words, 8)) for _ in range(rows)]
        return {"text": np.array(texts, dtype=object)[:, None],
                "vector": chance.normal(shift, 1, size=(rows, 300))}  # fmt: skip

    def store(found: dict[str, Any]) -> None:
        columns = {"text": found["text"][:, 0], "vector": list(found["vector"])}
        put(place.data, "a.parquet", pd.DataFrame(columns))

    place.model(profile(made(2000, 1, WORDS)))
    store(made(1000, 2, WORDS))
    assert place.check().passed, place.failed()
    store(made(1000, 3, np.array([f"{word}x" for word in WORDS]), shift=1.0))
    assert not place.check().passed
    assert {"text.unknown", "vector.norm"} <= set(place.failed())
    put(place.data, "a.parquet", pd.DataFrame({"text": made(1000, 2, WORDS)["text"][:, 0]}))
    assert "'vector is there' fails" in place.check().message


def test_other_checks_are_made_as_well(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.csv", people(3000, 2))
    result = place.check(expectations=[{"column": "visits", "max": "5"}], minRows=9000)
    assert not result.passed and result.failed == 2


def test_without_a_baseline(place: Place) -> None:
    put(place.data, "a.csv", people(600, 2))
    reason = place.model(None).refused()
    assert reason.startswith("NoBaseline: input 'rows': m-v1 has no baseline profile; ")
    assert "baseline=rows" in reason


def test_none_of_the_columns(place: Place) -> None:
    place.model(profile(people(5000, 1)))
    put(place.data, "a.csv", pd.DataFrame({"other": range(600)}))
    assert place.refused() == (
        "DataInvalid: input 'rows' has no column of the baseline of m-v1: age, visits, country,"
        " member; name columns as the model's features are named"
    )


def test_models_that_cannot_be_trusted(place: Place) -> None:
    put(place.data, "a.csv", people(600, 2))
    place.model(profile(people(5000, 1)))
    file = place.root / "model" / "model.json"
    content = file.read_text()
    file.write_text(content + " ")
    assert place.refused().startswith("DigestMismatch: input 'rows': pvc://c/model/model.json has")
    file.unlink()
    assert place.refused().startswith("ModelNotFound: input 'rows': there is no pvc://c/model/")
    broken = profile(people(5000, 1))
    broken.features[0].counts[0] += 1
    assert place.model(broken).refused().startswith("BaselineInvalid: input 'rows': the baseline")
