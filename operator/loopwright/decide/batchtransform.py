"""What a BatchTransform does in its own way, as a job that runs on Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from loopwright.api.batch_report import BatchReport
from loopwright.api.batchtransform import KIND, BatchTransformSpec
from loopwright.api.batchtransform_status import (
    MAX_SHOWN,
    BatchEndpoint,
    BatchModel,
    BatchProgress,
    BatchTransformStatus,
    Shards,
)
from loopwright.api.monitoring_status import MonitorState
from loopwright.api.trainingjob_status import DataLineage, Lineage
from loopwright.decide import monitoring, validation
from loopwright.decide.conditions import Claim
from loopwright.decide.kind import Job, Words
from loopwright.decide.types import Blocked

INPUT: Final = "input"


@dataclass(frozen=True)
class BatchRun(Job[BatchTransformStatus]):
    """A BatchTransform, and the model or the endpoint that its spec means now."""

    kind = KIND
    words = Words("the batch", "runs", "Transforming")

    spec: BatchTransformSpec
    model: BatchModel | BatchEndpoint | Blocked

    def begun(self, status: BatchTransformStatus) -> BatchTransformStatus:
        """Which model runs is on record before anything is made, and stays the same after that. An
        endpoint is asked where it is when the attempt begins."""
        model = status.model or (self.model if isinstance(self.model, BatchModel) else None)
        endpoint = self.model if isinstance(self.model, BatchEndpoint) else status.endpoint
        told = {"model": model, "endpoint": endpoint, "attempt_workers": self.spec.num_workers}
        return status.model_copy(update=told)

    def asked(self, status: BatchTransformStatus) -> BatchTransformSpec:
        """The spec with the number of workers that the newest attempt was told."""
        told = status.attempt_workers
        return self.spec if told is None else self.spec.model_copy(update={"num_workers": told})

    def outdated(self, status: BatchTransformStatus) -> str | None:
        """Shards that are done stay done, so that another number of workers costs little, and so
        does another address."""
        done = status.shards.total and status.shards.done == status.shards.total
        if done or not self.spec.resume.enabled:
            return None
        old, new = status.endpoint, self.model
        if old is not None and isinstance(new, BatchEndpoint) and new.url != old.url:
            return f"ModelEndpoint '{new.name}' is now asked at {new.url}"
        before, wanted = status.attempt_workers, self.spec.num_workers
        if before in (None, wanted):
            return None
        return f"numWorkers has changed from {before} to {wanted}"

    def heard(self, status: BatchTransformStatus, report: BatchReport) -> BatchTransformStatus:
        """Takes over the report; what a driver does not know yet, the one before it has told."""
        lineage = Lineage(
            inputs=[DataLineage(name=INPUT, uri=self.spec.input.uri)], image=self.spec.image
        )
        news: dict[str, Any] = {
            "lineage": lineage,
            "validation": report.validation or status.validation,
            "outputs": report.outputs or status.outputs,
            "skipped": report.skipped,
            "monitors": report.monitors or status.monitors,
        }
        model = status.model
        if model is not None and model.digest is None and report.model_digest is not None:
            # Nobody has said what it must be, so the first look at it does, for later attempts.
            news["model"] = model.model_copy(update={"digest": report.model_digest})
        if report.shards.total:
            news |= {
                "progress": _progress(report),
                "records": report.records,
                "shards": _shards(report),
                "problems": report.problems[:MAX_SHOWN],
            }
        return status.model_copy(update=news)

    def success(self, status: BatchTransformStatus) -> str:
        """That it succeeded, and for how many records it did not."""
        said = [super().success(status)]
        if status.records.failed:
            said.append(bad_records(status))
        bad = [one for one in status.monitors if one.state is MonitorState.VIOLATED]
        said += [f"{monitoring.where(one)}: {one.message}" for one in bad]
        if bad and status.outputs is not None:
            said.append(f"see {status.outputs.drift_report_uri}")
        return "; ".join(said)

    def claims(self, status: BatchTransformStatus) -> Mapping[str, Claim]:
        """What people wait for besides the job's end."""
        found = {"ModelResolved": self._resolved(status), "OutputCommitted": _committed(status)}
        if self.spec.validation is not None:
            results = [status.validation] if status.validation else []
            found[validation.CONDITION] = validation.validated([INPUT], results)
        if status.records.failed:
            found["RecordsComplete"] = Claim(False, "BadRecords", bad_records(status))
        elif found["OutputCommitted"].holds:
            found["RecordsComplete"] = Claim(True, "AllWritten")
        return found | monitoring.claims(self.spec.monitors, status.monitors)

    def _resolved(self, status: BatchTransformStatus) -> Claim:
        model = status.model or self.model
        if isinstance(model, Blocked):
            return Claim(False, model.reason, model.message)
        if isinstance(model, BatchEndpoint):
            return Claim(True, "Resolved", f"ModelEndpoint '{model.name}' at {model.url}")
        name = model.model_version
        return Claim(True, "Resolved", f"ModelVersion '{name}'" if name else model.uri)


def bad_records(status: BatchTransformStatus) -> str:
    """How many records failed, why, and where they are."""
    records, worst = status.records, next(iter(status.problems), None)
    text = f"{records.failed} of {records.read} records failed"
    if worst is not None:
        text += f"; {worst.count} of them are {worst.reason}: {worst.message}"
    letters = status.outputs.dead_letter_uri if status.outputs else None
    return f"{text}; see {letters}" if letters else text


def _progress(report: BatchReport) -> BatchProgress:
    return BatchProgress(
        percent=min(100, 100 * report.shards.done // report.shards.total),
        records_per_second=report.records_per_second,
        eta_seconds=report.eta_seconds,
        updated_at=report.time,
    )


def _shards(report: BatchReport) -> Shards:
    counts = report.shards
    return Shards(
        total=counts.total,
        done=counts.done,
        resumed=counts.resumed,
        finished=f"{counts.done}/{counts.total}",
        shown=report.shard_states[:MAX_SHOWN],
    )


def _committed(status: BatchTransformStatus) -> Claim:
    outputs = status.outputs
    if status.skipped:
        text = "the output was there already, and output.overwrite is Skip"
        return Claim(True, "AlreadyThere", text)
    if outputs is None or outputs.manifest_uri is None:
        return Claim(False, "NotPublished")
    return Claim(True, "Published", f"{outputs.files} files at {outputs.uri}")
