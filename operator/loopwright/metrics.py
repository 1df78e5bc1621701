"""The operator's Prometheus metrics. Labels are bounded: no names of jobs, no uids."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loopwright.api.trainingjob_status import Phase
from loopwright.kube.cache import Cache
from loopwright.kube.resources import TRAININGJOB

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RECONCILE_SECONDS: Final = Histogram(
    "loopwright_reconcile_seconds", "Time of one reconcile", ["kind"], buckets=BUCKETS
)
RECONCILE_ERRORS: Final = Counter(
    "loopwright_reconcile_errors_total", "Reconciles that failed", ["kind", "reason"]
)
QUEUE_DEPTH: Final = Gauge("loopwright_handler_queue_depth", "Objects waiting or in work")
LEADER: Final = Gauge("loopwright_leader", "1 while this replica leads")


class JobCollector(Collector):
    """Figures of all jobs, computed when somebody asks."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs by phase, and what they used by namespace."""
        phases: Tally[str] = Tally({phase.value: 0 for phase in Phase})
        gpu: Tally[str] = Tally()
        for key in self._cache.own():
            status = (self._cache.get(key) or {}).get("status") or {}
            if key.kind == TRAININGJOB.kind:
                phases[status.get("phase", Phase.PENDING.value)] += 1
                gpu[key.namespace] += (status.get("cost") or {}).get("gpuSeconds", 0)
        family = GaugeMetricFamily(
            "loopwright_trainingjob_phase", "Jobs by phase", labels=["phase"]
        )
        for phase, count in sorted(phases.items()):
            family.add_metric([phase], count)
        yield family
        used = GaugeMetricFamily(
            "loopwright_trainingjob_gpu_seconds", "GPU seconds of jobs", labels=["namespace"]
        )
        for namespace, seconds in sorted(gpu.items()):
            used.add_metric([namespace], seconds)
        yield used
