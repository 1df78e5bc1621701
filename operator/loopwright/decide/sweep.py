"""What a HyperparameterSweep adds to the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loopwright.api.hyperparametersweep import KIND, HyperparameterSweepSpec
from loopwright.api.hyperparametersweep_status import (
    HyperparameterSweepStatus,
    Limits,
    StopReason,
)
from loopwright.api.modelref import Register
from loopwright.api.sweep_report import SweepReport
from loopwright.api.sweepconfig import GRACE
from loopwright.api.trainingjob_status import Lineage, Progress
from loopwright.decide.conditions import Claim
from loopwright.decide.kind import Words
from loopwright.decide.outcome import NO_RUNTIME
from loopwright.decide.register import Trains

# Reasons to end, by the condition that tells them.
ENDS: Final[Mapping[str, frozenset[StopReason]]] = {
    "GoalReached": frozenset({StopReason.GOAL_REACHED}),
    "Exhausted": frozenset(
        {StopReason.MAX_TRIALS, StopReason.SPACE_EXHAUSTED, StopReason.NO_IMPROVEMENT}
    ),
    "BudgetExceeded": frozenset({StopReason.MAX_RUNTIME}),
}


@dataclass(frozen=True)
class SweepRun(Trains[HyperparameterSweepStatus]):
    """A HyperparameterSweep as the core decides about it."""

    kind = KIND
    words = Words("the search", "searches", "Searching")
    grace = GRACE

    spec: HyperparameterSweepSpec

    @property
    def register(self) -> Register | None:
        """What is to be done about the best trial's model."""
        return self.spec.promote

    def heard(
        self, status: HyperparameterSweepStatus, report: SweepReport
    ) -> HyperparameterSweepStatus:
        """The status with what the driver reports."""
        image = self.spec.image
        lineage = Lineage(inputs=report.inputs, image=image)
        return status.model_copy(
            update={
                # A driver that has just begun has not read of its predecessors' trials yet.
                "trials": report.trials if report.trials.total else status.trials,
                "progress": _progress(status.progress, report.progress),
                "best": report.best or status.best,
                "pareto": report.pareto or status.pareto,
                "top_trials": report.top_trials or status.top_trials,
                "stop_reason": report.stop_reason,
                "history_uri": report.history_uri or status.history_uri,
                "report_uri": report.report_uri or status.report_uri,
                "metrics": report.metrics or status.metrics,
                "artifacts": report.artifacts or status.artifacts,
                "lineage": lineage if report.inputs or image else status.lineage,
            }
        )

    def idle(self, status: HyperparameterSweepStatus) -> HyperparameterSweepStatus:
        """Without an attempt no trial is at work, whatever its driver has said last."""
        counts = status.trials
        waiting = {"running": 0, "pending": counts.pending + counts.running}
        return status.model_copy(update={"trials": counts.model_copy(update=waiting)})

    def claims(self, status: HyperparameterSweepStatus) -> Mapping[str, Claim]:
        """Why it proposes no more trials."""
        why = status.stop_reason
        if status.last_error is not None and status.last_error.reason == NO_RUNTIME.reason:
            why = why or StopReason.MAX_RUNTIME
        return {
            name: Claim(why in reasons, why.value if why in reasons else f"Not{name}")
            for name, reasons in ENDS.items()
        }

    def begun(self, status: HyperparameterSweepStatus) -> HyperparameterSweepStatus:
        """The status with what the attempt is told."""
        update = {
            "algorithm": self.spec.algorithm.name,
            "limits": self._limits(),
            "stop_reason": None,
        }
        return status.model_copy(update=update)

    def _limits(self) -> Limits:
        return Limits(
            max_trials=self.spec.max_trials,
            parallel_trials=self.spec.parallel_trials,
            max_runtime_seconds=self.spec.run_policy.max_runtime_seconds,
        )

    def asked(self, status: HyperparameterSweepStatus) -> HyperparameterSweepSpec:
        """The spec with the limits that are on record, whatever they are by now."""
        told, policy = status.limits, self.spec.run_policy
        if told is None:
            return self.spec
        seconds = {"max_runtime_seconds": told.max_runtime_seconds}
        limits = {
            "max_trials": told.max_trials,
            "parallel_trials": told.parallel_trials,
            "run_policy": policy.model_copy(update=seconds),
        }
        return self.spec.model_copy(update=limits)

    def outdated(self, status: HyperparameterSweepStatus) -> str | None:
        """Whether the cluster has another size than it should, or the driver too much time.

        More trials, or more time, the driver is told by the next attempt, once this one has come
        to the end of what it knows: nothing is gained by interrupting trials for that.
        """
        told, wanted = status.limits, self._limits()
        if told is None:
            return None
        if told.parallel_trials != wanted.parallel_trials:
            return f"parallelTrials is {wanted.parallel_trials} now"
        if told.max_runtime_seconds > wanted.max_runtime_seconds:
            return f"runPolicy.maxRuntimeSeconds is {wanted.max_runtime_seconds} now"
        return None

    def unfinished(self, status: HyperparameterSweepStatus) -> str | None:
        """Whether a limit at which the driver ended has been raised since it was told."""
        told, wanted, why = status.limits, self._limits(), status.stop_reason
        if told is None:
            return None
        if why is StopReason.MAX_TRIALS and wanted.max_trials > told.max_trials:
            return f"maxTrials is {wanted.max_trials} now"
        if why is StopReason.MAX_RUNTIME and wanted.max_runtime_seconds > told.max_runtime_seconds:
            return f"runPolicy.maxRuntimeSeconds is {wanted.max_runtime_seconds} now"
        return None


def _progress(before: Progress | None, after: Progress | None) -> Progress | None:
    """The newer progress, unless it says no more than that time has passed: not worth a write."""
    if before is None or after is None:
        return after or before
    same = before.model_copy(update={"updated_at": after.updated_at}) == after
    return before if same else after
