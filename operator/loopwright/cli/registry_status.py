"""Models and versions as branches of the tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loopwright.api.registry import ModelStatus, ModelVersion
from loopwright.cli.job_status import Branch, versions
from loopwright.cli.output import dim, line, state
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene
from loopwright.view.words import number

MAX_VERSIONS: Final = 20
MAX_METRICS: Final = 6


def model(scene: Scene) -> Iterator[Branch]:
    """Of a Model."""
    status = parsed(ModelStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    for alias, version in sorted(status.aliases.items()):
        yield line(f"alias {alias}", version)
    found = versions(scene)
    yield from found[:MAX_VERSIONS]
    if len(found) > MAX_VERSIONS:
        yield dim(f"and {len(found) - MAX_VERSIONS} more versions")


def version(scene: Scene) -> Iterator[Branch]:
    """Of a ModelVersion."""
    found = scene.found.read(ModelVersion)
    spec, status = found.spec, found.status
    yield line("model", spec.format, spec.uri)
    if status.approved_by:
        yield line("approved by", status.approved_by, dim(spec.approval.reason or ""))
    shown = [f"{one.name} {number(one.value)}" for one in spec.metrics[:MAX_METRICS]]
    if shown:
        yield line("metrics", *shown)
    for one in scene.children:
        phase = (one.get("status") or {}).get("phase")
        yield line(f"{one['kind']} {one['metadata']['name']}", state(phase) if phase else None)
