"""A ModelEndpoint as branches of the tree: variants, rollouts, monitors, the experiment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.text import Text
from rich.tree import Tree

from loopwright.api import names
from loopwright.api.experiment_status import ExperimentStatus
from loopwright.api.modelendpoint_status import ModelEndpointStatus, Served, VariantStatus
from loopwright.cli import children
from loopwright.cli.job_status import Branch, judged, versions
from loopwright.cli.output import bar, dim, line, state
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene, labels
from loopwright.view.words import duration, number

CHECKS: Final = 3


def endpoint(scene: Scene) -> Iterator[Branch]:
    """Of a ModelEndpoint."""
    status = parsed(ModelEndpointStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    for address in (status.url, status.internal_url):
        if address:
            yield line("address", address)
    for variant in status.variants:
        yield _variant(scene, variant)
    for one in status.retired:
        left = duration((one.until - scene.now).total_seconds())
        yield line(f"retired {one.variant} {one.served.revision}", dim(f"goes in {left}"))
    yield from versions(scene)
    for found in status.monitors:
        text = judged(found)
        text.append(f"  {found.variant} {found.revision}", "dim")
        yield text
    for job in status.retrains:
        yield line(
            f"TrainingJob {job.training_job}", state(job.outcome), f"by {job.monitor}", job.message
        )
    if status.experiment is not None:
        yield _experiment(status.experiment)
    yield from _monitor_pods(scene)
    if (spent := status.cost) is not None:
        pods = f"{duration(spent.replica_seconds)} of pods"
        yield line("cost", f"{number(spent.estimate)} {spent.currency}", pods)


def _variant(scene: Scene, one: VariantStatus) -> Tree:
    ready = state("Ready" if one.ready else "NotReady")
    why = f"{one.reason}: {one.message}" if one.message else one.reason
    share, pods = f"{one.current_weight} %", f"{one.replicas} pods"
    text = line(f"variant {one.name}", share, ready, pods, Text(why, "yellow"))
    result = Tree(text, guide_style="dim")
    if (going := one.rollout) is not None:
        result.add(line(f"rollout to {going.to}", bar(going.percent), going.message))
        for check in going.failing[:CHECKS]:
            result.add(
                line(Text(f"check {check.name}, failures: {check.failures}", "red"), check.message)
            )
    if one.rejected is not None:
        gone = Text(f"rolled back {one.rejected.revision}: {one.rejected.reason}", "red")
        result.add(line(gone, one.rejected.message))
    if one.held is not None:
        result.add(
            Text(f"weight held at {one.held.weight} by monitor {one.held.monitor}", "yellow")
        )
    for served in (one.serving, one.next):
        if served is not None:
            result.children.append(_served(scene, served))
    return result


def _served(scene: Scene, served: Served) -> Tree:
    model = served.model_version or served.uri
    checked = None if served.verified else dim("digest not checked")
    for one in scene.of("InferenceService"):
        if one["metadata"]["name"] == served.inference_service:
            result = children.branch(scene, one)
            result.label = line(children.describe(one), model, checked)
            return result
    return Tree(line(f"InferenceService {served.inference_service}", state("Missing"), model))


def _experiment(one: ExperimentStatus) -> Tree:
    winner = f"winner {one.winner}" if one.winner else None
    result = Tree(line("experiment", state(one.state), one.reason, winner, one.message))
    for arm in one.variants:
        effect = (
            f"{number(arm.effect)} ({number(arm.low)} to {number(arm.high)})"
            if arm.effect
            else None
        )
        p_value = f"p {number(arm.p_value)}" if arm.p_value else None
        mean = f"mean {number(arm.mean)}" if arm.mean else None
        result.add(line(arm.name, f"{arm.samples} outcomes", mean, effect, p_value))
    return result


def _monitor_pods(scene: Scene) -> Iterator[Branch]:
    """The pod that watches has no label of a kind: it does not serve."""
    pods = [one for one in scene.of("Pod") if names.LABEL_KIND not in labels(one)]
    yield from children.pods(pods)
