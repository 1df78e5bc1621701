"""Alerts of an endpoint: which there are, that their metrics exist, and who is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from exposed_metrics import labels_of
from fake_client import World

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.resources import PROMETHEUSRULE, Key
from loopwright.desired.alerts import AlertSettings, prometheus_rule
from loopwright.desired.endpoint import EndpointContext
from loopwright.endpoint_metrics import EndpointStates
from loopwright.kube import errors
from loopwright.kube.cache import Cache
from loopwright.kube.discovery import Discovery
from loopwright.reconcile import alerts

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
MODEL = {"modelVersionRef": {"name": "m"}}
MONITORS = [
    {"name": "drift", "kind": "DataDrift", "everySeconds": 60},
    {"name": "quality", "kind": "DataQuality", "everySeconds": 3600,
     "onViolation": {"alert": {"severity": "critical"}}},
    {"name": "answers", "kind": "ModelQuality", "everySeconds": 3600, "threshold": "0.9",
     "quality": {"labels": {"uri": "s3://lake/labels", "delaySeconds": 86400}}},
]  # fmt: skip
CAPTURE = {"destination": {"uri": "s3://lake/captures"}}
CHECKS = [
    {"name": "errors", "errorRate": {"maxPercent": "1.5"}},
    {"name": "slow", "latency": {"quantile": "p50", "maxMilliseconds": "200"}},
    {"name": "slower", "latency": {"maxRatio": "2"}},
]
LABEL = re.compile(r"\$labels\.(\w+)")


def endpoint(**spec: Any) -> EndpointContext:
    parsed = ModelEndpointSpec.model_validate(
        {"variants": [{"name": "main", "model": MODEL}], "dataCapture": CAPTURE, **spec}
    )
    return EndpointContext("ep", "n", "u", parsed, {})


def rules(settings: AlertSettings = AlertSettings(), **spec: Any) -> list[dict[str, Any]]:  # noqa: B008
    groups = prometheus_rule(endpoint(**spec), settings)["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_what_an_endpoint_with_monitors_is_watched_for() -> None:
    found = rules(monitors=MONITORS, rollout={"checks": CHECKS})
    assert [(one["alert"], one["labels"]["severity"], one["for"]) for one in found] == [
        ("LoopwrightEndpointNotReady", "critical", "15m"),
        ("LoopwrightEndpointRolledBack", "warning", "0m"),
        ("LoopwrightEndpointErrors", "critical", "5m"),
        ("LoopwrightEndpointLatency", "warning", "5m"),
        ("LoopwrightCaptureDropped", "warning", "0m"),
        ("LoopwrightDriftDetected", "warning", "0m"),
        ("LoopwrightMonitorSilent", "warning", "600s"),
        ("LoopwrightDataQualityViolated", "critical", "0m"),
        ("LoopwrightMonitorSilent", "warning", "10800s"),
        ("LoopwrightModelQualityViolated", "warning", "0m"),
        ("LoopwrightMonitorSilent", "warning", "97200s"),
    ]
    assert all('namespace="n",endpoint="ep"' in one["expr"] for one in found)
    assert "> 1.5 and on (variant)" in found[2]["expr"]
    assert "histogram_quantile(0.5" in found[3]["expr"]
    assert found[3]["expr"].endswith("> 200")


def test_no_two_alerts_are_one() -> None:
    twice = [
        *CHECKS[:2],
        {"name": "slowest", "latency": {"quantile": "p99", "maxMilliseconds": "900"}},
    ]
    more = [*MONITORS, {"name": "says", "kind": "PredictionDrift", "everySeconds": 60}]
    found = rules(monitors=more, rollout={"checks": twice})
    assert len({(one["alert"], *sorted(one["labels"].items())) for one in found}) == len(found)


def test_bounds_that_nobody_set_are_those_of_rollouts() -> None:
    names = [one["alert"] for one in rules(rollout={"checks": []})]
    assert names == [
        "LoopwrightEndpointNotReady", "LoopwrightEndpointRolledBack", "LoopwrightEndpointErrors",
        "LoopwrightCaptureDropped",
    ]  # fmt: skip
    assert "> 5 and" in rules(rollout={"checks": []})[2]["expr"]
    assert "LoopwrightCaptureDropped" not in [one["alert"] for one in rules(dataCapture=None)]


def test_a_suspended_endpoint_alerts_nobody() -> None:
    assert rules(monitors=MONITORS, suspend=True) == []


def test_every_metric_is_one_that_somebody_has() -> None:
    for one in rules(monitors=MONITORS, rollout={"checks": CHECKS}):
        left = labels_of(promql_parser.parse(one["expr"])) | one["labels"].keys()
        assert set(LABEL.findall(str(one["annotations"]))) <= left


def test_a_page_tells_what_to_do() -> None:
    settings = AlertSettings(("release=main", "team=ml"), "https://example.com/runbooks/")
    found = rules(settings, monitors=MONITORS, rollout={"checks": CHECKS})
    for one in found:
        head, _, page = one["annotations"]["runbook_url"].rpartition("/")
        assert head == "https://example.com/runbooks"
        assert one["alert"] in (RUNBOOKS / page).read_text()
    assert all("runbook_url" not in one["annotations"] for one in rules())
    labels = prometheus_rule(endpoint(), settings)["metadata"]["labels"]
    assert (labels["release"], labels["loopwright.io/name"]) == ("main", "ep")


def test_endpoints_say_how_they_are() -> None:
    cache = Cache()

    def put(name: str, **more: Any) -> None:
        meta = {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}
        cache.observe("ADDED", {"kind": "ModelEndpoint", "metadata": meta, "spec": {}, **more})

    put("new")
    put("off", spec={"suspend": True})
    put("fine", status={
        "conditions": [{"type": "Ready", "status": "True"}],
        "variants": [{"name": "a"}, {"name": "b", "rejected": {"revision": "r"}}],
    })  # fmt: skip
    ready, back = EndpointStates(cache).collect()
    assert {one.labels["endpoint"]: one.value for one in ready.samples} == {"new": 0, "fine": 1}
    assert {one.labels["variant"]: one.value for one in back.samples} == {"a": 0, "b": 1}


class Server:
    """Knows the kind or not, or does not answer."""

    def __init__(self) -> None:
        self.kinds_known: set[str] | None = set()

    async def kinds(self, _: Any) -> set[str]:
        if self.kinds_known is None:
            raise errors.Unavailable("no answer")
        return self.kinds_known


async def test_a_kind_comes_and_goes() -> None:
    server = Server()
    client: Any = server
    discovery = Discovery(client)
    assert not await discovery.look()
    assert not discovery.knows(PROMETHEUSRULE)
    server.kinds_known = {"PrometheusRule", "Probe"}
    assert await discovery.look()
    assert discovery.knows(PROMETHEUSRULE)
    server.kinds_known = None
    assert not await discovery.look()
    assert discovery.knows(PROMETHEUSRULE)
    server.kinds_known = set()
    assert await discovery.look()
    assert not discovery.knows(PROMETHEUSRULE)


@pytest.mark.parametrize(
    ("error", "told"), [(errors.Forbidden("no"), ["Event"]), (errors.KindMissing("gone"), [])]
)
def test_a_refused_rule_is_told_of(error: errors.ApiError, told: list[str]) -> None:
    world = World()
    key = Key("TrainingJob", "n", "job")
    alerts.tell(world.context(), key, {Key(PROMETHEUSRULE.kind, "n", "job-alerts"): error})
    assert world.calls == told
