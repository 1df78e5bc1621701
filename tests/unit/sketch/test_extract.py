"""What becomes features: columns, categories, embeddings, images, texts, classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drift_worlds import counted

from loopwright.api.baseline import FeatureSource
from loopwright.sketch import Counts, Layout
from loopwright.sketch.extract import Projection, extractor, tokens
from loopwright.train.profile import profile

RNG = np.random.default_rng(0)


def bins(found: Counts, name: str) -> list[int]:
    """Of a feature, by its name."""
    names = [one.name for one in found.layout.features]
    return list(found.layout.bins_of(found.bins))[names.index(name)].tolist()


def texts(*rows: Any) -> Any:
    """An object array, as the model server makes of BYTES."""
    found = np.empty((len(rows), 1), dtype=object)
    found[:, 0] = rows
    return found


def test_categories_of_text() -> None:
    layout = Layout.of(profile(texts(*["red"] * 5, *["blue"] * 3, "green", None)))
    found = counted(layout, texts("blue", "green", "pink", None, 7, "red", math.nan))
    # Red, blue, green, others of the training data, new ones.
    assert found.bins.tolist() == [1, 1, 1, 0, 1]
    assert (found.missing.tolist(), found.invalid.tolist()) == ([2], [1])
    found.check()


def test_rare_categories_are_not_new_ones() -> None:
    names = [f"c{n:03d}" for n in range(200)]
    layout = Layout.of(profile(texts(*names, *names[:64], *["c000"] * 50)))
    found = counted(layout, texts("c000", "c199", "c200"))
    assert found.bins.sum() == 3
    assert found.bins[[0, -2, -1]].tolist() == [1, 1, 1]


def test_too_many_categories_to_know_new_ones() -> None:
    baseline = profile(texts(*(f"c{n}" for n in range(5000))))
    [feature] = baseline.features
    assert not feature.complete
    assert len(feature.rare) == 4096
    assert counted(Layout.of(baseline), texts("new")).bins[[-2, -1]].tolist() == [1, 0]


def test_categories_of_numbers_survive_float32() -> None:
    data = np.array([[0.1], [0.1], [0.7], [3]])
    layout = Layout.of(profile(data, ["code"], categories=["code"]))
    found = counted(layout, np.array([[0.1], [0.7], [0.70001], [4], [math.nan]], dtype=np.float32))
    assert found.bins.tolist() == [1, 1, 0, 0, 2]
    assert found.missing.tolist() == [1]


def test_only_numeric_columns_are_numbers() -> None:
    data = np.empty((4, 2), dtype=object)
    data[:, 0], data[:, 1] = ["a", "b", "a", "b"], [1.0, 2.0, None, 4.0]
    layout = Layout.of(profile(data, ["word", "size"]))
    assert [one.numeric for one in layout.features] == [False, True]
    rows = np.empty((3, 2), dtype=object)
    rows[:, 0], rows[:, 1] = ["a", 1, "c"], ["2", 2, True]
    found = counted(layout, rows)
    assert bins(found, "word") == [1, 0, 0, 1]
    assert (found.invalid.tolist(), found.missing.tolist()) == ([1, 1], [0, 0])
    assert sum(bins(found, "size")) == 2


def test_numbers_where_texts_were_are_of_a_wrong_type() -> None:
    layout = Layout.of(profile(texts("a", "b")))
    found = counted(layout, np.array([[1.0], [math.nan]]))
    assert (found.invalid.tolist(), found.missing.tolist()) == ([1], [1])


def test_directions_do_not_depend_on_the_version_of_numpy() -> None:
    source = FeatureSource(method="Projection", features=3, size=1000, seed=5)
    [found], _ = Projection(source)(np.arange(1000.0)[None] ** 2 / 1e6)
    assert found == pytest.approx([-0.00120728, -0.05309874, 0.03304074], abs=1e-7)


def test_a_shift_of_an_embedding_shows_in_its_directions() -> None:
    data = RNG.normal(size=(400, 300))
    baseline = profile(data)
    assert [one.name for one in baseline.features][:2] == ["norm", "direction0"]
    layout = Layout.of(baseline)
    moved = data + RNG.normal(size=300) * 0.5
    mean = counted(layout, moved).sums[:, 0] / 400
    assert np.abs(counted(layout, data).sums[:, 0] / 400).max() < 1e-6
    assert (np.abs(mean[1:]) > 0.3).sum() >= 4


def test_images_of_both_layouts() -> None:
    images = RNG.uniform(0, 1, size=(50, 3, 20, 20))
    for one in (images, images.transpose(0, 2, 3, 1)):
        layout = Layout.of(profile(one))
        assert [feature.name for feature in layout.features][:3] == [
            "brightness", "contrast", "sharpness",
        ]  # fmt: skip
        brighter = counted(layout, np.minimum(one + 0.5, 1))
        blurred = counted(layout, np.repeat(one[:, :, ::2], 2, axis=2))
        assert brighter.sums[0, 0] / 50 > 3
        assert blurred.sums[0, 0] / 50 < 1
        assert counted(layout, one.astype(np.float32)).bins.sum() == 50 * len(layout)


def test_pictures_in_bytes() -> None:
    images = RNG.integers(0, 256, size=(30, 28, 28), dtype=np.uint8)
    assert counted(Layout.of(profile(images)), images).bins.sum() == 30 * 19


WORDS = ["the pump runs hot", "valve three is stuck again", "no fault was found today"] * 30


def test_texts() -> None:
    baseline = profile(texts(*WORDS), kinds={"": "text"})
    layout = Layout.of(baseline)
    assert layout.features[1].name == "unknown"
    same = counted(layout, texts(*WORDS))
    other = counted(layout, texts(*["der Motor ist zu heiß geworden"] * 90))
    # All words known; none known.
    assert bins(same, "unknown") == [0, 90, 0]
    assert bins(other, "unknown") == [0, 0, 90]
    assert sum(bins(other, "length")[-1:]) == 90


def test_prose_is_text_and_a_few_words_are_categories() -> None:
    prose = texts(*(f"{one}, in case number {n}" for n, one in enumerate(WORDS)))
    assert profile(prose).sources[0].method == "Text"
    assert profile(texts(*WORDS)).sources[0].method == "Columns"


def test_token_ids_of_any_length() -> None:
    rows = [RNG.integers(1, 50, size=(5, n)) for n in (3, 8, 20)]
    padded = np.zeros((15, 20), dtype=np.int64)
    for at, one in enumerate(rows):
        padded[5 * at : 5 * at + 5, : one.shape[1]] = one
    layout = Layout.of(profile(padded, kinds={"": "text"}))
    apart = counted(layout, rows[0]) + counted(layout, rows[1]) + counted(layout, rows[2])
    assert apart.bins.tolist() == counted(layout, padded).bins.tolist()
    assert tokens(np.array([5, 0, 7]))[0] == 2  # type: ignore[index]
    assert tokens(np.array([0.5])) is None


def test_an_empty_text_has_a_length_and_no_words() -> None:
    layout = Layout.of(profile(texts(*WORDS), kinds={"": "text"}))
    found = counted(layout, texts("", "!?", 5, None))
    assert found.missing.tolist() == [0, *[2] * 9]
    assert found.invalid.tolist() == [2] * 10
    found.check()


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])


def test_probabilities_give_class_and_confidence() -> None:
    layout = Layout.of(profile(np.ones((3, 1)), outputs={"p": PROBABILITIES}))
    assert [one.name for one in layout.features] == ["f0", "p.class", "p.confidence"]
    rows = np.array([[0.0, 1.0, 0.0], [math.nan, 0.5, 0.5]], dtype=np.float32)
    found = counted(layout, {"": np.ones((2, 1))}, {"p": rows})
    assert bins(found, "p.class") == [0, 1, 0, 0, 0]
    assert bins(found, "p.confidence")[-1] == 1
    assert found.missing.tolist() == [0, 1, 1]


def test_logits_give_the_same() -> None:
    for table in (PROBABILITIES, PROBABILITIES[:, :1]):
        kind: Any = "probabilities"
        plain = profile(np.ones((3, 1)), outputs={"p": table}, kinds={"p": kind})
        logits = np.log(table) if table.shape[1] > 1 else np.log(table / (1 - table))
        told = profile(np.ones((3, 1)), outputs={"p": logits}, kinds={"p": "logits"})
        one, other = plain.predictions, told.predictions
        assert one[0].counts == other[0].counts
        assert one[1].mean == pytest.approx(other[1].mean)


def test_labels_and_values() -> None:
    outputs = {"label": np.array(["a", "b", "a"]), "n": np.array([1, 2, 1]), "y": np.ones((3, 2))}
    predictions = profile(np.ones((3, 1)), outputs=outputs).predictions
    assert [(one.name, one.kind) for one in predictions] == [
        ("label", "Categorical"), ("n", "Categorical"), ("y.0", "Numeric"), ("y.1", "Numeric"),
    ]  # fmt: skip
    assert predictions[1].categories == [1, 2]


def test_a_method_of_the_future_has_no_extractor() -> None:
    assert extractor(FeatureSource(method="Wavelets", features=1), {}) is None
