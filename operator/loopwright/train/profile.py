"""The baseline profile of training data: bins that a drift monitor counts into later.

What is profiled is what will be counted: the same code makes features of a tensor here and in the
model server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import numpy as np

from loopwright.api.baseline import (
    MAX_FEATURES,
    MAX_HASHES,
    Baseline,
    FeatureProfile,
    FeatureSource,
)
from loopwright.sketch import extract
from loopwright.sketch.binning import BINS, Array
from loopwright.sketch.categories import ranked
from loopwright.train.features import categorical, halves, numeric

__all__ = ["BINS", "MAX_FEATURES", "Kind", "profile"]

Kind = Literal[
    "columns", "embedding", "image", "text", "values", "labels", "probabilities", "logits"
]
"""What a tensor holds. Of outputs: values of a regression, labels, and probabilities or logits of
classes; a text may also be token ids."""

# Wider rows without names are images if they have further dimensions, else embeddings.
_COLUMNS: Final = 256
# Of values that a model gives.
_VALUES: Final = 64
# Rows of wide tensors that are profiled: bins are known well enough from them.
_ROWS: Final = 20_000
# Rare categories of all features: about 180 KB of model.json.
_RARE: Final = 4 * MAX_HASHES
_SEED: Final = 20_211_102


def profile(
    data: Any,
    names: Sequence[str] | None = None,
    *,
    categories: Collection[str] = (),
    kinds: Mapping[str, Kind] | None = None,
    outputs: Mapping[str, Any] | None = None,
) -> Baseline:
    """Profiles the data that a model is trained on, and what it predicts for them.

    Columns of text are categorical features. Rows of more than 256 values without names are
    profiled as images or embeddings: some statistics and projections to random directions.

    Args:
        data: The model's inputs: an array of shape (rows, ...), whose further dimensions are
            features; several arrays by name; or a data frame, each of whose columns is an input.
        names: Of the columns, when data is an array; f0, f1, ... by default.
        categories: Names of features whose numbers are categories.
        kinds: What the inputs and outputs hold, by name, where it is not what it looks like: an
            array that has no name is called "".
        outputs: What the model gives for data it was not fitted to, or at least for these: arrays
            of shape (rows, ...) by name.

    Raises:
        ValueError: the names are not those of the columns, or there are more than 2048 features.
    """
    tensors = _tensors(data)
    told = kinds or {}
    several = len(tensors) > 1
    inputs = [
        _input(name, array, told.get(name), names if not several else None, categories, several)
        for name, array in tensors.items()
    ]
    given = [_output(name, np.asarray(array), told.get(name))
             for name, array in (outputs or {}).items()]  # fmt: skip
    made, predicted = (list(chain.from_iterable(one)) for one in (inputs, given))
    for part in (made, predicted):
        if (count := sum(one.source.features for one in part)) > MAX_FEATURES:
            raise ValueError(f"{count} features; profile at most {MAX_FEATURES}")
    return Baseline(
        version=2,
        rows=max((len(array) for array in tensors.values()), default=0),
        features=_bounded([one for part in made for one in part.profiles]),
        sources=[part.source for part in made],
        predictions=_bounded([one for part in predicted for one in part.profiles]),
        prediction_sources=[part.source for part in predicted],
    )


def _bounded(features: list[FeatureProfile]) -> list[FeatureProfile]:
    """With at most so many rare categories altogether; the longest lists go first."""
    total = sum(len(one.rare) for one in features)
    for place in sorted(range(len(features)), key=lambda at: -len(features[at].rare)):
        if total <= _RARE:
            break
        total -= len(features[place].rare)
        features[place] = features[place].model_copy(update={"rare": [], "complete": False})
    return features


@dataclass(frozen=True)
class _Part:
    source: FeatureSource
    profiles: list[FeatureProfile]


def _tensors(data: Any) -> dict[str, Array]:
    if isinstance(data, Mapping):
        return {str(name): _array(value) for name, value in data.items()}
    if hasattr(data, "columns"):
        return {str(name): _array(data[name].to_numpy())[:, None] for name in data.columns}
    return {"": _array(data)}


def _array(value: Any) -> Array:
    found = np.asarray(value)
    if found.dtype.kind not in "fiub":
        found = found.astype(object)
    return found if found.ndim else found.reshape(1)


def _input(
    name: str,
    array: Array,
    kind: Kind | None,
    names: Sequence[str] | None,
    categories: Collection[str],
    several: bool,
) -> Iterable[_Part]:
    width = array[:1].size if len(array) else 1
    kind = kind or _looks(array, width, names)
    prefix = f"{name}." if several else ""
    if kind == "text":
        return [_text(name, array, prefix)]
    if kind in ("image", "embedding"):
        return _wide(name, array, kind, prefix)
    if width > MAX_FEATURES:
        raise ValueError(f"{width} features; profile at most {MAX_FEATURES}")
    if names is None:
        names = [name] if several and width == 1 else [f"{prefix}f{at}" for at in range(width)]
    if len(names) != width:
        raise ValueError(f"{len(names)} feature names for {width} features")
    return [_columns(name, array, names, categories)]


def _looks(array: Array, width: int, names: Sequence[str] | None) -> Kind:
    if array.dtype.kind == "O":
        return "text" if width == 1 and _is_prose(array.ravel().tolist()) else "columns"
    if names is not None or width <= _COLUMNS:
        return "columns"
    if array.ndim > 2:
        return "image"
    return "embedding"


def _is_prose(values: list[Any]) -> bool:
    """Whether texts are sentences rather than categories: hardly one is there twice, and most have
    several words."""
    texts = [one for one in values if isinstance(one, str)]
    if not texts or 2 * len(set(texts)) < len(texts):
        return False
    return sum(one.count(" ") >= 3 for one in texts) > len(texts) / 2


def _columns(tensor: str, array: Array, names: Sequence[str], categories: Collection[str]) -> _Part:
    table = array.reshape(len(array), len(names))
    source = FeatureSource(
        tensor=tensor, method=extract.COLUMNS, features=len(names), size=len(names)
    )
    return _Part(
        source, [_column(one, table[:, at], one in categories) for at, one in enumerate(names)]
    )


def _column(name: str, column: Array, is_category: bool) -> FeatureProfile:
    if not is_category and column.dtype.kind == "O":
        is_category = any(isinstance(one, str) for one in column)
    return (categorical if is_category else numeric)(name, column)


def _wide(tensor: str, array: Array, kind: Kind, prefix: str) -> list[_Part]:
    rows, size = _some(array), array[:1].size
    projection = FeatureSource(
        tensor=tensor, method=extract.PROJECTION, features=extract.DIRECTIONS, size=size, seed=_SEED
    )
    directions = [f"{prefix}direction{at}" for at in range(extract.DIRECTIONS)]
    if kind == "image":
        # Channels are the last dimension when that is small.
        last = array.shape[-1] if array.ndim > 2 and array.shape[-1] <= 4 else 1
        source = FeatureSource(
            tensor=tensor, method=extract.IMAGE, features=3, size=size, stride=last
        )
        own = [prefix + one for one in extract.IMAGE_FEATURES]
    else:
        source = FeatureSource(tensor=tensor, method=extract.NORM, features=1, size=size)
        own = [f"{prefix}norm"]
    return [_extracted(source, rows, own), _extracted(projection, rows, directions)]


def _text(tensor: str, array: Array, prefix: str) -> _Part:
    rows = _some(array)
    # New texts have new words. Those that the vocabulary is taken from do not tell how many.
    choosing = halves(len(rows)) if len(rows) > 1 else np.ones(len(rows), dtype=bool)
    found = chain.from_iterable(
        read[1].tolist() for row in rows[choosing] if (read := extract.tokens(row))
    )
    vocabulary = [word for word, _ in ranked(found)[:MAX_HASHES]]
    names = [prefix + one for one in extract.TEXT_FEATURES]
    source = FeatureSource(
        tensor=tensor, method=extract.TEXT, features=len(names), vocabulary=sorted(vocabulary)
    )
    return _extracted(source, rows[~choosing] if len(rows) > 1 else rows, names)


def _output(name: str, array: Array, kind: Kind | None) -> Iterable[_Part]:
    if array.dtype.kind not in "fiub":
        array = array.astype(object)
    width = array[:1].size if len(array) else 1
    kind = kind or _looks_like(array, width)
    if kind == "labels":
        if width > MAX_FEATURES:
            raise ValueError(f"{width} labels a row; profile at most {MAX_FEATURES}")
        names = [name] if width == 1 else [f"{name}.{at}" for at in range(width)]
        return [_columns(name, array, names, names)]
    if kind in ("probabilities", "logits"):
        return _classified(name, array, kind == "logits")
    if kind == "text":
        return [_text(name, array, f"{name}.")]
    if kind in ("image", "embedding") or width > _VALUES:
        return _wide(name, array, "image" if kind == "image" else "embedding", f"{name}.")
    names = [name] if width == 1 else [f"{name}.{at}" for at in range(width)]
    return [_columns(name, array, names, ())]


def _looks_like(array: Array, width: int) -> Kind:
    if array.dtype.kind in "Oiub":
        return "labels"
    table = array.reshape(len(array), -1)
    if width > 1 and len(table) and (table >= 0).all() and np.allclose(table.sum(1), 1, atol=1e-3):
        return "probabilities"
    return "values"


def _classified(name: str, array: Array, logits: bool) -> list[_Part]:
    size = array[:1].size if len(array) else 1
    confidence = FeatureSource(
        tensor=name, method=extract.CONFIDENCE, features=1, size=size, logits=logits
    )
    table = array.reshape(len(array), -1)
    if size > 1:
        best = table.argmax(axis=1)
    else:
        best = (table[:, 0] > (0 if logits else 0.5)).astype(np.int64)
    source = FeatureSource(tensor=name, method=extract.CLASS, features=1, size=size, logits=logits)
    return [
        _Part(source, [categorical(f"{name}.class", best)]),
        _extracted(confidence, array, [f"{name}.confidence"]),
    ]


def _extracted(source: FeatureSource, rows: Array, names: Sequence[str]) -> _Part:
    known = extract.extractor(source, {})
    assert known is not None
    table, _ = known.compute(rows)
    return _Part(source, [numeric(one, table[:, at]) for at, one in enumerate(names)])


def _some(array: Array) -> Array:
    """Evenly spread rows, if there are very many."""
    if len(array) <= _ROWS:
        return array
    return array[np.arange(_ROWS) * len(array) // _ROWS]
