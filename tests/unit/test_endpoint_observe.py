"""What is read of the surroundings: pods that do not run, Gateways, Prometheus, references."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from loopwright.api.modelendpoint import ModelEndpointSpec
from loopwright.api.resources import Key
from loopwright.kube.cache import Cache
from loopwright.prometheus import Prometheus
from loopwright.reconcile import gateway, pods
from loopwright.reconcile.context import Context, Remembered
from loopwright.settings import Settings, SettingsError

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE: dict[str, Any] = {"metadata": {"name": "s"}, "status": {"conditions": [{"type": "Ready"}]}}
DEPLOYMENT: dict[str, Any] = {"metadata": {"name": "d"}}


def pod(name: str = "p", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "ready": False, **state}]}


def ended(message: str = "", **more: Any) -> dict[str, Any]:
    return container(state={"terminated": {"exitCode": 1, "message": message, **more}})


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an image that is missing": (
        container(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
        "ImagePullFailed", "no such image",
    ),
    "a Secret that is missing": (
        container(state={"waiting": {"reason": "CreateContainerConfigError", "message": "keys"}}),
        "ContainerConfig", "keys",
    ),
    "no room": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
        "Unschedulable", "0/1 nodes",
    ),
    "memory": (ended(reason="OOMKilled"), "OutOfMemory", "raise resources.memory"),
    "a model that was changed": (
        ended("DigestMismatch: model.json was changed; restore it\n"),
        "DigestMismatch", "model.json was changed",
    ),
    "a server of somebody else": (
        ended("Traceback\n  File x\nValueError: bad"), "ServerFailed", "ValueError: bad",
    ),
    "an end before": (
        container(
            state={"waiting": {"reason": "CrashLoopBackOff"}},
            lastState={"terminated": {"exitCode": 3}},
        ),
        "ServerFailed", "exit code 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "reason", "part"), WRONG.values(), ids=list(WRONG))
def test_pods_say_why_they_do_not_serve(status: Any, reason: str, part: str) -> None:
    found = pods.problem([pod(**status)], DEPLOYMENT, SERVICE)
    assert found is not None
    assert found.reason == reason
    assert part in found.message
    assert found.permanent is (reason == "DigestMismatch")


def test_what_the_server_says_comes_first() -> None:
    waits = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no"}]}
    many = [pod("a", **waits), pod("b", **ended("ModelNotFound: it is gone; restore it"))]
    found = pods.problem(many, DEPLOYMENT, SERVICE)
    assert found is not None
    assert found.reason == "ModelNotFound"


def test_without_pods_deployment_and_kserve_say_why() -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    refused = {**DEPLOYMENT, "status": {"conditions": [failed]}}
    found = pods.problem([], refused, SERVICE)
    assert found is not None
    assert (found.reason, found.message) == ("PodsRefused", "exceeded quota")
    info = {"lastFailureInfo": {"reason": "NoSupportingRuntime", "message": "none for sklearn"}}
    told = {**SERVICE, "status": {"modelStatus": info, "conditions": []}}
    found = pods.problem([], None, told)
    assert found is not None
    assert (found.reason, found.message) == ("NoSupportingRuntime", "KServe: none for sklearn")
    silent = pods.problem([], None, {"metadata": {"name": "s"}})
    assert silent is not None
    assert silent.reason == "WaitingForKServe"
    assert pods.problem([], DEPLOYMENT, SERVICE) is None
    # One that goes has nothing to say any more.
    gone = pod(**ended("DigestMismatch: x"))
    gone["metadata"]["deletionTimestamp"] = "now"
    assert pods.problem([gone], DEPLOYMENT, SERVICE) is None


LISTENERS = [
    {"name": "tcp", "port": 1, "protocol": "TCP"},
    {"name": "web", "port": 80, "protocol": "HTTP"},
    {"name": "secure", "port": 8443, "protocol": "HTTPS"},
]


def seen(features: Any = None, more: tuple[str, ...] = (), section: str | None = None) -> Any:
    told = {"spec": {"listeners": LISTENERS}, "status": {"addresses": [{"value": "10.0.0.1"}]}}
    return gateway.view(told, {"status": {"supportedFeatures": features}}, more, section)


def test_a_gateway_can_what_its_class_lists() -> None:
    view = seen([{"name": "HTTPRoutePathRewrite"}])
    assert view.can("HTTPRoutePathRewrite")
    assert not view.can("HTTPRouteRequestMirror")
    assert (view.scheme, view.host, view.port) == ("http", "10.0.0.1", 80)
    assert seen(["A"]).can("A")  # As the API had it before 1.2.
    assert seen([{"name": "A"}], ("B",)).can("B")
    assert seen([]).can("anything")
    assert not seen([], ("A",)).can("B")
    assert (seen(section="secure").scheme, seen(section="secure").port) == ("https", 8443)


def routed(name: str, age: int, **routing: Any) -> dict[str, Any]:
    obj = endpoint(name, {"trainingJobRef": {"name": "j"}})
    obj["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{age:02}Z"
    obj["spec"]["routing"] = {"gatewayRef": {"name": "gw"}, **routing}
    return obj


async def conflict(*endpoints: dict[str, Any]) -> Any:
    """What the last of some endpoints hears of its Gateway."""
    cache = Cache()
    for one in endpoints:
        cache.observe("ADDED", one)
    key = Key("ModelEndpoint", "n", endpoints[-1]["metadata"]["name"])
    ctx = Context(None, cache, None, Settings(), lambda: START)  # type: ignore[arg-type]
    ctx.gateways[Key("Gateway", "n", "gw/")] = Remembered(seen(), float("inf"))
    spec = ModelEndpointSpec.model_validate(endpoints[-1]["spec"])
    return (await gateway.look_up(ctx, key, spec)).problem


async def test_the_older_of_two_keeps_its_host_and_path() -> None:
    same = {"hostnames": ["a.example.com"]}
    found = await conflict(routed("old", 1, **same), routed("new", 2, **same))
    assert found is not None
    assert (found.reason, found.permanent) == ("RouteConflict", True)
    assert "'n/old'" in found.message
    assert await conflict(routed("new", 2, **same), routed("old", 1, **same)) is None
    elsewhere = routed("new", 2, hostnames=["b.example.com"])
    assert await conflict(routed("old", 1, **same), elsewhere) is None
    beside = routed("new", 2, path="/other", **same)
    assert await conflict(routed("old", 1, **same), beside) is None
    assert await conflict(routed("old", 1), routed("new", 2)) is None
    # Nor may anybody take the path that another has by default.
    assert await conflict(routed("old", 1), routed("new", 2, path="/n/old")) is not None


@asynccontextmanager
async def server(answer: Any, status: int = 200) -> AsyncIterator[Prometheus]:
    async def query(request: web.Request) -> web.Response:
        assert (await request.post())["query"] == "up"
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post("/api/v1/query", query)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = runner.addresses
    yield Prometheus(f"http://{host}:{port}/")
    await runner.cleanup()


def answered(kind: str, result: Any) -> Any:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (answered("vector", [{"value": [1, "2.5"]}]), 2.5),
        (answered("scalar", [1, "3"]), 3.0),
        (answered("vector", []), None),
        (answered("vector", [{"value": [1, "1"]}, {"value": [1, "2"]}]), None),
        (answered("matrix", []), None),
        (answered("vector", [{"value": "odd"}]), None),
        ([], None),
    ],
)
async def test_prometheus_gives_one_number_or_none(answer: Any, value: float | None) -> None:
    async with server(answer) as prometheus:
        assert await prometheus.query("up") == value


async def test_prometheus_may_be_missing_or_broken() -> None:
    assert await Prometheus("").query("up") is None
    assert await Prometheus("http://127.0.0.1:1").query("up") is None
    async with server({}, status=422) as prometheus:
        assert await prometheus.query("up") is None
    await asyncio.sleep(0)


def endpoint(name: str, *models: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}
    spec = {"variants": [{"name": f"v{i}", "model": one} for i, one in enumerate(models)]}
    return {"kind": "ModelEndpoint", "metadata": meta, "spec": spec}


def test_news_about_a_model_reaches_those_who_use_it() -> None:
    cache = Cache()
    cache.observe("ADDED", endpoint("a", {"modelRef": {"name": "m", "alias": "x"}}))
    cache.observe("ADDED", endpoint("b", {"trainingJobRef": {"name": "j"}}))
    cache.observe("ADDED", endpoint("c", {"modelVersionRef": {"name": "m-v1"}}, {"odd": 1}))
    version = {"name": "m-v1", "namespace": "n", "uid": "v", "resourceVersion": "1"}
    cache.observe(
        "ADDED",
        {"kind": "ModelVersion", "metadata": version, "spec": {"modelRef": {"name": "m"}}},
    )

    def concerned(kind: str, name: str) -> set[str]:
        return {one.name for one in cache.concerned(Key(kind, "n", name))} - {name}

    assert concerned("Model", "m") == {"a", "c"}
    assert concerned("TrainingJob", "j") == {"b"}
    changed = endpoint("a", {"modelRef": {"name": "other", "alias": "x"}})
    changed["metadata"]["resourceVersion"] = "2"
    cache.observe("MODIFIED", changed)
    assert concerned("Model", "m") == {"c"}
    gone = endpoint("b")
    gone["metadata"]["resourceVersion"] = "3"
    cache.observe("DELETED", gone)
    assert concerned("TrainingJob", "j") == set()


def test_settings_know_yes_and_no() -> None:
    assert Settings.from_env({"LOOPWRIGHT_REQUIRE_APPROVAL": "True"}).require_approval
    assert not Settings.from_env({"LOOPWRIGHT_REQUIRE_APPROVAL": "false"}).require_approval
    with pytest.raises(SettingsError, match="REQUIRE_APPROVAL"):
        Settings.from_env({"LOOPWRIGHT_REQUIRE_APPROVAL": "maybe"})
