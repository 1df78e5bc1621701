"""The mailbox of a HyperparameterSweep: what its driver reports, and the operator reads.

It is untrusted input to the operator, so every field is bounded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from loopwright.api.hyperparametersweep_status import (
    MAX_TRIALS_SHOWN,
    StopReason,
    Trial,
    TrialCounts,
)
from loopwright.api.report import Curve, JobReport, ModelReport
from loopwright.api.trainingjob_status import Artifacts, DataLineage, MetricValue, Progress

Uri = Annotated[str, Field(max_length=2048)]


class SweepReport(JobReport):
    """The whole content of a sweep's mailbox. State Succeeded: it ended for `stop_reason`. Stopped:
    it was told to stop, and the next attempt goes on."""

    trials: TrialCounts = TrialCounts()
    """Trials by state, over all attempts."""
    progress: Progress | None = None
    """Trials that ended, of spec.maxTrials, as steps."""
    best: Trial | None = None
    """The best of those that ran to their end, so that it has a model; by the first objective."""
    pareto: Annotated[list[Trial], Field(max_length=MAX_TRIALS_SHOWN)] = []
    """With several objectives: trials that none is better than in all of them."""
    top_trials: Annotated[list[Trial], Field(max_length=MAX_TRIALS_SHOWN)] = []
    """The best trials, best first; those that were stopped early come after all others."""
    results: Curve | None = None
    """What each trial that ran to its end has reached in the first objective, by its number; for
    pictures, as the curves of a job."""
    stop_reason: StopReason | None = None
    """Why no more trials are proposed."""
    history_uri: Uri | None = None
    """All trials, as JSON lines; there as soon as a trial has ended."""
    report_uri: Uri | None = None
    """The same for people, in the final report."""
    metrics: Annotated[list[MetricValue], Field(max_length=64)] = []
    """Of the best trial, in the final report; as a ModelVersion has them."""
    artifacts: Artifacts | None = None
    """The model of the best trial, in the final report. With spec.promote it is a copy that no
    later sweep touches."""
    model: ModelReport | None = None
    """More about that model."""
    inputs: Annotated[list[DataLineage], Field(max_length=20)] = []
    """Inputs as trials read them."""


def fewer(report: SweepReport) -> SweepReport | None:
    """A smaller report, when the mailbox is full; None when nothing can be left out any more.

    What storage holds as well goes: the results, the signature, trials from the end of the lists,
    inputs, and at last the parameters of the best trial.
    """
    lists = {name: getattr(report, name) for name in ("top_trials", "pareto", "inputs", "metrics")}
    if report.results is not None:
        return report.model_copy(update={"results": None})
    if report.model is not None and report.model.signature is not None:
        bare = report.model.model_copy(update={"signature": None})
        return report.model_copy(update={"model": bare})
    for name, held in lists.items():
        if held:
            return report.model_copy(update={name: held[: len(held) // 2]})
    if report.best is not None and (report.best.parameters or report.best.metrics):
        bare_best = report.best.model_copy(update={"parameters": {}, "metrics": {}})
        return report.model_copy(update={"best": bare_best})
    return None
