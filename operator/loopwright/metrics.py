"""The operator's Prometheus metrics. Labels are bounded: no names of jobs, no uids."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loopwright.api.trainingjob import TrainingJobSpec
from loopwright.api.trainingjob_status import Phase, TrainingJobStatus
from loopwright.kube.cache import Cache
from loopwright.kube.resources import TRAININGJOB

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG_BUCKETS: Final = (5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 86400)

RECONCILE_SECONDS: Final = Histogram(
    "loopwright_reconcile_seconds", "Time of one reconcile", ["kind"], buckets=BUCKETS
)
RECONCILE_ERRORS: Final = Counter(
    "loopwright_reconcile_errors_total", "Reconciles that failed", ["kind", "reason"]
)
QUEUE_DEPTH: Final = Gauge("loopwright_handler_queue_depth", "Objects waiting or in work")
LEADER: Final = Gauge("loopwright_leader", "1 while this replica leads")

ATTEMPTS: Final = Counter(
    "loopwright_trainingjob_attempts_total", "Attempts that ended; no cause is success", ["cause"]
)
DURATION: Final = Histogram(
    "loopwright_trainingjob_duration_seconds",
    "From a job's first attempt to its end",
    ["phase"],
    buckets=LONG_BUCKETS,
)
QUEUE_SECONDS: Final = Histogram(
    "loopwright_trainingjob_queue_seconds",
    "From an attempt's start to its running cluster",
    buckets=LONG_BUCKETS,
)
GPU_SECONDS: Final = Counter(
    "loopwright_trainingjob_gpu_seconds_total",
    "GPUs times seconds of attempts that ended",
    ["namespace", "queue", "spot"],
)


def record(
    namespace: str, spec: TrainingJobSpec, before: TrainingJobStatus, after: TrainingJobStatus
) -> None:
    """Counts what happened between two statuses, of which the second was just stored."""
    old = {attempt.number: attempt for attempt in before.attempts}
    for attempt in after.attempts:
        known = old.get(attempt.number)
        if attempt.end_time is not None and (known is None or known.end_time is None):
            ATTEMPTS.labels(attempt.cause.value if attempt.cause else "").inc()
        started, runs = attempt.start_time, attempt.running_time
        if started and runs and (known is None or known.running_time is None):
            QUEUE_SECONDS.observe((runs - started).total_seconds())
    if after.completion_time and after.start_time and before.completion_time is None:
        seconds = (after.completion_time - after.start_time).total_seconds()
        DURATION.labels(after.phase.value).observe(seconds)
    if (gpu := after.cost.gpu_seconds - before.cost.gpu_seconds) > 0:
        queue = (spec.scheduling and spec.scheduling.queue) or ""
        spot = "true" if spec.spot and spec.spot.enabled else "false"
        GPU_SECONDS.labels(namespace, queue, spot).inc(gpu)


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


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in sorted(values.items()):
        family.add_metric([value], number)
    return family
