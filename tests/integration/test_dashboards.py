"""All dashboards and alerts on a real Prometheus that scrapes a real operator, monitor and model
server; KubeRay, KServe and the endpoint's pods are played."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dashboards
import fake_network
import httpx
import kserve_events
import pytest
from fake_kuberay import FakeKubeRay
from fake_pods import FakePod, slice_of
from grafana import Panel
from kubectl import Kubectl
from model_folders import linear, write
from model_servers import Server, servers
from monitors import Endpoint
from prometheus_server import PrometheusServer, Target, prometheus
from replicas import Replica, Replicas
from scenes import SETTINGS, scene, serving
from test_alert_rules import of_chart
from test_sweeps import BEST, HISTORY, sweeps
from test_sweeps import create as create_sweep

from eventually import eventually
from loopwright.api import names
from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.desired.alerts import AlertSettings, prometheus_rule
from loopwright.desired.endpoint import EndpointContext
from ports import free_port

__all__ = ["sweeps"]  # A fixture.

NAMESPACE = "loopwright-system"
OUTPUTS: dict[str, Any] = {
    "uri": "pvc://results/out", "manifestUri": "pvc://results/out/_manifest.json",
    "digest": "sha256:" + "0" * 64, "files": 4, "bytes": 100,
}  # fmt: skip
PRICES = {"currency": "EUR", "cpu-hour": "3600", "memory-gib-hour": "0", "gpu-hour": "3600"}
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$namespace": ".*", "$endpoint": ".*",
             "$monitor": ".*"}  # fmt: skip
# What nothing here does: sweeps and batches on GPUs, drift, experiments, rollouts, nodes that are
# taken away.
SILENT = {
    "sweeps": {"GPUs", "GPUs on spot nodes"},
    "batch": {"GPUs", "GPUs on spot nodes"},
    "training": set(),
    "endpoints": {"Rows predicted together", "Rollouts that ended", "p-value"},
    "drift": {
        "Violated", "Score", "Quality of answers", "Ten worst features",
        "Features over their threshold",
    },
    "cost": {"Training saved on spot nodes"},
    "overview": {"Alerts", "Violated monitors"},
    "operator": {"Errors"},
}  # fmt: skip


def asked(expr: str) -> str:
    """As Grafana asks when everything is chosen."""
    return re.sub(r"\$\w+", lambda found: VARIABLES[found[0]], expr)


@pytest.fixture
def prices(api: Kubectl) -> Iterator[None]:
    """A price table, by which a core or a GPU costs 1 EUR a second."""
    words = [f"--from-literal={key}={value}" for key, value in PRICES.items()]
    api.run("create", "configmap", "prices", "-n", NAMESPACE, *words)
    yield
    api.run("delete", "configmap", "prices", "-n", NAMESPACE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A real model server, of variant main of endpoint digits."""
    digest = write(tmp_path / "model", linear())
    with servers(tmp_path) as start:
        env = {"LOOPWRIGHT_ENDPOINT": "digits", "LOOPWRIGHT_VARIANT": "main"}
        yield start(
            env, model_dir=tmp_path / "model", model_digest=digest, grpc_port=0
        ).wait_ready()


@pytest.fixture
async def watched(
    api: Kubectl, kuberay: FakeKubeRay, server: Server, tmp_path: Path
) -> AsyncIterator[Endpoint]:
    """A real monitor of that endpoint, whose only pod is the server."""
    folder = tmp_path / "monitor"
    folder.mkdir()
    made = Endpoint(api, kuberay.namespace, folder)
    await made.make()
    pod = FakePod("r1")
    pod.address, pod.port = fake_network.ADDRESS, server.port
    await made.apply(slice_of("r1", pod))
    made.start()
    yield made
    assert made.end(signal.SIGTERM) == 0


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[int]:
    """A real collector of KServe's events; its port."""
    folder, port = tmp_path / "collector", free_port()
    folder.mkdir()
    (folder / "capture.json").write_text(kserve_events.configuration())
    with kserve_events.start(folder, http_port=port) as process:
        try:
            yield port
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def targets(operator: Replica, server: Server, monitor: Endpoint, collector: int) -> list[Target]:
    """What the chart's ServiceMonitor and the guide's PodMonitors make Prometheus scrape."""
    own = {"namespace": NAMESPACE, "pod": "loopwright-0", "container": "operator"}
    pod = {"namespace": monitor.namespace, "container": "c"}
    return [
        Target("loopwright", operator.metrics_port, {**own, "service": "loopwright-metrics"}),
        Target("loopwright-servers", server.port, {**pod, "pod": "digits-main-r1"}),
        Target("loopwright-monitors", monitor.port, {**pod, "pod": "digits-monitor"}),
        Target("loopwright-collectors", collector, {**pod, "pod": "loans-collector"}),
    ]


def work(kuberay: FakeKubeRay, server: Server) -> None:
    """Jobs that end, one with a checkpoint that runs on, and some predictions."""
    gpus = {"cpu": "1", "gpu": 8}
    spot = {"spot": {"enabled": True}, "checkpoint": {}}
    # The first makes the counters, and the second lets them grow.
    for name in ("first", "second"):
        kuberay.create(name, numWorkers=1, resourcesPerWorker=gpus, **spot)
        kuberay.says(f"{name}-a1", "Running", "RUNNING")
        kuberay.phase(name, "Running")
        time.sleep(5)  # The status has whole seconds, and Prometheus scrapes every two.
        kuberay.finish(name)
    kuberay.create("runs", numWorkers=0)
    kuberay.says("runs-a1", "Running", "RUNNING")
    kuberay.phase("runs", "Running")
    stored = {"uri": "pvc://results/x/checkpoints/1", "time": "2026-01-01T00:00:00Z", "step": 1}
    kuberay.reports("runs", 1, "Running", checkpoint=stored)
    eventually("the checkpoint", lambda: kuberay.status("runs").get("checkpoint"))
    predict(server)


def create_batch(batches: FakeKubeRay, name: str) -> None:
    """A batch with a version of a model."""

    def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        head = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}}
        return {**head, "spec": spec}

    some = {"uri": "pvc://results/m", "digest": OUTPUTS["digest"], "format": "onnx"}
    batches.apply(
        ours("Model", "digits"),
        ours("ModelVersion", "digits-v1", modelRef={"name": "digits"}, version="v1", **some),
        ours(
            "BatchTransform", name, model={"modelVersionRef": {"name": "digits-v1"}},
            input={"uri": "pvc://results/in", "format": "csv"},
            output={"uri": "pvc://results/out/"}, errors={"maxFailedRecords": 5},
        ),
    )  # fmt: skip


def work_of_others(sweeps: FakeKubeRay, batches: FakeKubeRay) -> None:
    """A sweep that ends and one that goes on with a failed trial, and a batch that ends."""
    for name in ("found", "searches"):
        create_sweep(sweeps, name)
        sweeps.says(f"{name}-s1", "Running", "RUNNING")
        trials = {"total": 5, "running": 2, "succeeded": 2, "failed": 1, "finished": "3/20"}
        sweeps.reports(name, 1, "Running", trials=trials, best=BEST, historyUri=HISTORY)
        eventually("trials", lambda name=name: sweeps.status(name).get("best"))
    sweeps.finish("found", stopReason="MaxTrials", best=BEST, historyUri=HISTORY)
    create_batch(batches, "score")
    batches.says("score-b1", "Running", "RUNNING")
    some = {"shards": {"total": 4, "done": 1}, "records": {"read": 10, "written": 10}}
    batches.reports("score", 1, "Running", **some)
    eventually("records", lambda: (batches.status("score").get("records") or {}).get("written"))
    time.sleep(5)  # Prometheus scrapes every two seconds.
    batches.finish(
        "score", shards={"total": 4, "done": 4}, outputs=OUTPUTS,
        records={"read": 40, "written": 37, "failed": 3},
    )  # fmt: skip


def predict(server: Server) -> None:
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}
    for _ in range(40):
        answer = httpx.post(
            f"{server.url}/v2/models/m/infer", json={"inputs": [tensor]}, timeout=60
        )
        assert answer.status_code == 200, answer.text


def tell(collector: int) -> None:
    """What KServe's logger tells of a request."""
    for type, body in kserve_events.BODIES.items():
        sent = kserve_events.headers("a", type, time.time())
        answer = httpx.post(f"http://127.0.0.1:{collector}/", content=body, headers=sent)
        assert answer.status_code == 200, answer.text


def empty(found: PrometheusServer) -> set[str]:
    """Panels that should show something and do not."""
    return {
        f"{one.name}: {panel.title}"
        for one in dashboards.dashboards()
        for panel in one.panels()
        if panel.title not in SILENT[one.name] and not shows(found, panel)
    }


def shows(found: PrometheusServer, panel: Panel) -> bool:
    """Whether each expression has series, or at least one of many."""
    return any([bool(found.query(asked(query.expr))) for query in panel.queries])


def of_endpoint(namespace: str) -> list[dict[str, Any]]:
    """The alerts of an endpoint that is there."""
    told = {"variants": [{"name": "main", "model": {"modelVersionRef": {"name": "m"}}}]}
    spec = ModelEndpointSpec.model_validate(told)
    made = prometheus_rule(EndpointContext("ep", namespace, "u", spec, {}), AlertSettings())
    groups: list[dict[str, Any]] = made["spec"]["groups"]
    return groups


async def test_every_expression_is_understood_and_finds_what_it_should(
    api: Kubectl, replicas: Replicas, prices: None, kuberay: FakeKubeRay,
    sweeps: FakeKubeRay, server: Server, watched: Endpoint, collector: int, tmp_path: Path,
) -> None:  # fmt: skip
    operator = replicas.lead(prices="prices", **SETTINGS)
    async with scene(api.kubeconfig, kuberay.namespace) as it:
        await serving(it)
        groups = [*of_endpoint(it.namespace.name), *of_chart()]
        scraped = targets(operator, server, watched, collector)
        with prometheus(tmp_path / "prometheus", scraped, groups) as found:
            eventually("all targets", lambda: len(found.query("up == 1")) == len(scraped))
            work(kuberay, server)
            batches = FakeKubeRay(api, kuberay.namespace, "BatchTransform")
            work_of_others(sweeps, batches)
            eventually("the report", lambda: watched.metric("error_ratio", "r1") == 0)

            def complete() -> bool:
                predict(server)
                tell(collector)
                return not empty(found)

            try:
                eventually("panels with series", complete)
            except AssertionError as error:
                raise AssertionError(f"nothing to see in {sorted(empty(found))}") from error
            # What is silent here is understood all the same.
            for one in dashboards.dashboards():
                for panel in one.panels():
                    shows(found, panel)
            # A scrape that comes too late on a busy machine leaves a gap of a moment.
            eventually(
                "a leader",
                lambda: [one["value"][1] for one in found.query("sum(loopwright_leader)")] == ["1"],
            )
            [ready] = eventually("it", lambda: found.query("loopwright_modelendpoint_ready"))
            assert ready["metric"]["namespace"] == it.namespace.name
            assert ready["metric"]["endpoint"] == "ep"

            eventually("rules", lambda: {one["health"] for one in found.rules()} == {"ok"})
            rules = found.rules()
            assert len(rules) == sum(len(group["rules"]) for group in groups)
            # A checkpoint of January is old; nothing else is wrong.
            eventually("the alert", lambda: {
                one["metric"]["alertname"] for one in found.query('ALERTS{alertstate="firing"}')
            } == {"LoopwrightCheckpointIsOld"})  # fmt: skip
            # Nor will the most urgent one fire later.
            leaderless = 'ALERTS{alertname="LoopwrightHasNoLeader"}'
            eventually("its leader", lambda: not found.query(leaderless))
