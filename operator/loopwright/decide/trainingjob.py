"""What a TrainingJob adds to the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loopwright.api.modelref import Register
from loopwright.api.report import Report
from loopwright.api.trainingjob import KIND, TrainingJobSpec
from loopwright.api.trainingjob_status import Cause, Lineage, MetricValue, TrainingJobStatus
from loopwright.api.validation import InputBaseline
from loopwright.decide import validation
from loopwright.decide.conditions import Claim
from loopwright.decide.cost import with_kept
from loopwright.decide.kind import Words
from loopwright.decide.register import Trains


@dataclass(frozen=True)
class TrainingRun(Trains[TrainingJobStatus]):
    """A TrainingJob as the core decides about it."""

    kind = KIND
    words = Words("training", "trains", "Training")

    spec: TrainingJobSpec
    baselines: tuple[InputBaseline, ...] = ()
    """What the spec's inputs are to be compared with now."""

    @property
    def register(self) -> Register | None:
        """What is to be done about the model."""
        return self.spec.register_

    def begun(self, status: TrainingJobStatus) -> TrainingJobStatus:
        """What inputs are compared with is on record before anything is made, and stays so."""
        return status.model_copy(update={"baselines": status.baselines or list(self.baselines)})

    def heard(self, status: TrainingJobStatus, report: Report) -> TrainingJobStatus:
        """The status with what the driver reports."""
        lineage = Lineage(inputs=report.inputs, image=self.spec.image)
        return status.model_copy(
            update={
                "progress": report.progress or status.progress,
                "metrics": self._objective_first(report.metrics) or status.metrics,
                "checkpoint": report.checkpoint or status.checkpoint,
                "artifacts": report.artifacts or status.artifacts,
                "lineage": lineage if report.inputs or self.spec.image else status.lineage,
                "validations": report.validations or status.validations,
            }
        )

    def claims(self, status: TrainingJobStatus) -> Mapping[str, Claim]:
        """What the checks of inputs found, if there are any."""
        asked = [one.name for one in self.spec.inputs if one.validation is not None]
        if not asked:
            return {}
        return {validation.CONDITION: validation.validated(asked, status.validations)}

    def retried(self, status: TrainingJobStatus, report: Report) -> TrainingJobStatus:
        """The status with what the checkpoint of an attempt on spot nodes has saved."""
        lost = status.attempts[-1]
        if not lost.spot or lost.cause is not Cause.INFRASTRUCTURE:
            return status
        return status.model_copy(update={"cost": with_kept(status.cost, lost, report.kept_seconds)})

    def _objective_first(self, metrics: list[MetricValue]) -> list[MetricValue]:
        objective = self.spec.metrics.objective
        if objective is None:
            return metrics
        return sorted(metrics, key=lambda metric: metric.name != objective.metric)
