"""Counts what a batch feeds its model and gets from it, and judges all of it at the end.

Each shard keeps its counts beside its results, so that a resumed job judges every record once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loopwright.api.baseline import Baseline
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.model import MODEL_FILE, ModelManifest
from loopwright.api.monitoring_status import Judged, MonitorState
from loopwright.drift import Reference, Verdict, asked, evaluate, report
from loopwright.runtime.batch.predictor import ModelFolder, model_of
from loopwright.runtime.batch.staging import Done
from loopwright.runtime.storage import Folder
from loopwright.sketch import Counts, Layout, Snapshot

REPORT: Final = "_drift/report.html"


def layout(config: BatchConfig, baseline: Baseline | None) -> Layout | None:
    """What shards count into; None when nobody asks, or nothing can be compared."""
    if not config.spec.monitors or baseline is None:
        return None
    try:
        return Layout.of(baseline)
    except ValueError:
        return None  # `judge` says so.


def judge(config: BatchConfig, done: Iterable[Done], output: Folder) -> list[Judged]:
    """What the monitors say of all shards; writes the report that shows it."""
    try:
        reference = _reference(config)
        counts = _counts(reference.layout, done, output)
    except _Unknown as unknown:
        return [
            Judged(
                name=one.name, state=MonitorState.UNKNOWN, reason=unknown.reason,
                message=unknown.message,
            )
            for one in config.spec.monitors
        ]  # fmt: skip
    found = {
        one.name: evaluate(reference, counts, asked.rules(one)) for one in config.spec.monitors
    }
    told = {name: asked.told(name, verdict) for name, verdict in found.items()}
    output.write(REPORT, _page(config.name, found, told, counts, reference).encode())
    return list(told.values())


class _Unknown(Exception):
    """Nothing can be judged."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def _reference(config: BatchConfig) -> Reference:
    if config.spec.predictor is not None:
        text = "what predictor.class does with records is not known; monitors need the default"
        raise _Unknown("PredictorUnknown", text)
    model = model_of(config)
    folder = ModelFolder(Folder(model.uri, model.secret))
    manifest = folder.read(MODEL_FILE)
    baseline = ModelManifest.model_validate_json(manifest).baseline if manifest else None
    if baseline is None:
        hint = "train.save_model(..., baseline=rows) keeps one"
        raise _Unknown("NoBaseline", f"the model has no baseline profile; {hint}")
    try:
        return Reference.of(baseline)
    except ValueError as error:
        raise _Unknown("BaselineInvalid", str(error)[:256]) from error


def _counts(known: Layout, done: Iterable[Done], output: Folder) -> Counts:
    parts = []
    for one in done:
        data = output.read(one.sketch) if one.sketch is not None else None
        if data is None:
            raise _Unknown("CountsMissing", f"shard {one.number} has no counts")
        try:
            parts.append(Snapshot.parse(data, known).counts)
        except ValueError as error:
            raise _Unknown("CountsInvalid", f"shard {one.number}: {error}"[:256]) from error
    return Counts.total(known, parts)


def _page(
    job: str, found: dict[str, Verdict], told: dict[str, Judged], counts: Counts,
    reference: Reference,
) -> str:  # fmt: skip
    parts = []
    for name, verdict in found.items():
        parts.append(report.said(name, told[name]))
        parts.append(report.pictures(verdict.by_feature(), counts, reference))
    return report.document(f"Drift of {job}", "this batch", parts)
