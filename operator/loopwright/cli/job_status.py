"""What runs on Ray, as branches of the tree: attempts, trials, shards, results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text
from rich.tree import Tree

from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus, Trial
from loopwright.api.monitoring_status import Judged
from loopwright.api.trainingjob_status import (
    Attempt,
    Cost,
    JobStatus,
    TrainedStatus,
    TrainingCost,
    TrainingJobStatus,
)
from loopwright.api.validation import ValidationResult
from loopwright.cli import children
from loopwright.cli.output import dim, line, state
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene
from loopwright.view.words import between, clean, duration, number, size

Branch = Tree | Text
MAX_METRICS: Final = 6
MAX_TRIALS: Final = 5
MAX_ERROR: Final = 300


def training(scene: Scene) -> Iterator[Branch]:
    """Of a TrainingJob."""
    status = parsed(TrainingJobStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    yield from _run(scene, status)
    yield from (_validation(one) for one in status.validations)
    yield from _metrics(status)
    if status.checkpoint is not None:
        step = f"step {status.checkpoint.step}" if status.checkpoint.step is not None else None
        yield line("checkpoint", step, status.checkpoint.uri)
    yield from _model(scene, status)
    yield from cost(status.cost)


def sweep(scene: Scene) -> Iterator[Branch]:
    """Of a HyperparameterSweep."""
    status = parsed(HyperparameterSweepStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    yield from _run(scene, status)
    counts, reason = status.trials, status.stop_reason
    told = {
        "running": counts.running, "succeeded": counts.succeeded,
        "stopped early": counts.early_stopped, "failed": counts.failed,
        "without metrics": counts.metrics_unavailable,
    }  # fmt: skip
    words = [f"{count} {word}" for word, count in told.items() if count]
    trials = Tree(line("trials", *words, f"stopped: {reason}" if reason else None))
    shown = status.top_trials[:MAX_TRIALS] or ([status.best] if status.best else [])
    for number_, one in enumerate(shown):
        trials.add(_trial(one, best=number_ == 0))
    if words or shown:
        yield trials
    yield from _model(scene, status)
    if status.report_uri:
        yield line("report", status.report_uri)
    yield from cost(status.cost)


def _trial(one: Trial, *, best: bool) -> Text:
    given = ", ".join(f"{key}={number(value)}" for key, value in sorted(one.parameters.items()))
    value = Text(number(one.value or ""), "bold" if best else "")
    return line(one.name, value if one.value else None, given, dim(one.state))


def batch(scene: Scene) -> Iterator[Branch]:
    """Of a BatchTransform."""
    status = parsed(BatchTransformStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    if status.model is not None:
        yield line("model", status.model.model_version or status.model.uri)
    if status.endpoint is not None:
        yield line("endpoint", status.endpoint.name, status.endpoint.variant, status.endpoint.url)
    yield from _run(scene, status)
    if status.shards.total:
        shards = Tree(line("shards", status.shards.finished, _resumed(status.shards.resumed)))
        for one in status.shards.shown:
            failed = Text(f"{one.failed} failed", "red") if one.failed else None
            shards.add(
                line(str(one.number), state(one.state), f"{one.records} rows", failed, one.file)
            )
        yield shards
    if status.records.read:
        failed = Text(f"{status.records.failed} failed", "red") if status.records.failed else None
        yield line("records", f"{status.records.written} written", failed)
    for problem in status.problems:
        yield line(Text(problem.reason, "red"), f"{problem.count} records", problem.message)
    if status.validation is not None:
        yield _validation(status.validation)
    yield from (judged(one) for one in status.monitors)
    if (out := status.outputs) is not None:
        yield line("output", f"{out.files} files" if out.files else None,
                   size(out.bytes) if out.bytes else None, out.uri)  # fmt: skip
        if out.dead_letter_uri:
            yield line("dead letters", out.dead_letter_uri)
    yield from cost(status.cost)


def _resumed(count: int) -> str | None:
    return f"{count} were done before" if count else None


def _run(scene: Scene, status: JobStatus) -> Iterator[Branch]:
    """Queue, attempts and their pods, and the newest failure."""
    if status.queue is not None:
        yield line(
            "queue", status.queue.name, state("Admitted" if status.queue.admitted else "Waiting")
        )
    rayjobs = {one["metadata"]["name"]: one for one in scene.of("RayJob")}
    for attempt in status.attempts:
        result = Tree(_attempt(scene, status, attempt), guide_style="dim")
        if (rayjob := rayjobs.get(attempt.ray_job)) is not None:
            result.children.append(children.branch(scene, rayjob))
        yield result
    for claim in scene.of("PersistentVolumeClaim"):
        if (claim.get("status") or {}).get("phase") != "Bound":
            yield children.describe(claim)
    if status.last_error is not None:
        text = clean(status.last_error.message)
        where = f"attempt {status.last_error.attempt}" if status.last_error.attempt else None
        shown = text if len(text) <= MAX_ERROR else f"…{text[1 - MAX_ERROR :]}"
        yield line(Text(f"last error {status.last_error.reason}", "red"), where, shown)


def _attempt(scene: Scene, status: JobStatus, one: Attempt) -> Text:
    if one.end_time is None:
        how = state(status.phase)
    else:
        how = state("Succeeded") if one.cause is None else Text(f"{one.cause} failure", "red")
        if one.cause in ("Suspended", "Budget", "Deadline"):
            how = Text(str(one.cause), "yellow")
    return line(
        f"attempt {one.number}",
        how,
        between(one.start_time, one.end_time or scene.now),
        f"exit code {one.exit_code}" if one.exit_code else None,
        "spot" if one.spot else None,
        dim(f"from {one.resumed_from}") if one.resumed_from else None,
    )


def _validation(one: ValidationResult) -> Text:
    word = Text("passed", "green") if one.passed else Text("failed", "red")
    return line(f"data {one.name}", word, f"{one.rows} rows", f"{one.checks} checks", one.message)


def judged(one: Judged) -> Text:
    """A monitor."""
    worst = f"worst {number(one.worst)} of its threshold" if one.worst else None
    rows = f"{one.samples} rows" if one.samples else None
    return line(f"monitor {one.name}", state(one.state), rows, worst, one.message)


def _metrics(status: TrainedStatus) -> Iterator[Branch]:
    shown = [f"{one.name} {number(one.value)}" for one in status.metrics[:MAX_METRICS]]
    if shown:
        more = len(status.metrics) - len(shown)
        yield line("metrics", *shown, dim(f"and {more} more") if more else None)


def _model(scene: Scene, status: TrainedStatus) -> Iterator[Branch]:
    made = status.artifacts
    if made is not None and made.model_uri:
        big = size(made.size) if made.size else None
        yield line("model", made.format, big, made.model_uri)
    yield from versions(scene)


def versions(scene: Scene) -> Sequence[Branch]:
    """ModelVersions that belong to it."""
    found = []
    for one in scene.of("ModelVersion"):
        status = one.get("status") or {}
        aliases = ", ".join(status.get("aliases") or ())
        phase = state(status.get("phase") or "Pending")
        metric = status.get("metric")
        name = f"ModelVersion {one['metadata']['name']}"
        found.append(line(name, phase, clean(metric) if metric else None, aliases))
    return found


def cost(found: Cost) -> Iterator[Branch]:
    """What it has cost."""
    if found.billable_seconds:
        price = f"{number(found.estimate)} {found.currency or ''}" if found.estimate else None
        gpu = f"{duration(found.gpu_seconds)} of GPUs" if found.gpu_seconds else None
        saved = found.spot_saved_seconds if isinstance(found, TrainingCost) else None
        yield line(
            "cost", price, gpu, f"{duration(found.cpu_seconds)} of CPU cores",
            f"{duration(saved)} saved on spot nodes" if saved else None,
        )  # fmt: skip
