"""Sketches: what comes and goes through a model, counted into the bins of its baseline.

A `Sketch` counts in constant memory and keeps no row; a `Snapshot` is what it has counted so far,
and `Counts` of replicas, shards and windows are added and subtracted. `loopwright.drift` judges
them. For the model server, the batch runtime, and servers of one's own: it takes numpy and
`loopwright.api`, no more.
"""

from loopwright.sketch.counts import Counts
from loopwright.sketch.layout import Feature, Group, Layout
from loopwright.sketch.sketch import Sketch
from loopwright.sketch.snapshot import CONTENT_TYPE, Snapshot, WrongLayout, max_bytes

__all__ = [
    "CONTENT_TYPE", "Counts", "Feature", "Group", "Layout", "Sketch", "Snapshot", "WrongLayout",
    "max_bytes",
]  # fmt: skip
