"""What a process has counted since it began, and how that travels.

The form on the wire is a fixed head and arrays whose sizes follow from the layout, all
little-endian; so a reader knows how many bytes to expect, and nothing in them says otherwise.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from loopwright.sketch.binning import Integers
from loopwright.sketch.counts import Counts
from loopwright.sketch.layout import Layout
from loopwright.sketch.tally import SUMS

CONTENT_TYPE: Final = "application/vnd.loopwright.sketch"
MAGIC: Final = b"LWSK"
VERSION: Final = 1
# Magic, version, bytes of a count, 0, digest of the layout, process, start, age, refused rows.
_HEAD: Final = struct.Struct("<4sBBH32s16sddQ")
_WIDTHS: Final = (1, 2, 4, 8)
# Counts are exact in float64 too.
_LARGEST: Final = 2**53


class WrongLayout(ValueError):
    """The counts are of other bins than those that the reader knows."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that one process has counted."""

    process: bytes
    """16 random bytes, made when counting began: other bytes mean that counts began anew."""
    started: float
    """When counting began, in seconds since the epoch by the clock of its machine."""
    age: float
    """Seconds for which the process has counted."""
    counts: Counts

    def to_bytes(self) -> bytes:
        """As it travels."""
        counts = self.counts
        whole = np.concatenate([counts.rows, counts.bins, counts.missing, counts.invalid])
        largest = int(whole.max(initial=0))
        width = next(one for one in _WIDTHS if largest < 2 ** (8 * one))
        head = _HEAD.pack(
            MAGIC, VERSION, width, 0, counts.layout.digest, self.process, self.started, self.age,
            counts.refused,
        )  # fmt: skip
        sums = counts.sums.astype("<f8")
        return b"".join([head, whole.astype(f"<u{width}").tobytes(), sums.tobytes()])

    @classmethod
    def parse(cls, data: bytes, layout: Layout) -> Snapshot:
        """Reads what `to_bytes` wrote; the bytes may be anybody's.

        Raises:
            WrongLayout: it is a snapshot, but of other bins.
            ValueError: it is none, or contradicts itself.
        """
        if len(data) < _HEAD.size:
            raise ValueError(f"{len(data)} bytes are no snapshot")
        magic, version, width, zero, digest, process, started, age, refused = _HEAD.unpack_from(
            data
        )
        if magic != MAGIC or version != VERSION or width not in _WIDTHS or zero:
            raise ValueError(f"no snapshot of version {VERSION}")
        if not (math.isfinite(started) and 0 <= age < math.inf) or refused > _LARGEST:
            raise ValueError("the head of the snapshot is not possible")
        if digest != layout.digest:
            raise WrongLayout("the snapshot was counted with another baseline")
        if len(data) != _size(layout, width):
            raise ValueError(f"{len(data)} bytes, and {_size(layout, width)} are expected")
        counts = _counts(data, layout, width, refused)
        counts.check()
        return cls(process, started, age, counts)


def max_bytes(layout: Layout) -> int:
    """The largest snapshot of a layout; no reader needs to take more."""
    return _size(layout, _WIDTHS[-1])


def _size(layout: Layout, width: int) -> int:
    return _HEAD.size + width * sum(_parts(layout)) + 8 * SUMS * len(layout)


def _parts(layout: Layout) -> tuple[int, int, int, int]:
    return len(layout.groups), layout.total_bins, len(layout), len(layout)


def _counts(data: bytes, layout: Layout, width: int, refused: int) -> Counts:
    parts = _parts(layout)
    raw = np.frombuffer(data, f"<u{width}", sum(parts), _HEAD.size)
    if int(raw.max(initial=0)) > _LARGEST:
        raise ValueError("a count is larger than any can be")
    whole: Integers = raw.astype(np.int64)
    rows, bins, missing, invalid = np.split(whole, np.cumsum(parts)[:-1])
    at = _HEAD.size + width * sum(parts)
    sums = np.frombuffer(data, "<f8", SUMS * len(layout), at).astype(np.float64)
    return Counts(layout, rows, bins, missing, invalid, sums.reshape(-1, SUMS), refused)
