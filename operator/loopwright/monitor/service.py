"""What others ask the monitor over HTTP: is it alive, and what did it see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from loopwright.api.monitoring_status import MonitorState
from loopwright.monitor import experiment_page
from loopwright.monitor.page import page
from loopwright.monitor.watcher import Watcher

# Rounds are seconds apart; a process that turns none for so long hangs.
HANGS: Final = 60.0
# Of a monitor; more would be a burden to Prometheus.
MAX_FEATURES: Final = 50
# Nothing in the report runs, and nothing is fetched for it.
SAFE: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
EXPERIMENT: Final = "/experiment"
KNOWN: Final = (MonitorState.OK, MonitorState.VIOLATED)
LABELS: Final = ("namespace", "endpoint", "variant", "revision")


class Figures(Collector):
    """The newest report as metrics. What is not known has no sample."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Three figures for each revision."""
        errors = _gauge(
            "loopwright_endpoint_error_ratio", "Answers with code 500 or more, of all in the window"
        )
        rate = _gauge("loopwright_endpoint_request_rate", "Requests a second in the window")
        latency = _gauge(
            "loopwright_endpoint_latency_seconds", "Quantiles of latency in the window", "quantile"
        )
        config, report = self._watcher.config, self._watcher.report
        for one in report.variants if report else ():
            labels = [config.namespace, config.endpoint, one.name, one.revision]
            for family, more, value in (
                (errors, [], one.error_ratio),
                (rate, [], one.rate),
                (latency, ["0.5"], one.p50_seconds),
                (latency, ["0.99"], one.p99_seconds),
            ):
                if value is not None:
                    family.add_metric([*labels, *more], value)
        yield from (errors, rate, latency)
        yield from self._monitors()
        yield self._p_values()

    def _p_values(self) -> GaugeMetricFamily:
        """Of the experiment, by variant but the control."""
        family = GaugeMetricFamily(
            "loopwright_experiment_pvalue",
            "Always-valid p-value of the hypothesis that the variant is as good as the control",
            labels=LABELS[:3],
        )
        config, experiment = self._watcher.config, self._watcher.experiment
        for one in experiment.report.finding.variants if experiment is not None else ():
            if one.p_value:
                family.add_metric([config.namespace, config.endpoint, one.name], float(one.p_value))
        return family

    def _monitors(self) -> Iterator[GaugeMetricFamily]:
        """What monitors found; nothing of those that do not know."""
        config = self._watcher.config
        violated = _gauge(
            "loopwright_endpoint_monitor_violated", "Whether a monitor is violated", "monitor"
        )
        worst = _gauge(
            "loopwright_endpoint_monitor_score",
            "The worst feature of the newest window, as a multiple of its threshold", "monitor",
        )  # fmt: skip
        quality = _gauge(
            "loopwright_endpoint_model_quality",
            "A metric of answers whose labels have come, in the newest window", "monitor", "metric",
        )  # fmt: skip
        for one in self._watcher.verdicts():
            labels = [config.namespace, config.endpoint, one.variant, one.revision, one.name]
            if one.state in KNOWN:
                violated.add_metric(labels, one.state is MonitorState.VIOLATED)
            if one.worst:
                worst.add_metric(labels, float(one.worst))
            if one.quality is not None and one.quality.value:
                quality.add_metric([*labels, one.quality.metric], float(one.quality.value))
        features = _gauge(
            "loopwright_endpoint_feature_score",
            "A feature in the newest window, as a multiple of its threshold", "monitor", "feature",
        )  # fmt: skip
        for revision, drifting in self._watcher.sketches.drifting().items():
            labels = [config.namespace, config.endpoint, revision.variant, revision.revision]
            for judge in drifting.judges:
                for found in judge.features()[:MAX_FEATURES]:
                    features.add_metric(
                        [*labels, judge.monitor.name, found.feature], found.severity
                    )
        yield from (violated, worst, quality, features)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=[*LABELS, *labels])


async def serve(watcher: Watcher, port: int) -> web.AppRunner:
    """Starts /metrics, /healthz and /readyz."""
    registry = CollectorRegistry()
    registry.register(Figures(watcher))
    ProcessCollector(registry=registry)

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def healthz(_: web.Request) -> web.Response:
        silence = time.monotonic() - watcher.turned
        limit = HANGS + 2 * watcher.config.interval_seconds
        # Without an API server there are no rounds to turn, and a restart would not help.
        healthy = watcher.report is None or silence < limit
        text = f"last scraped {silence:.0f} s ago"
        return web.Response(text=text, status=200 if healthy else 500)

    async def readyz(_: web.Request) -> web.Response:
        if watcher.report is None:
            return web.Response(text="not scraped yet", status=503)
        return web.Response(text="ok")

    async def report(_: web.Request) -> web.Response:
        sketches = watcher.sketches
        unknown = [one for one in watcher.verdicts() if one.state is MonitorState.UNKNOWN]
        link = EXPERIMENT if watcher.experiment is not None else ""
        text = page(watcher.config.endpoint, sketches.drifting(), unknown, link)
        return web.Response(text=text, content_type="text/html", headers=SAFE)

    async def experiment(_: web.Request) -> web.Response:
        found = watcher.experiment
        if found is None:
            return web.Response(text="there is no experiment, or it has not begun", status=404)
        text = experiment_page.page(watcher.config.endpoint, found.config, found.report)
        return web.Response(text=text, content_type="text/html", headers=SAFE)

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/report", report),
            web.get(EXPERIMENT, experiment),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 (the kubelet asks)
    return runner
