"""Fake model servers: loopback HTTP servers that count as ours do, and do as they are told."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from loopwright.api import names
from loopwright.api.baseline import Baseline
from loopwright.api.feedback import FeedbackSnapshot
from loopwright.api.serving import BASELINE_PATH, FEEDBACK_PATH, SKETCH_PATH
from loopwright.sketch import Sketch

LABELS = {"endpoint": "digits", "variant": "main"}


class FakePod:
    """A pod whose server can count, restart, hang, break and be somebody else's."""

    _uids = itertools.count()

    def __init__(self, revision: str) -> None:
        self.uid, self.revision, self.variant = f"uid-{next(self._uids)}", revision, "main"
        self.ready, self.mode = True, "ours"
        self.address, self.port = "127.0.0.1", 0
        self.baseline: Baseline | None = None
        self.sketch: Sketch | None = None
        self.feedback: FeedbackSnapshot | None = None
        self._runner: web.AppRunner | None = None
        self.restart()

    def restart(self, age: float = 0.0) -> None:
        """Begins a new process, with counters at zero."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "loopwright_serving_requests", "r", [*LABELS, "protocol", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "loopwright_serving_request_seconds", "s", [*LABELS], registry=self._registry
        )
        self._flight = Gauge(
            "loopwright_serving_in_flight", "f", [*LABELS], registry=self._registry
        )
        started = Gauge("process_start_time_seconds", "t", registry=self._registry)
        started.set(time.time() - age)

    def answer(self, number: int, code: int = 200, seconds: float = 0.02) -> None:
        """Counts answers."""
        self._requests.labels(**LABELS, protocol="v2", code=str(code)).inc(number)
        for _ in range(number):
            self._seconds.labels(**LABELS).observe(seconds)

    def hold(self, number: int) -> None:
        """Works on so many requests."""
        self._flight.labels(**LABELS).set(number)

    async def start(self) -> FakePod:
        """Listens on a free port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get(BASELINE_PATH, self._baseline),
                web.get(SKETCH_PATH, self._sketch),
                web.get(FEEDBACK_PATH, self._feedback),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        """Does not listen any more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        if self.mode == "hangs":
            await asyncio.sleep(30)
        if self.mode == "breaks":
            return web.Response(status=500)
        if self.mode == "foreign":
            return web.Response(text="# TYPE request_predict_seconds histogram\n")
        if self.mode == "floods":
            return web.Response(body=b"x" * (5 << 20))
        return web.Response(body=generate_latest(self._registry))

    async def _baseline(self, _: web.Request) -> web.Response:
        if self.mode == "foreign":
            return web.Response(status=404)
        if self.baseline is None:
            return web.Response(status=204)
        return web.Response(text=self.baseline.model_dump_json(by_alias=True))

    async def _sketch(self, _: web.Request) -> web.Response:
        if self.mode == "breaks":
            return web.Response(status=500)
        if self.mode == "lies":
            return web.Response(body=b"LWSK" + b"x" * 100)
        assert self.sketch is not None
        return web.Response(body=self.sketch.snapshot().to_bytes())

    async def _feedback(self, _: web.Request) -> web.Response:
        if self.feedback is None:
            return web.Response(status=404)
        return web.Response(text=self.feedback.model_dump_json(by_alias=True))


@dataclass
class FakeSlices:
    """What the API server would list, written as the EndpointSlice controller does."""

    pods: list[FakePod] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """Revisions without pods."""

    def manifests(self) -> list[dict[str, Any]]:
        """An EndpointSlice for each pod, for all listen on other ports, and each empty Service."""
        made = [slice_of(pod.revision, pod, pod.variant) for pod in self.pods]
        return made + [slice_of(revision) for revision in self.empty]


def slice_of(revision: str, pod: FakePod | None = None, variant: str = "main") -> dict[str, Any]:
    """The EndpointSlice of a revision's Service."""
    labels = {
        **names.child_labels("ModelEndpoint", "digits"),
        names.LABEL_VARIANT: variant, names.LABEL_REVISION: revision,
        "kubernetes.io/service-name": f"digits-{variant}-{revision}",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }  # fmt: skip
    endpoints: list[dict[str, Any]] = []
    if pod is not None:
        reference = {"kind": "Pod", "name": pod.uid, "uid": pod.uid}
        conditions = {"ready": pod.ready, "serving": pod.ready, "terminating": False}
        endpoints = [{"addresses": [pod.address], "conditions": conditions, "targetRef": reference}]
    suffix = pod.uid if pod else "none"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"digits-{variant}-{revision}-{suffix}", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}] if pod else [],
        "endpoints": endpoints,
    }
