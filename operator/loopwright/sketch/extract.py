"""From the rows of a tensor to the numbers that are counted.

A table's columns are features themselves. Of wide rows (embeddings, images, texts) a few simple
statistics and projections to random directions are features instead: a shift of the distribution in
any direction that is not rare shows in those (Johnson and Lindenstrauss; sparse directions after
Li, Hastie and Church, "Very sparse random projections", KDD 2006).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loopwright.api.baseline import FeatureSource
from loopwright.sketch.binning import Array, Floats, Integers
from loopwright.sketch.categories import Encoder, as_numbers, text_hash

Extracted = tuple[Array, Integers | None]
"""Numbers of shape (rows, features), NaN where there are none; and of each feature how many values
were of a wrong type, if any can be."""

COLUMNS: Final = "Columns"
PROJECTION: Final = "Projection"
NORM: Final = "Norm"
IMAGE: Final = "Image"
TEXT: Final = "Text"
CLASS: Final = "Class"
CONFIDENCE: Final = "Confidence"

IMAGE_FEATURES: Final = ("brightness", "contrast", "sharpness")
TOPICS: Final = 8
TEXT_FEATURES: Final = ("length", "unknown", *(f"topic{n}" for n in range(TOPICS)))
DIRECTIONS: Final = 16
# How many features a method makes; others make as many as they are told.
FEATURES: Final = {NORM: 1, IMAGE: len(IMAGE_FEATURES), TEXT: len(TEXT_FEATURES), CLASS: 1,
                   CONFIDENCE: 1}  # fmt: skip
MAX_DIRECTIONS: Final = 64
# Of the coordinates of a row, how many a direction has at least; of short rows there are all.
_COORDINATES: Final = 256
_MAX_COORDINATES: Final = 2048
# Pixels of an image that are looked at, and characters of a text.
_PIXELS: Final = 4096
_CHARACTERS: Final = 1024
# Rows that are gathered from at once, so that what is gathered stays in the cache.
_ROWS: Final = 64
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True)
class Extractor:
    """How a source's features are computed."""

    compute: Callable[[Array], Extracted]
    eager: bool = False
    """At once, because rows of several requests may differ in shape, or hold long texts."""


def extractor(source: FeatureSource, encoders: Mapping[int, Encoder]) -> Extractor | None:
    """What computes a source's features; None of a method that is not known.

    Args:
        source: From the profile.
        encoders: Of its categorical features, by place.
    """
    if source.method == COLUMNS:
        # Texts are kept as codes, which are bounded.
        eager = any(one.text for one in encoders.values())
        return Extractor(Columns(source.features, encoders), eager)
    if source.method == PROJECTION:
        return Extractor(Projection(source))
    if source.method == NORM:
        return Extractor(lambda rows: (_norms(_flat(rows)), None))
    if source.method == IMAGE:
        return Extractor(Image(source))
    if source.method == TEXT:
        return Extractor(Text(source), eager=True)
    if source.method == CLASS:
        encoder = encoders.get(0)
        return None if encoder is None else Extractor(lambda rows: _classes(rows, source, encoder))
    if source.method == CONFIDENCE:
        return Extractor(lambda rows: (_confidences(_flat(rows), source.logits), None))
    return None


def _flat(rows: Array) -> Array:
    return rows.reshape(len(rows), -1)


@dataclass(frozen=True)
class Columns:
    """Each value of a row is a feature."""

    features: int
    encoders: Mapping[int, Encoder]

    def __call__(self, rows: Array) -> Extracted:
        """Values, or codes of categories."""
        table = _flat(rows)
        numeric = table.dtype.kind in "fiub"
        if numeric and not self.encoders:
            return table, None
        wrong = np.zeros(self.features, dtype=np.int64)
        if numeric:
            found = table.astype(np.float64)
            for place, encoder in self.encoders.items():
                found[:, place], wrong[place] = encoder.numbers(table[:, place])
            return found, wrong
        found = np.empty(table.shape, dtype=np.float64)
        for place in range(self.features):
            values, known = table[:, place].tolist(), self.encoders.get(place)
            found[:, place], wrong[place] = known.objects(values) if known else as_numbers(values)
        return found, wrong


class Projection:
    """Differences of means of random coordinates: a row's place along random directions.

    Half of the coordinates of a direction have weight +1 and half -1, so that what is added to all
    coordinates alike does not show; the mean and the norm tell that.
    """

    def __init__(self, source: FeatureSource) -> None:
        size, half = max(source.size, 1), _half(source.size)
        # The raw stream of a bit generator is the same in all versions of numpy (NEP 19).
        raw = np.random.PCG64(source.seed).random_raw(2 * source.features * half)
        places = (raw % np.uint64(size)).astype(np.intp)
        self._plus, self._minus = places.reshape(2, source.features, half)

    def __call__(self, rows: Array) -> Extracted:
        """One number for each direction."""
        table = _flat(rows)
        parts = [self._some(table[at : at + _ROWS]) for at in range(0, len(table), _ROWS)]
        return np.concatenate(parts), None

    def _some(self, table: Array) -> Floats:
        plus = table[:, self._plus].mean(axis=2, dtype=np.float64)
        minus = table[:, self._minus].mean(axis=2, dtype=np.float64)
        found: Floats = plus - minus
        return found


def _half(size: int) -> int:
    wanted = min(max(_COORDINATES, int(size**0.5)), _MAX_COORDINATES)
    return max(1, min(size, wanted) // 2)


def _norms(table: Array) -> Floats:
    """Root mean squares."""
    wide = table.astype(np.float64)
    found: Floats = np.sqrt(np.einsum("ij,ij->i", wide, wide) / wide.shape[1])
    return found[:, None]


class Image:
    """Brightness, contrast and sharpness of images, from evenly spread pixels."""

    def __init__(self, source: FeatureSource) -> None:
        last = max(source.size - source.stride, 1)
        taken = min(_PIXELS, last)
        self._places = np.arange(taken) * last // taken
        self._neighbours = np.minimum(self._places + source.stride, max(source.size - 1, 0))

    def __call__(self, rows: Array) -> Extracted:
        """Mean and standard deviation of pixels, and the mean difference of neighbours."""
        table = _flat(rows)
        pixels = table[:, self._places].astype(np.float64)
        beside = table[:, self._neighbours].astype(np.float64)
        sharpness = np.abs(beside - pixels).mean(axis=1)
        return np.stack([pixels.mean(axis=1), pixels.std(axis=1), sharpness], axis=1), None


class Text:
    """Length, share of unknown words, and topics of texts; or of rows of token ids.

    Words are compared by hashes. A topic is the share of words in whose hash a certain bit is set:
    a projection of the text's word frequencies.
    """

    def __init__(self, source: FeatureSource) -> None:
        self._known = np.unique(np.asarray(source.vocabulary, dtype=np.int64))

    def __call__(self, rows: Array) -> Extracted:
        """One row of TEXT_FEATURES for each row; what is no text is of a wrong type."""
        found = np.full((len(rows), len(TEXT_FEATURES)), np.nan)
        wrong = 0
        for place, row in enumerate(rows):
            read = tokens(row)
            if read is None:
                wrong += 1
            else:
                found[place] = self._row(*read)
        return found, np.full(len(TEXT_FEATURES), wrong, dtype=np.int64)

    def _row(self, length: int, ids: Integers) -> list[float]:
        if not len(ids):
            return [length, *[np.nan] * (1 + TOPICS)]
        if len(self._known):
            nearest = np.minimum(self._known.searchsorted(ids), len(self._known) - 1)
            unknown = float((self._known[nearest] != ids).mean())
        else:
            unknown = 1.0
        # Token ids are small numbers, and bits of a CRC are related: mixed as splitmix64 does.
        mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0x94D049BB133111EB)
        bits = mixed[:, None] >> np.arange(40, 40 + TOPICS, dtype=np.uint64) & np.uint64(1)
        return [length, unknown, *bits.mean(axis=0).tolist()]


def tokens(row: Any) -> tuple[int, Integers] | None:
    """The length of a text in characters and hashes of its first words; or of a row of token ids
    how many are not 0, which is what padding is, and those. None of what is neither."""
    values = np.ravel(np.asarray(row))
    if values.dtype.kind in "iu":
        ids = values[values != 0].astype(np.int64)
        return len(ids), ids[:_CHARACTERS]
    texts = values.tolist()
    if not texts or not all(isinstance(one, str) for one in texts):
        return None
    text = " ".join(texts)
    words = _WORD.findall(text[:_CHARACTERS].lower())
    return len(text), np.asarray([text_hash(one) for one in words], dtype=np.int64)


def _classes(rows: Array, source: FeatureSource, encoder: Encoder) -> Extracted:
    """Codes of the most likely classes; of a single number a row: whether it is the likelier one.

    Of rows with NaN there is none.
    """
    table = _flat(rows)
    if table.shape[1] > 1:
        best = table.argmax(axis=1).astype(np.float64)
    else:
        best = (table[:, 0] > (0.0 if source.logits else 0.5)).astype(np.float64)
    best[np.isnan(table.sum(axis=1))] = np.nan
    codes, wrong = encoder.numbers(best)
    return codes[:, None], np.array([wrong], dtype=np.int64)


def _confidences(table: Array, logits: bool) -> Floats:
    """Probabilities of the most likely classes."""
    scores = table.astype(np.float64)
    if scores.shape[1] == 1:
        if logits:
            found = 1 / (1 + np.exp(-np.abs(scores[:, 0])))
        else:
            found = np.maximum(scores[:, 0], 1 - scores[:, 0])
    elif logits:
        with np.errstate(invalid="ignore"):
            found = 1 / np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)
    else:
        found = scores.max(axis=1)
    confidences: Floats = found[:, None]
    return confidences
