"""The operator's Prometheus metrics. Labels are bounded: no names of jobs, no uids."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic.alias_generators import to_camel

from loopwright.api.batchtransform_status import BatchTransformStatus
from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.api.jobspec import JobSpec, queue_of
from loopwright.api.modelendpoint_status import EndpointPhase
from loopwright.api.resources import (
    BATCHTRANSFORM,
    HYPERPARAMETERSWEEP,
    JOBS,
    MODELENDPOINT,
    TRAININGJOB,
    Key,
)
from loopwright.api.trainingjob_status import JobStatus, Phase, TrainingJobStatus
from loopwright.decide import budget
from loopwright.kube.cache import OWN_KINDS, Cache

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG_BUCKETS: Final = (5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 86400)

RECONCILE_SECONDS: Final = Histogram(
    "loopwright_reconcile_seconds", "Time of one reconcile", ["kind"], buckets=BUCKETS
)
RECONCILE_ERRORS: Final = Counter(
    "loopwright_reconcile_errors_total", "Reconciles that failed", ["kind", "reason"]
)
QUEUE_DEPTH: Final = Gauge("loopwright_handler_queue_depth", "Objects waiting or in work")
# What increase() is asked of begins at zero, or the first bug would not be seen.
for _kind in OWN_KINDS:
    RECONCILE_ERRORS.labels(_kind, "Bug")
LEADER: Final = Gauge("loopwright_leader", "1 while this replica leads")


class JobFigures:
    """What is counted about the jobs of a kind."""

    def __init__(self, kind: str) -> None:
        prefix = f"loopwright_{kind.lower()}"
        self.attempts = Counter(
            f"{prefix}_attempts_total", "Attempts that ended; no cause is success", ["cause"]
        )
        self.duration = Histogram(
            f"{prefix}_duration_seconds",
            "From a job's first attempt to its end",
            ["phase"],
            buckets=LONG_BUCKETS,
        )
        self.queue_seconds = Histogram(
            f"{prefix}_queue_seconds",
            "From an attempt's start to its running cluster",
            buckets=LONG_BUCKETS,
        )
        self.gpu_seconds = Counter(
            f"{prefix}_gpu_seconds_total",
            "GPUs times seconds of attempts that ended",
            ["namespace", "queue", "spot"],
        )


FIGURES: Final = {kind: JobFigures(kind) for kind in JOBS}

SPOT_SAVED: Final = Counter(
    "loopwright_trainingjob_spot_saved_seconds_total",
    "Seconds of training that checkpoints saved from interruptions of spot nodes",
    ["namespace", "queue"],
)
RECORDS: Final = Counter(
    "loopwright_batchtransform_records_total", "Records that batches have done", ["result"]
)
ROLLOUTS: Final = Counter(
    "loopwright_modelendpoint_rollouts_total", "Rollouts of variants that ended", ["outcome"]
)
COST: Final = Counter(
    "loopwright_cost_total",
    "Estimated cost that was put on record, in the currency of the price table",
    ["namespace", "kind"],
)
OUTCOMES: Final = frozenset({"RolloutComplete", "RolloutAbandoned", "RolledBack"})


def record(key: Key, spec: JobSpec, before: JobStatus, after: JobStatus) -> None:
    """Counts what happened between two statuses, of which the second was just stored."""
    figures = FIGURES[key.kind]
    old = {attempt.number: attempt for attempt in before.attempts}
    for attempt in after.attempts:
        known = old.get(attempt.number)
        if attempt.end_time is not None and (known is None or known.end_time is None):
            figures.attempts.labels(attempt.cause.value if attempt.cause else "").inc()
        started, runs = attempt.start_time, attempt.running_time
        if started and runs and (known is None or known.running_time is None):
            figures.queue_seconds.observe((runs - started).total_seconds())
    if after.completion_time and after.start_time and before.completion_time is None:
        seconds = (after.completion_time - after.start_time).total_seconds()
        figures.duration.labels(after.phase.value).observe(seconds)
    if (gpu := after.cost.gpu_seconds - before.cost.gpu_seconds) > 0:
        queue = queue_of(spec) or ""
        spot = "true" if spec.spot and spec.spot.enabled else "false"
        figures.gpu_seconds.labels(key.namespace, queue, spot).inc(gpu)
    spent(key, before.cost.estimate, after.cost.estimate)
    if isinstance(before, TrainingJobStatus) and isinstance(after, TrainingJobStatus):
        saved = (after.cost.spot_saved_seconds or 0) - (before.cost.spot_saved_seconds or 0)
        if saved > 0:
            SPOT_SAVED.labels(key.namespace, queue_of(spec) or "").inc(saved)
    if isinstance(before, BatchTransformStatus) and isinstance(after, BatchTransformStatus):
        for result in ("written", "failed"):
            # A shard that was not done is done again, so that the count may go back for a while.
            more = getattr(after.records, result) - getattr(before.records, result)
            RECORDS.labels(result).inc(max(0, more))


def spent(key: Key, before: str | None, after: str | None) -> None:
    """Counts what an object's estimate has grown by."""
    more = Decimal(after or "0") - Decimal(before or "0")
    if more > 0:
        COST.labels(key.namespace, key.kind).inc(float(more))


class JobCollector(Collector):
    """Figures of all jobs, computed when somebody asks."""

    def __init__(self, cache: Cache, now: Callable[[], datetime]) -> None:
        self._cache, self._now = cache, now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs by phase, and the oldest newest checkpoint of running jobs by namespace."""
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        ages: dict[str, float] = {}
        for key in self._cache.own():
            if key.kind != TRAININGJOB.kind:
                continue
            status = (self._cache.get(key) or {}).get("status") or {}
            phases[phase := status.get("phase", Phase.PENDING.value)] += 1
            stored = (status.get("checkpoint") or {}).get("time")
            if phase == Phase.RUNNING.value and stored:
                age = (self._now() - datetime.fromisoformat(stored)).total_seconds()
                ages[key.namespace] = max(age, ages.get(key.namespace, 0.0))
        yield _gauges("loopwright_trainingjob_phase", "Jobs by phase", "phase", phases)
        text = "Age of the newest checkpoint, of the running job where it is oldest"
        yield _gauges("loopwright_trainingjob_checkpoint_age_seconds", text, "namespace", ages)


class SweepCollector(Collector):
    """Figures of all sweeps, computed when somebody asks."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Sweeps by phase, and the trials of those that have not ended by state."""
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        trials: Tally[str] = Tally({state.value: 0 for state in TrialState})
        for key in self._cache.own():
            if key.kind != HYPERPARAMETERSWEEP.kind:
                continue
            status = (self._cache.get(key) or {}).get("status") or {}
            phases[status.get("phase", Phase.PENDING.value)] += 1
            counts = status.get("trials") or {}
            for state in TrialState if "completionTime" not in status else ():
                trials[state.value] += counts.get(to_camel(state.name.lower()), 0)
        yield _gauges("loopwright_hyperparametersweep_phase", "Sweeps by phase", "phase", phases)
        text = "Trials of sweeps that have not ended, by state"
        yield _gauges("loopwright_hyperparametersweep_trials", text, "state", trials)


class BatchCollector(Collector):
    """Figures of all batches, computed when somebody asks."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Batches by phase, and the shards of those that have not ended by state."""
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        shards: Tally[str] = Tally(Done=0, Waiting=0)
        for key in self._cache.own():
            if key.kind != BATCHTRANSFORM.kind:
                continue
            status = (self._cache.get(key) or {}).get("status") or {}
            phases[status.get("phase", Phase.PENDING.value)] += 1
            counts = status.get("shards") or {}
            if "completionTime" not in status:
                shards["Done"] += counts.get("done", 0)
                shards["Waiting"] += counts.get("total", 0) - counts.get("done", 0)
        yield _gauges("loopwright_batchtransform_phase", "Batches by phase", "phase", phases)
        text = "Shards of batches that have not ended, by state"
        yield _gauges("loopwright_batchtransform_shards", text, "state", shards)


class BudgetCollector(Collector):
    """Jobs that have used up their budgets, computed when somebody asks."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """By namespace and kind; nothing where no job has yet to end."""
        found: Tally[tuple[str, str]] = Tally()
        for key in self._cache.own():
            status = (self._cache.get(key) or {}).get("status") or {}
            if key.kind in JOBS and "completionTime" not in status:
                said = {one["type"]: one["status"] for one in status.get("conditions", [])}
                found[key.namespace, key.kind] += said.get(budget.CONDITION) == "True"
        text = "Jobs that wait because their budget is used up"
        family = GaugeMetricFamily(
            "loopwright_jobs_over_budget", text, labels=["namespace", "kind"]
        )
        for labels, number in sorted(found.items()):
            family.add_metric(labels, number)
        yield family


class EndpointCollector(Collector):
    """Figures of all endpoints, computed when somebody asks."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Endpoints by phase."""
        phases: Tally[str] = Tally({phase.value: 0 for phase in EndpointPhase})
        for key in self._cache.own():
            if key.kind == MODELENDPOINT.kind:
                status = (self._cache.get(key) or {}).get("status") or {}
                phases[status.get("phase", EndpointPhase.PENDING.value)] += 1
        yield _gauges("loopwright_modelendpoint_phase", "Endpoints by phase", "phase", phases)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
