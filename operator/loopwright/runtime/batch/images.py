"""Reads images as the model takes them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from loopwright.runtime.batch.plan import Shard
from loopwright.runtime.batch.readers import Read, shown
from loopwright.runtime.batch.records import Array, Images, Letter
from loopwright.runtime.errors import wrong
from loopwright.runtime.storage import Folder, refusals
from loopwright.serving.tensors import Tensor

# Pixels that are held at once.
BLOCK_BYTES: Final = 32 << 20
MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}


class Layout:
    """How pixels become a row of a tensor: [channels, height, width], [height, width, channels] or
    [height, width]; as numbers from 0 to 1 if they are floating, else from 0 to 255.

    Raises:
        RunError: images do not fit the tensor.
    """

    def __init__(self, tensor: Tensor | None) -> None:
        self._tensor = tensor
        self.mode, self._first, self._flat, self._size = "RGB", False, False, (-1, -1)
        if tensor is None:
            return
        rest = tensor.shape[1:]
        self._flat = len(rest) == 2
        if len(rest) == 3 and rest[0] in MODES:
            self.mode, self._first, self._size = MODES[rest[0]], True, (rest[2], rest[1])
        elif len(rest) == 3 and rest[2] in MODES:
            self.mode, self._size = MODES[rest[2]], (rest[1], rest[0])
        elif len(rest) == 2:
            self.mode, self._size = "L", (rest[1], rest[0])
        else:
            raise wrong(
                "ModelInvalid",
                f"input {tensor.name} of the model is {tensor}, and images want [-1, channels,"
                " height, width], [-1, height, width, channels] or [-1, height, width]; use"
                " predictor.class to turn them into anything else",
            )

    def pixels(self, content: bytes) -> Array:
        """A file's pixels; for a class of the user's [height, width, 3] of uint8, as they are.

        Raises:
            OSError: it is no image.
        """
        with warnings.catch_warnings():
            # A picture that would take gigabytes is an attack, or a mistake.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Any = Image.open(io.BytesIO(content)).convert(self.mode)
        size = tuple(w if w > 0 else have for w, have in zip(self._size, image.size, strict=True))
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        found = np.asarray(image)
        if self._tensor is None:
            return found
        if found.ndim == 2 and not self._flat:
            found = found[:, :, None]
        if self._first:
            found = found.transpose(2, 0, 1)
        if self._tensor.dtype.startswith("float"):
            found = found.astype(self._tensor.dtype) / np.asarray(255, self._tensor.dtype)
        return np.ascontiguousarray(found)


def read(folder: Folder, shard: Shard, layout: Layout) -> Iterator[Read]:
    """All images of a shard, some at a time."""
    files: list[str] = []
    pixels: list[Array] = []
    letters: list[Letter] = []
    held = size = 0
    for name in shard.files:
        with refusals(folder.child(name) if name else folder.uri):
            content = folder.read(name)
        if content is None:
            raise wrong("InputMissing", f"{folder.child(name)} is gone")
        size += len(content)
        file = shown(folder, name)
        try:
            pixels.append(layout.pixels(content))
            files.append(file)
            held += pixels[-1].nbytes
        except (
            OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:  # fmt: skip
            text = " ".join(str(error).split()).replace(str(io.BytesIO), "")[:200]
            letters.append(Letter(file, None, "Unparsable", f"no image: {text}", {"file": file}))
        if held >= BLOCK_BYTES:
            yield Read(Images(files[0], files, pixels), letters, size)
            files, pixels, letters, held, size = [], [], [], 0, 0
    yield Read(Images(files[0], files, pixels) if files else None, letters, size)
