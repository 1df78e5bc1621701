"""Pages of Models and ModelVersions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loopwright.api.registry import ModelStatus, ModelVersion, VersionLineage
from loopwright.console.blocks import (
    Block,
    Cell,
    Code,
    Number,
    Soft,
    Tag,
    facts,
    link,
    namespace_of,
    table,
)
from loopwright.console.jobs import clock
from loopwright.view.cluster import Object
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene
from loopwright.view.summary import age, phase_of
from loopwright.view.words import number


def model(scene: Scene) -> Iterator[Block]:
    """Of a Model."""
    obj = scene.found.obj
    status = parsed(ModelStatus, obj.get("status") or {}, scene.found.ref)
    spec: dict[str, Any] = obj.get("spec") or {}
    yield from facts(
        "Model",
        ("for", spec.get("description")),
        ("versions", str(status.versions) if status.versions else None),
        ("newest", status.latest_version),
        ("approval", "by people" if spec.get("requireApproval") else "not asked for"),
    )
    where, name = namespace_of(obj), scene.found.name
    yield from table(
        "Aliases",
        ["alias", "version"],
        [
            [alias, link("ModelVersion", where, f"{name}-{version}", version)]
            for alias, version in sorted(status.aliases.items())
        ],
    )
    newest = sorted(scene.of("ModelVersion"), key=_made, reverse=True)
    yield from table(
        "Versions",
        ["version", "stage", "metric", "aliases", "approved by", "format", "age"],
        [_row(where, one, scene) for one in newest],
    )
    yield from _card(spec.get("card"))


def _made(version: Object) -> str:
    made = ((version.get("spec") or {}).get("lineage") or {}).get("trainedAt")
    return str(made or version["metadata"].get("creationTimestamp") or "")


def _row(where: str, one: Object, scene: Scene) -> list[Cell]:
    spec, status = one.get("spec") or {}, one.get("status") or {}
    name = str(one["metadata"]["name"])
    return [
        link("ModelVersion", where, name, str(spec.get("version") or name)), Tag(phase_of(one)),
        str(status.get("metric") or ""), ", ".join(status.get("aliases") or ()),
        str(status.get("approvedBy") or ""), str(spec.get("format") or ""), age(one, scene.now),
    ]  # fmt: skip


def version(scene: Scene) -> Iterator[Block]:
    """Of a ModelVersion."""
    found = scene.found.read(ModelVersion)
    spec, status, where = found.spec, found.status, namespace_of(scene.found.obj)
    approval = spec.approval
    yield from facts(
        "Version",
        ("model", link("Model", where, spec.model_ref.name)),
        ("stage", Tag(status.phase) if status.phase else None),
        ("aliases", ", ".join(status.aliases)),
        ("approval", approval.state if approval.by else None),
        ("decided by", approval.by),
        ("because", approval.reason),
        ("seen", clock(status.approved_at) or None),
        ("format", spec.format),
        ("where", Code(spec.uri)),
        ("digest", Code(spec.digest) if spec.digest else Soft("none: it is not checked")),
        ("may run code", "yes, when it is loaded" if spec.allow_unsafe else None),
    )
    metrics: list[list[Cell]] = [[one.name, Number(number(one.value))] for one in spec.metrics]
    yield from table("Metrics", ["metric", "value"], metrics)
    if spec.signature is not None:
        yield from table(
            "Signature",
            ["tensor", "goes", "type", "shape"],
            [
                [one.name, way, one.dtype, ", ".join("any" if n < 0 else str(n) for n in one.shape)]
                for way, some in (("in", spec.signature.inputs), ("out", spec.signature.outputs))
                for one in some
            ],
        )  # fmt: skip
    if spec.lineage is not None:
        yield from _origin(where, spec.lineage)
    yield from _card(spec.card)


def _origin(where: str, made: VersionLineage) -> Iterator[Block]:
    job, sweep = made.training_job, made.hyperparameter_sweep
    yield from facts(
        "Made from",
        ("job", link("TrainingJob", where, job.name) if job else None),
        ("sweep", link("HyperparameterSweep", where, sweep.name) if sweep else None),
        ("trained", made.trained_at),
        ("commit", Code(made.git_revision) if made.git_revision else None),
        ("image", Code(made.image) if made.image else None),
    )
    yield from table(
        "Data",
        ["input", "where", "digest"],
        [[one.name, Code(one.uri), Code(one.digest) if one.digest else ""] for one in made.inputs],
    )


def _card(text: str | None) -> Iterator[Block]:
    yield from facts("Card", ("as written", text or None))
