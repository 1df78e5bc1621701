"""The server's Prometheus metrics, which the endpoint's monitor reads too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from loopwright.api import serving
from loopwright.serving.model import Model
from loopwright.serving.settings import Settings

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LABELS: Final = ("endpoint", "variant")


@dataclass(frozen=True)
class Described:
    """A metric of ours."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    help: str
    labels: tuple[str, ...] = ()
    """Besides LABELS."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def make(self, registry: CollectorRegistry) -> Any:
        """The metric, in a registry."""
        labels = (*LABELS, *self.labels)
        return self.kind(self.name, self.help, labels, registry=registry, **self.options)


REQUESTS: Final = Described(
    serving.METRIC_REQUESTS, Counter, "Requests for predictions", ("protocol", "code")
)
SECONDS: Final = Described(
    serving.METRIC_SECONDS,
    Histogram,
    "From the head of a request to its answer; without requests refused with 4xx",
    options={"buckets": BUCKETS},
)
IN_FLIGHT: Final = Described(serving.METRIC_IN_FLIGHT, Gauge, "Requests in work")
BATCH_ROWS: Final = Described(
    "loopwright_serving_batch_rows",
    Histogram,
    "Rows predicted together, with max_batch_size",
    options={"buckets": ROWS},
)
MODEL_INFO: Final = Described(
    "loopwright_serving_model_info",
    Gauge,
    "1, with what is served",
    ("model", "version", "digest"),
)
CAPTURED: Final = Described(
    serving.METRIC_CAPTURED, Counter, "Requests that data capture has stored"
)
DROPPED: Final = Described(
    serving.METRIC_CAPTURE_DROPPED,
    Counter,
    "Requests that were sampled and not stored: queue_full, writer_down, writer_lost or"
    " upload_failed",
    ("reason",),
)
UPLOADS: Final = Described(
    "loopwright_capture_uploads_total",
    Counter,
    "Attempts to store a file of captured requests: ok or failed",
    ("result",),
)
FAILING: Final = Described(
    serving.METRIC_CAPTURE_FAILING,
    Gauge,
    "1 while data capture does not work: its last upload failed, or it cannot run",
)
CAPTURE: Final = (CAPTURED, DROPPED, UPLOADS, FAILING)
DESCRIBED: Final = (REQUESTS, SECONDS, IN_FLIGHT, BATCH_ROWS, MODEL_INFO, *CAPTURE)
EVENTS: Final = Described(
    "loopwright_collector_events_total", Counter, "Events that were taken, also beyond the sample"
)
REFUSED: Final = Described(
    "loopwright_collector_refused_total",
    Counter,
    "Events that were refused: 400 malformed, 403 of others, 408 too slow, 413 too large,"
    " 415 not in binary mode, 503 too many at once, or nothing is to be kept",
    ("code",),
)
UNPAIRED: Final = Described(
    "loopwright_collector_unpaired_total",
    Counter,
    "Rows of one event alone, request or response, because no other came in time",
    ("event",),
)
COLLECTOR: Final = (EVENTS, REFUSED, UNPAIRED)
DROPS: Final = ("queue_full", "writer_down", "writer_lost", "upload_failed")


class Metrics:
    """One server's, in a registry of its own."""

    def __init__(self, settings: Settings, model: Model) -> None:
        # A series for each other series, with nothing but its time of birth.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own = (settings.endpoint, settings.variant)
        self._requests: Counter = REQUESTS.make(self.registry)
        self._seconds: Histogram = SECONDS.make(self.registry).labels(*own)
        self._in_flight: Gauge = IN_FLIGHT.make(self.registry).labels(*own)
        self.batch_rows: Histogram = BATCH_ROWS.make(self.registry).labels(*own)
        info = MODEL_INFO.make(self.registry)
        info.labels(*own, model.name, model.version, model.digest).set(1)
        self._own = own
        # Looking a label up takes longer than counting. There are few: three protocols, ten codes.
        self._counters: dict[tuple[str, int], Counter] = {}
        for protocol in ("v1", "v2", "grpc"):
            for code in (200, 500):
                self._counter(protocol, code)

    def capture(self) -> CaptureMetrics:
        """Those of data capture, which are there only where it is wanted."""
        return CaptureMetrics(self.registry, self._own)

    def begin(self) -> None:
        """A request is there."""
        self._in_flight.inc()

    def end(self, protocol: str, code: int, seconds: float) -> None:
        """It was answered."""
        self._in_flight.dec()
        self._counter(protocol, code).inc()
        if not 400 <= code < 500:
            self._seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)

    def _counter(self, protocol: str, code: int) -> Counter:
        found = self._counters.get((protocol, code))
        if found is None:
            found = self._requests.labels(*self._own, protocol, str(code))
            self._counters[protocol, code] = found
        return found


class CaptureMetrics:
    """Those of data capture."""

    def __init__(self, registry: CollectorRegistry, own: tuple[str, str]) -> None:
        self.stored: Counter = CAPTURED.make(registry).labels(*own)
        dropped, uploads = DROPPED.make(registry), UPLOADS.make(registry)
        self.dropped: dict[str, Counter] = {one: dropped.labels(*own, one) for one in DROPS}
        self.uploads: dict[str, Counter] = {
            one: uploads.labels(*own, one) for one in ("ok", "failed")
        }
        self.failing: Gauge = FAILING.make(registry).labels(*own)


class CollectorMetrics:
    """Those of a collector of KServe's events, in a registry of their own."""

    def __init__(self, own: tuple[str, str]) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.capture = CaptureMetrics(self.registry, own)
        self.events: Counter = EVENTS.make(self.registry).labels(*own)
        refused, unpaired = REFUSED.make(self.registry), UNPAIRED.make(self.registry)
        self.refused: dict[int, Counter] = {
            one: refused.labels(*own, str(one)) for one in (400, 403, 408, 413, 415, 503)
        }
        self.unpaired: dict[str, Counter] = {
            one: unpaired.labels(*own, one) for one in ("request", "response")
        }

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
