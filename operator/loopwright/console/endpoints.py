"""The page of a ModelEndpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loopwright.api.experiment_status import ArmFinding, ExperimentStatus
from loopwright.api.modelendpoint_status import (
    EndpointCost,
    ModelEndpointStatus,
    Served,
    VariantStatus,
)
from loopwright.console import charts
from loopwright.console.blocks import (
    Bar,
    Block,
    Cell,
    Code,
    Link,
    Number,
    Picture,
    Several,
    Soft,
    Tag,
    facts,
    href,
    link,
    namespace_of,
    table,
)
from loopwright.console.jobs import MONITOR_HEAD, clock, figures, judged
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene
from loopwright.view.words import duration, number

HEAD: Final = ("variant", "traffic", "state", "pods", "model", "rollout", "what")


def endpoint(scene: Scene) -> Iterator[Block]:
    """Of a ModelEndpoint."""
    status = parsed(ModelEndpointStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    where = namespace_of(scene.found.obj)
    yield from facts(
        "Address",
        ("through the Gateway", Code(status.url) if status.url else None),
        ("within the cluster", Code(status.internal_url) if status.internal_url else None),
        ("pods", str(status.replicas) if status.replicas else None),
    )
    svg = charts.split([(one.name, one.current_weight) for one in status.variants])
    if svg:
        yield Picture("Traffic", svg)
    yield from table("Variants", HEAD, [_variant(where, one) for one in status.variants])
    yield from _rollouts(status)
    yield from _monitors(scene, status)
    if status.experiment is not None:
        yield from _experiment(scene, status.experiment)
    yield from _retired(scene, status)
    yield from table(
        "Training that monitors started",
        ["job", "outcome", "monitor", "when", "what"],
        [
            [link("TrainingJob", where, one.training_job), Tag(one.outcome), one.monitor,
             clock(one.time), one.message]
            for one in reversed(status.retrains)
        ],
    )  # fmt: skip
    yield from _cost(status.cost)


def _variant(where: str, one: VariantStatus) -> list[Cell]:
    rollout = Bar(one.rollout.percent, f"{one.rollout.percent} %") if one.rollout else ""
    why = f"{one.reason}: {one.message}" if one.message else one.reason
    if one.held is not None:
        why = f"held at {one.held.weight} by monitor {one.held.monitor}. {why}".strip()
    return [
        one.name, Number(f"{one.current_weight} %"), Tag("Ready" if one.ready else "NotReady"),
        Number(str(one.replicas)), _model(where, one.serving), rollout, why,
    ]  # fmt: skip


def _model(where: str, served: Served | None) -> Cell:
    if served is None:
        return ""
    named = link("ModelVersion", where, served.model_version) or Code(served.uri)
    return named if served.verified else Several([named, Soft("digest not checked")])


def _rollouts(status: ModelEndpointStatus) -> Iterator[Block]:
    rows: list[list[Cell]] = []
    for one in status.variants:
        if (going := one.rollout) is not None:
            failing = "; ".join(
                f"{check.name} failed {check.failures} times: {check.message}"
                for check in going.failing
            )
            rows.append([
                one.name, Several([going.from_ or "nothing", Soft("to"), going.to]),
                str(going.step), Bar(going.percent, f"{going.percent} %"),
                clock(going.bake_until), going.message, failing,
            ])  # fmt: skip
        if (gone := one.rejected) is not None:
            why = f"{gone.reason}: {gone.message}"
            rows.append([one.name, gone.revision, "", Tag("Rejected"), "", why, ""])
    head = ["variant", "revision", "step", "share", "step ends", "what", "failing checks"]
    yield from table("Rollouts", head, rows)


def _monitors(scene: Scene, status: ModelEndpointStatus) -> Iterator[Block]:
    rows: list[list[Cell]] = [
        [*judged(one), one.variant, Soft(one.revision), clock(one.window_end)]
        for one in status.monitors
    ]
    yield from table("Monitors", [*MONITOR_HEAD, "variant", "revision", "window's end"], rows)
    yield from table(
        "Features beyond a threshold",
        ["feature", "check", "value", "threshold", "monitor", "variant"],
        [
            [bad.feature or Soft("all"), bad.check, Number(number(bad.value)),
             Number(number(bad.threshold)), one.name, one.variant]
            for one in status.monitors
            for bad in one.violations
        ],
    )  # fmt: skip
    yield from table(
        "Model quality, from answers whose labels have come",
        ["metric", "value", "from", "to", "with labels", "captured", "worst slice", "there",
         "variant"],
        [
            [one.quality.metric, *figures(one.quality.value, one.quality.low, one.quality.high),
             Number(f"{one.quality.labelled:,}"), Number(f"{one.quality.captured:,}"),
             one.quality.worst_slice, *figures(one.quality.worst_value), one.variant]
            for one in status.monitors
            if one.quality is not None
        ],
    )  # fmt: skip
    if status.monitors:
        yield from facts("Report of the monitors", ("distributions", _page(scene, "report")))


def _page(scene: Scene, what: str) -> Cell:
    obj = scene.found.obj
    return Link("open", f"{href(scene.found.kind, namespace_of(obj), scene.found.name)}/{what}")


def _experiment(scene: Scene, one: ExperimentStatus) -> Iterator[Block]:
    ratio = one.sample_ratio
    shares = f"expected {ratio.expected}, came {ratio.observed}" if ratio.observed else None
    anew = f"{one.restarts} times, last because {one.restarted}" if one.restarts else None
    yield from facts(
        "Experiment",
        ("state", Several([Tag(one.state), one.reason])),
        ("what", one.message or None),
        ("winner", one.winner or None),
        ("p-value", number(one.p_value) if one.p_value else None),
        ("began", clock(one.started_at) or None),
        ("decided", clock(one.decided_at) or None),
        ("split", shares),
        ("begun anew", anew),
        ("report", _page(scene, "experiment")),
    )  # fmt: skip
    yield from table(
        "Variants of the experiment",
        ["variant", "outcomes", "mean", "effect", "from", "to", "p-value", "guardrails"],
        [
            [arm.name, Number(f"{arm.samples:,}"),
             *figures(arm.mean, arm.effect, arm.low, arm.high, arm.p_value), _guardrails(arm)]
            for arm in one.variants
        ],
    )  # fmt: skip


def _guardrails(arm: ArmFinding) -> Cell:
    return ", ".join(f"{one.metric} {one.state}" for one in arm.guardrails)


def _retired(scene: Scene, status: ModelEndpointStatus) -> Iterator[Block]:
    yield from table(
        "Revisions on their way out",
        ["variant", "revision", "model", "goes in"],
        [
            [one.variant, Soft(one.served.revision),
             _model(namespace_of(scene.found.obj), one.served),
             duration((one.until - scene.now).total_seconds())]
            for one in status.retired
        ],
    )  # fmt: skip


def _cost(spent: EndpointCost | None) -> Iterator[Block]:
    if spent is not None:
        yield from facts(
            "Cost",
            ("estimate", f"{number(spent.estimate)} {spent.currency}"),
            ("pods", duration(spent.replica_seconds)),
            ("GPUs", duration(spent.gpu_seconds) if spent.gpu_seconds else None),
            ("until", clock(spent.until)),
        )
