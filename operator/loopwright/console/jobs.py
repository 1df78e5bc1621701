"""Pages of what runs on Ray: TrainingJobs, HyperparameterSweeps, BatchTransforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.hyperparametersweep_status import HyperparameterSweepStatus, Trial
from loopwright.api.monitoring_status import Judged
from loopwright.api.report import Curve, Report
from loopwright.api.shared import Direction
from loopwright.api.sweep_report import SweepReport
from loopwright.api.trainingjob_status import (
    Cost,
    JobStatus,
    TrainedStatus,
    TrainingCost,
    TrainingJobStatus,
)
from loopwright.api.validation import ValidationResult
from loopwright.console import charts
from loopwright.console.blocks import (
    Bar,
    Block,
    Cell,
    Code,
    Number,
    Pictures,
    Several,
    Soft,
    Tag,
    facts,
    link,
    namespace_of,
    table,
)
from loopwright.view.refs import parsed
from loopwright.view.scene import Scene
from loopwright.view.summary import progress
from loopwright.view.words import between, duration, number, size

MAXIMIZE: Final = Direction.MAXIMIZE.value
# Attempts that ended for these reasons have not failed.
TOLD_TO_STOP: Final = ("Suspended", "Budget", "Deadline")


def training(scene: Scene, report: Report | None) -> Iterator[Block]:
    """Of a TrainingJob."""
    status = parsed(TrainingJobStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    yield from _progress(scene, status)
    yield from curves(report.curves if report else [])
    yield from _metrics(status)
    yield from attempts(scene, status)
    yield from validations(status.validations)
    found = status.checkpoint
    yield from facts(
        "Checkpoint",
        ("step", str(found.step) if found and found.step is not None else None),
        ("made", str(found.count) if found and found.count else None),
        ("newest", Code(found.uri) if found else None),
    )
    yield from _model(scene, status)
    yield from cost(status.cost)


def curves(found: Sequence[Curve]) -> Iterator[Block]:
    """Learning curves."""
    drawn = [picture for one in found if (picture := charts.curve(one)) is not None]
    if drawn:
        yield Pictures("Learning curves", drawn)


def sweep(scene: Scene, report: SweepReport | None) -> Iterator[Block]:
    """Of a HyperparameterSweep."""
    status = parsed(HyperparameterSweepStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    # The spec is not read as a model: that an old one has become invalid hides no results.
    first = ((scene.found.obj.get("spec") or {}).get("objectives") or [{}])[0]
    metric, maximize = str(first.get("metric") or "value"), first.get("direction") == MAXIMIZE
    yield from _progress(scene, status, *_trials(status))
    results = report.results if report and report.results else _shown(status, metric)
    history = charts.results(results, maximize)
    if history is not None:
        yield history
    lines = charts.parallel(status.top_trials, metric, maximize)
    if lines is not None:
        yield lines
    yield from _top(status, metric)
    yield from attempts(scene, status)
    ref = scene.found
    yield from facts(
        "Stored",
        ("report", Code(status.report_uri) if status.report_uri else None),
        ("to save it", Code(f"loopwright report {ref.ref} -n {namespace_of(ref.obj)}")
         if status.report_uri else None),
        ("history", Code(status.history_uri) if status.history_uri else None),
    )  # fmt: skip
    yield from _model(scene, status)
    yield from cost(status.cost)


def _shown(status: HyperparameterSweepStatus, metric: str) -> Curve:
    """The results that the status has: those of the best trials alone."""
    found = []
    for one in status.top_trials:
        try:
            found.append((int(one.name.lstrip("t")), float(one.value or "nan")))
        except ValueError:
            continue
    kept = sorted((number, value) for number, value in found if abs(value) < float("inf"))
    return Curve(name=metric, steps=[n for n, _ in kept], values=[v for _, v in kept])


def _trials(status: HyperparameterSweepStatus) -> list[tuple[str, Cell | None]]:
    counts = status.trials
    told = (
        ("running", counts.running), ("succeeded", counts.succeeded),
        ("stopped early", counts.early_stopped), ("failed", counts.failed),
        ("without metrics", counts.metrics_unavailable), ("waiting", counts.pending),
    )  # fmt: skip
    best = status.best
    return [
        ("best", f"{best.name}, {number(best.value or '')}" if best else None),
        ("algorithm", status.algorithm),
        *((word, str(count) if count else None) for word, count in told),
        ("stopped for", status.stop_reason),
    ]


def _top(status: HyperparameterSweepStatus, metric: str) -> Iterator[Block]:
    shown: Sequence[Trial] = status.top_trials
    given = list(dict.fromkeys(name for one in shown for name in one.parameters))
    yield from table(
        "Top trials",
        ["trial", metric, *given, "steps", "time", "state"],
        [
            [
                one.name, Number(number(one.value or "")),
                *(number(one.parameters.get(name, "")) for name in given),
                Number(str(one.step)) if one.step is not None else "",
                duration(one.seconds) if one.seconds else "", Tag(one.state),
            ]
            for one in shown
        ],
    )  # fmt: skip


def batch(scene: Scene) -> Iterator[Block]:
    """Of a BatchTransform."""
    status = parsed(BatchTransformStatus, scene.found.obj.get("status") or {}, scene.found.ref)
    yield from _progress(scene, status)
    where = namespace_of(scene.found.obj)
    model = status.model
    named = (link("ModelVersion", where, model.model_version) or Code(model.uri)) if model else None
    asked = status.endpoint
    yield from facts(
        "Records",
        ("model", named),
        ("endpoint", link("ModelEndpoint", where, asked.name) if asked else None),
        ("variant", asked.variant if asked else None),
        ("shards", status.shards.finished),
        ("done before", str(status.shards.resumed) if status.shards.resumed else None),
        ("read", f"{status.records.read:,}" if status.records.read else None),
        ("written", f"{status.records.written:,}" if status.records.written else None),
        ("failed", f"{status.records.failed:,}" if status.records.failed else None),
    )  # fmt: skip
    yield from table(
        "Shards that are worked on, and those with bad records",
        ["shard", "state", "records", "failed", "file"],
        [
            [str(one.number), Tag(one.state), Number(f"{one.records:,}"),
             Number(f"{one.failed:,}") if one.failed else "", Code(one.file) if one.file else ""]
            for one in status.shards.shown
        ],
    )  # fmt: skip
    yield from table(
        "Why records failed",
        ["reason", "records", "for example"],
        [[one.reason, Number(f"{one.count:,}"), one.message] for one in status.problems],
    )
    yield from validations([status.validation] if status.validation else [])
    yield from table("Monitors", MONITOR_HEAD, [judged(one) for one in status.monitors])
    yield from attempts(scene, status)
    out = status.outputs
    if out is not None:
        yield from facts(
            "Output",
            ("files", str(out.files) if out.files else None),
            ("size", size(out.bytes) if out.bytes else None),
            ("where", Code(out.uri) if out.uri else None),
            ("dead letters", Code(out.dead_letter_uri) if out.dead_letter_uri else None),
        )
    yield from cost(status.cost)


MONITOR_HEAD: Final = ("monitor", "state", "rows", "beyond a threshold", "worst", "what")


def judged(one: Judged) -> list[Cell]:
    """A monitor as a row."""
    beyond = f"{one.drifted} of {one.features}" if one.features else ""
    worst = Number(f"{number(one.worst)} times") if one.worst else ""
    return [one.name, Tag(one.state), Number(f"{one.samples:,}") if one.samples else "",
            beyond, worst, one.message]  # fmt: skip


def _progress(scene: Scene, status: JobStatus, *more: tuple[str, Cell | None]) -> Iterator[Block]:
    obj = scene.found.obj
    done = (obj.get("status") or {}).get("progress") or {}
    told = progress(obj.get("status") or {})
    bar = Bar(done["percent"], " · ".join(told)) if done.get("percent") is not None else None
    waits = Tag("Admitted" if status.queue.admitted else "Waiting") if status.queue else ""
    workers = f"{status.workers.ready} of {status.workers.desired} ready"
    yield from facts(
        "Progress",
        ("done", bar),
        ("queue", Several([status.queue.name, waits]) if status.queue else None),
        ("workers", workers if status.workers.desired else None),
        ("time", between(status.start_time, status.completion_time or scene.now) or None),
        ("retry", f"at {clock(status.retry_time)}" if status.retry_time else None),
        *more,
    )


def figures(*texts: str | None) -> list[Cell]:
    """Numbers as text, short enough to be read."""
    return [Number(number(text)) if text else "" for text in texts]


def clock(when: datetime | None) -> str:
    """A time in full; the browser's zone is not known here."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else ""


def _metrics(status: TrainedStatus) -> Iterator[Block]:
    yield from table(
        "Metrics",
        ["metric", "value", "least", "greatest", "step"],
        [
            [one.name, *figures(one.value, one.min, one.max),
             Number(str(one.step)) if one.step is not None else ""]
            for one in status.metrics
        ],
    )  # fmt: skip


def attempts(scene: Scene, status: JobStatus) -> Iterator[Block]:
    """What was tried, the newest first, and the newest failure."""
    rows: list[list[Cell]] = []
    for one in reversed(status.attempts):
        how: Cell = Tag(status.phase) if one.end_time is None else Tag("Succeeded")
        if one.cause is not None:
            how = (
                Soft(one.cause)
                if one.cause in TOLD_TO_STOP
                else Several([Tag("Failed"), one.cause])
            )
        rows.append([
            str(one.number), how, between(one.start_time, one.end_time or scene.now),
            clock(one.start_time), str(one.exit_code) if one.exit_code else "",
            "spot" if one.spot else "", Code(one.resumed_from) if one.resumed_from else "",
        ])  # fmt: skip
    head = ["attempt", "state", "time", "began", "exit code", "nodes", "resumed from"]
    yield from table("Attempts", head, rows)
    if (error := status.last_error) is not None:
        yield from facts(
            "Newest failure",
            ("reason", error.reason),
            ("attempt", str(error.attempt) if error.attempt else None),
            ("message", error.message or None),
            ("when", clock(error.time) or None),
        )


def validations(found: Sequence[ValidationResult]) -> Iterator[Block]:
    """What checks of data found."""
    yield from table(
        "Checks of data",
        ["input", "state", "rows", "checks", "what"],
        [
            [one.name, Tag("OK" if one.passed else "Violated"), Number(f"{one.rows:,}"),
             Number(str(one.checks)), one.message]
            for one in found
        ],
    )  # fmt: skip


def _model(scene: Scene, status: TrainedStatus) -> Iterator[Block]:
    made = status.artifacts
    where = namespace_of(scene.found.obj)
    yield from facts(
        "Model",
        ("version", link("ModelVersion", where, status.model_version) or None),
        ("format", made.format if made else None),
        ("size", size(made.size) if made and made.size else None),
        ("where", Code(made.model_uri) if made and made.model_uri else None),
        ("digest", Code(made.digest) if made and made.digest else None),
        ("logs", Code(made.logs_uri) if made and made.logs_uri else None),
    )


def cost(found: Cost) -> Iterator[Block]:
    """What it has cost."""
    if found.billable_seconds:
        price = f"{number(found.estimate)} {found.currency or ''}" if found.estimate else None
        saved = found.spot_saved_seconds if isinstance(found, TrainingCost) else None
        yield from facts(
            "Cost",
            ("estimate", price),
            ("GPUs", duration(found.gpu_seconds) if found.gpu_seconds else None),
            ("CPU cores", duration(found.cpu_seconds)),
            ("with a cluster", duration(found.billable_seconds)),
            ("saved on spot nodes", duration(saved) if saved else None),
        )
