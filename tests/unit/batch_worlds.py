"""A batch and its surroundings for tests of decisions; see `worlds`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from worlds import World

from loopwright.api.batch_report import BatchReport
from loopwright.api.batchtransform import BatchTransformSpec
from loopwright.api.batchtransform_status import BatchModel, BatchTransformStatus
from loopwright.decide.batchtransform import BatchRun
from loopwright.decide.job import decide
from loopwright.decide.types import Blocked, Decision, Observed

DIGEST = "sha256:" + "0" * 64
SPEC: dict[str, Any] = {
    "model": {"modelRef": {"name": "digits", "alias": "live"}},
    "input": {"uri": "s3://b/in", "format": "csv"},
    "output": {"uri": "s3://b/out"},
}


def batch_spec(**spec: Any) -> BatchTransformSpec:
    """A small batch; of a model, unless it asks an endpoint."""
    known = {
        name: one for name, one in SPEC.items() if name != "model" or "endpointRef" not in spec
    }
    return BatchTransformSpec.model_validate({**known, **spec})


def model(version: str) -> BatchModel:
    """A model that may be run."""
    name = f"digits-{version}"
    return BatchModel(uri=f"s3://m/{version}", format="onnx", digest=DIGEST, model_version=name)


class BatchWorld(World):
    """A batch and what is around it."""

    spec: Any
    status: Any
    means: BatchModel | Blocked
    """What spec.model means now."""

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.spec, self.status, self.means = batch_spec(**spec), BatchTransformStatus(), model("v1")

    def used(self) -> BatchModel | Blocked:
        """As the reconcile does: what is on record, or what spec.model means."""
        return self.status.model or self.means

    def seen(self) -> Observed:
        """What there is; a model that is unknown holds up a start."""
        return self.held(super().seen())

    def held(self, seen: Observed) -> Observed:
        """What a cache of any age shows, and what the model that it shows means for a start."""
        used = self.used()
        return replace(seen, blocked=used) if isinstance(used, Blocked) else seen

    def decide(self, seen: Observed | None = None) -> Decision[Any]:
        run = BatchRun(self.spec, self.used())
        return decide(run, self.status, self.held(seen or self.seen()), self.now)

    def pending(self) -> bool:
        """A batch that has ended leaves nothing to do."""
        return False

    def driver(self, attempt: int, state: str, run_id: str = "r", **more: Any) -> Self:
        """The driver says something about an attempt."""
        said = {"attempt": attempt, "runId": run_id, "state": state, "time": self.now, **more}
        self.report = BatchReport.model_validate(said)
        return self

    def change(self, **update: Any) -> Self:
        """A person edits the spec; fields by their Python names."""
        self.spec = self.spec.model_copy(update=update)
        return self


def shards(done: int, total: int = 4, resumed: int = 0, failed: int = 0) -> dict[str, Any]:
    """What a driver says that has done some shards of ten records."""
    records = {"read": 10 * done, "written": 10 * done - failed, "failed": failed}
    return {"records": records, "shards": {"total": total, "done": done, "resumed": resumed}}


OUTPUTS: dict[str, Any] = {
    "uri": "s3://b/out", "manifestUri": "s3://b/out/_manifest.json", "digest": DIGEST, "files": 4,
    "bytes": 100,
}  # fmt: skip
DONE: dict[str, Any] = {**shards(4), "outputs": OUTPUTS}
