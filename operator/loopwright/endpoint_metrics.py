"""What each endpoint says of itself, for alerts. Endpoints are few and live long, unlike jobs."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loopwright.api.resources import MODELENDPOINT
from loopwright.kube.cache import Cache


class EndpointStates(Collector):
    """Computed when somebody asks; suspended endpoints are left out."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Whether endpoints are ready, and whether variants have returned to an old revision."""
        ready = GaugeMetricFamily(
            "loopwright_modelendpoint_ready",
            "Whether an endpoint is Ready",
            labels=["namespace", "endpoint"],
        )
        back = GaugeMetricFamily(
            "loopwright_modelendpoint_rolled_back",
            "Whether the newest revision of a variant was rolled back",
            labels=["namespace", "endpoint", "variant"],
        )
        for key in self._cache.own():
            obj = self._cache.get(key) if key.kind == MODELENDPOINT.kind else None
            if obj is None or (obj.get("spec") or {}).get("suspend"):
                continue
            status = obj.get("status") or {}
            told = {one["type"]: one["status"] for one in status.get("conditions") or ()}
            ready.add_metric([key.namespace, key.name], float(told.get("Ready") == "True"))
            for variant in status.get("variants") or ():
                labels = [key.namespace, key.name, variant["name"]]
                back.add_metric(labels, float("rejected" in variant))
        yield from (ready, back)
