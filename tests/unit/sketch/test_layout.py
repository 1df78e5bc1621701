"""Profiles become layouts, those of older versions too; bad ones are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted, normal, table

from loopwright.api.model import Baseline, ModelManifest
from loopwright.sketch import Layout
from loopwright.sketch.extract import CLASS, COLUMNS, IMAGE, PROJECTION
from loopwright.train.profile import profile

# As `profile` wrote it before edges lay between values.
OLD = {
    "features": [
        {"name": "share", "edges": [0.2, 0.7], "counts": [10, 30, 60], "count": 100, "missing": 0,
         "mean": 0.6, "std": 0.2, "min": 0.1, "max": 0.9},
        {"name": "constant", "edges": [7.0], "counts": [0, 100], "count": 100, "missing": 0,
         "mean": 7.0, "std": 0.0, "min": 7.0, "max": 7.0},
        {"name": "nothing", "edges": [], "counts": [0], "count": 0, "missing": 100},
    ],
    "rows": 100,
}  # fmt: skip


def test_a_profile_of_the_first_version() -> None:
    layout = Layout.of(Baseline.model_validate(OLD))
    assert layout.bins.tolist() == [5, 4, 1]
    # In float32 0.7 is less than in float64.
    rows = np.array([[0.7, 7.0, 1.0], [0.1, 7.0, 1.0], [0.9, 8.0, 1.0]], dtype=np.float32)
    assert counted(layout, rows).bins.tolist() == [0, 1, 0, 2, 0, 0, 0, 2, 1, 3]


def test_profiles_survive_json() -> None:
    words = np.array([["a"], ["b"], ["a"]], dtype=object)
    for baseline in (normal(100, 3)[1], profile({"n": np.ones((3, 1)), "w": words})):
        again = Baseline.model_validate_json(json.dumps(baseline.wire()))
        assert again == baseline
        assert Layout.of(again) == Layout.of(baseline)
        assert hash(Layout.of(again)) == hash(Layout.of(baseline))


def test_layouts_are_equal_when_bins_are() -> None:
    data, baseline = normal(100, 2)
    layout = Layout.of(baseline)
    assert layout == Layout.of(profile(data))
    assert layout != Layout.of(profile(data, ["a", "b"]))
    assert layout != Layout.of(profile(data[:50]))
    assert layout != object()


def test_an_older_reader_finds_what_it_needs() -> None:
    words = np.array([["a"], ["b"], ["a"]], dtype=object)
    told = profile({"n": np.ones((3, 1)), "w": words}, outputs={"y": np.ones(3)}).wire()
    for one in told["features"]:
        assert {"name", "edges", "counts", "count", "missing"} <= one.keys()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"counts": [1, 2]}, "2 counts for 3 bins"),
        ({"counts": [10, 30, 61]}, "make no 100 values"),
        ({"counts": [-10, 50, 60]}, "make no 100 values"),
        ({"missing": -1}, "make no 100 values"),
        ({"missing": 2**60}, "make no 100 values"),
        ({"edges": [0.7, 0.2]}, "do not increase"),
        ({"edges": [0.2, float("nan")]}, "do not increase"),
        ({"max": 0.0}, "ranges from"),
        ({"min": float("-inf")}, "ranges from"),
        ({"kind": "Categorical", "edges": [], "categories": ["a", 1]}, "texts and numbers"),
        ({"kind": "Categorical", "edges": [], "categories": ["a", "a"]}, "twice"),
        ({"kind": "Categorical", "edges": [], "categories": [1, float("inf")]}, "not finite"),
        ({"kind": "Categorical", "edges": [], "categories": [1, 10**400]}, "not finite"),
    ],
)
def test_contradictions_are_told(change: dict[str, Any], what: str) -> None:
    told = {**OLD, "features": [{**OLD["features"][0], **change}]}  # type: ignore[dict-item, index]
    baseline = Baseline.model_validate(told)
    with pytest.raises(ValueError, match=what):
        Layout.of(baseline)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ({"method": COLUMNS, "features": 1, "size": 2}, "does not make 1 features"),
        ({"method": COLUMNS, "features": 2, "size": 2}, "not those that the sources make"),
        ({"method": IMAGE, "features": 1, "size": 9}, "does not make 1 features"),
        ({"method": PROJECTION, "features": 1}, "how many values"),
    ],
)
def test_sources_must_fit(source: dict[str, Any], what: str) -> None:
    told = {**OLD, "features": OLD["features"][:1], "sources": [source]}  # type: ignore[index]
    with pytest.raises(ValueError, match=what):
        Layout.of(Baseline.model_validate(told))


def test_too_many_directions_are_refused() -> None:
    features = [{**OLD["features"][2], "name": str(one)} for one in range(2000)]  # type: ignore[index]
    source = {"method": PROJECTION, "features": 2000, "size": 2**30}
    told = {"features": features, "sources": [source], "rows": 1}
    with pytest.raises(ValueError, match="does not make 2000"):
        Layout.of(Baseline.model_validate(told))


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="of version 3"):
        Layout.of(Baseline.model_validate({**OLD, "version": 3}))


@pytest.mark.parametrize("what", [{"method": "Wavelets"}, {"method": CLASS}])
def test_methods_that_are_not_known_count_nothing(what: dict[str, Any]) -> None:
    source = {"features": 1, **what}
    told = {**OLD, "features": OLD["features"][:1], "sources": [source]}  # type: ignore[index]
    layout = Layout.of(Baseline.model_validate(told))
    found = counted(layout, np.ones((3, 1)))
    assert found.rows.tolist() == [0]
    assert found.bins.sum() == 0


def test_kinds_that_are_not_known_count_nothing() -> None:
    told = {**OLD, "features": [{**OLD["features"][0], "kind": "Circular"}]}  # type: ignore[index, dict-item]
    assert counted(Layout.of(Baseline.model_validate(told)), table([1])).rows.tolist() == [0]


def test_a_model_with_a_bad_profile_can_still_be_read() -> None:
    told = {**OLD["features"][0], "counts": [1], "mean": float("inf")}  # type: ignore[index, dict-item]
    manifest = {
        "format": "onnx", "created": "2026-11-24T10:00:00Z", "files": [],
        "baseline": {"features": [told], "rows": 1},
        "lineage": {"job": "a/b", "uid": "u", "attempt": 1, "image": "i"},
    }  # fmt: skip
    found = ModelManifest.model_validate_json(json.dumps(manifest))
    assert found.baseline is not None


def test_an_empty_baseline() -> None:
    layout = Layout.of(Baseline(features=[], rows=0))
    assert (len(layout), layout.total_bins) == (0, 0)
    assert counted(layout, np.ones((3, 1))).most_rows == 0
    assert layout.matrix(np.zeros(0)).shape == (0, 0)
