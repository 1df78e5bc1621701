"""`diff`: two versions of a model side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from loopwright.api.registry import ModelVersion, ModelVersionSpec
from loopwright.cli.predict import tensor
from loopwright.view.cluster import Object
from loopwright.view.words import clean, number

MISSING: Final = "-"
# People tell digests apart by their beginning.
DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


@dataclass(frozen=True)
class Row:
    """One thing about both."""

    section: str
    name: str
    left: str
    right: str

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return self.left == self.right


@dataclass(frozen=True)
class Version:
    """A version, and the job that trained it, if it is still there."""

    name: str
    model: ModelVersion
    job: Object | None = None

    def facts(self) -> Iterator[tuple[str, str, str]]:
        """Section, name and value of all there is to compare."""
        spec = self.model.spec
        for metric in spec.metrics:
            yield "metrics", metric.name, number(metric.value)
        yield from _model(spec, str(self.model.status.phase or MISSING))
        if spec.signature is not None:
            yield "signature", "inputs", ", ".join(map(tensor, spec.signature.inputs))
            yield "signature", "outputs", ", ".join(map(tensor, spec.signature.outputs))
        for key, value in sorted(self._hyperparameters().items()):
            yield "hyperparameters", key, str(value)
        yield from _lineage(spec)

    def _hyperparameters(self) -> dict[str, Any]:
        if self.job is None:
            return {}
        if self.job["kind"] == "HyperparameterSweep":
            best = (self.job.get("status") or {}).get("best") or {}
            return dict(best.get("parameters") or {})
        return dict(self.job["spec"].get("hyperparameters") or {})


def _model(spec: ModelVersionSpec, stage: str) -> Iterator[tuple[str, str, str]]:
    yield "model", "stage", stage
    yield "model", "format", spec.format
    yield "model", "digest", spec.digest or MISSING
    yield "model", "uri", spec.uri


def _lineage(spec: ModelVersionSpec) -> Iterator[tuple[str, str, str]]:
    made = spec.lineage
    if made is None:
        return
    for one in made.inputs:
        yield "data", one.name, f"{one.uri} {one.digest or 'without digest'}"
    for kind, job in (("TrainingJob", made.training_job), ("sweep", made.hyperparameter_sweep)):
        if job is not None:
            yield "lineage", kind, job.name
    told = {"trained at": made.trained_at, "image": made.image, "git revision": made.git_revision}
    for name, value in told.items():
        if value:
            yield "lineage", name, value


def compare(left: Version, right: Version) -> list[Row]:
    """All that either says, in order."""
    one = {(section, name): value for section, name, value in left.facts()}
    other = {(section, name): value for section, name, value in right.facts()}
    keys = dict.fromkeys([*one, *other])
    order = list(dict.fromkeys(section for section, _ in keys))
    rows = [Row(*key, one.get(key, MISSING), other.get(key, MISSING)) for key in keys]
    return sorted(rows, key=lambda row: order.index(row.section))


def table(left: Version, right: Version) -> Table:
    """For people; what differs is marked, so that it shows without colour too."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    result.add_column("")
    result.add_column("", overflow="fold", max_width=16)
    result.add_column(left.name, overflow="fold", ratio=1)
    result.add_column(right.name, overflow="fold", ratio=1)
    section = ""
    for row in compare(left, right):
        if row.section != section:
            section = row.section
            result.add_row("", Text(section, "bold"), "", "")
        style = "dim" if row.same else "yellow"
        values = [Text(DIGEST.sub(r"\1…", clean(value)), style) for value in (row.left, row.right)]
        result.add_row("" if row.same else "≠", clean(row.name), *values)
    return result


def wire(left: Version, right: Version) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {"section": row.section, "name": row.name, "left": row.left, "right": row.right,
         "same": row.same}
        for row in compare(left, right)
    ]  # fmt: skip
