"""What the cluster gives to serving: KServe in Standard mode, gateways that split and mirror."""

from __future__ import annotations

import json
import math
from collections import Counter

import httpx
import pytest
from conftest import cluster_tool
from endpoints import train_digits
from inference import (
    SECONDS,
    http_route,
    inference_service,
    of_format,
    pod_of,
    predictions,
    until_accepted,
    until_ready,
)
from kubectl import Kubectl
from space import Space

from eventually import eventually

pytestmark = pytest.mark.e2e

REQUESTS = 500
# Of a normal distribution, 99.9 % lie within.
Z = 3.29


def address(kubectl: Kubectl, gateway: str) -> str:
    """Where a Gateway says that it answers."""
    found = kubectl.get("gateway", gateway, "gateway")
    assert found is not None
    listener = found["spec"]["listeners"][0]
    return f"http://{found['status']['addresses'][0]['value']}:{listener['port']}"


def client(kubectl: Kubectl, gateway: str, host: str) -> httpx.Client:
    """Keeps a connection to a Gateway and asks for one host."""
    url = address(kubectl, gateway)
    return httpx.Client(base_url=url, headers={"Host": host}, trust_env=False, timeout=SECONDS)


def until_routed(http: httpx.Client, *names: str) -> None:
    """Waits until the gateway routes to all, a while after it accepted the route and they were
    Ready: it learns of each Service's pods by itself."""

    def routed() -> bool:
        try:
            answers = [http.get("/probe") for _ in range(20)]
        except httpx.TransportError:
            return False
        if {one.status_code for one in answers} != {200}:
            return False
        return {one.json()["name"] for one in answers} == set(names)

    eventually("the gateway to route", routed)


def test_kserve_serves_and_leaves_routes_and_scaling_alone(space: Space) -> None:
    space.apply(inference_service("plain"))
    until_ready(space, "plain")
    deployment = space.kubectl.get("deployment", "plain-predictor", space.name)
    assert deployment is not None
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}
    [service] = space.kubectl.list("services", space.name)
    assert service["metadata"]["name"] == "plain-predictor"
    for kind in ("ingresses", "httproutes", "hpa"):
        assert space.kubectl.list(kind, space.name) == [], kind
    isvc = space.kubectl.get("inferenceservice", "plain", space.name)
    assert isvc is not None
    assert isvc["status"]["deploymentMode"] == "Standard"
    assert (
        isvc["status"]["address"]["url"] == f"http://plain-predictor.{space.name}.svc.cluster.local"
    )


def test_plain_inferenceservices_use_our_server(space: Space) -> None:
    uri = train_digits(space)
    named = of_format("named", "onnx", uri, runtime="loopwright-onnx")
    space.apply(of_format("found", "loopwright-onnx", uri), named)
    until_ready(space, "found", "named")
    for name in ("found", "named"):
        url = pod_of(space, name)
        with httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as http:
            [tensor] = http.get(f"/v2/models/{name}").json()["inputs"]
            shape = [1, *tensor["shape"][1:]]
            data = [0.0] * math.prod(shape)
            body = {"inputs": [{**tensor, "shape": shape, "data": data}]}
            answer = http.post(f"/v2/models/{name}/infer", json=body)
        shapes = {one["name"]: one["shape"] for one in answer.json()["outputs"]}
        assert shapes == {"label": [1], "probabilities": [1, 10]}
        assert predictions(space, name) == 1


def test_the_gateway_splits_by_weight(space: Space) -> None:
    host = f"{space.name}.example"
    route = http_route("loopwright", host, {"blue": 80, "green": 20})
    space.apply(inference_service("blue"), inference_service("green"), route)
    until_ready(space, "blue", "green")
    until_accepted(space, "loopwright")
    with client(space.kubectl, "loopwright", host) as http:
        until_routed(http, "blue", "green")
        answers = [http.get("/") for _ in range(REQUESTS)]
    assert {answer.status_code for answer in answers} == {200}
    counts = Counter(answer.json()["name"] for answer in answers)
    # Traefik deals requests out in turns, and begins anew whenever routes change, anybody's.
    assert abs(counts["green"] - REQUESTS * 0.2) <= Z * math.sqrt(REQUESTS * 0.2 * 0.8), counts
    assert counts["blue"] + counts["green"] == REQUESTS


@pytest.mark.extended
def test_envoy_gateway_mirrors(space: Space) -> None:
    cluster_tool("envoy-gateway")
    host = f"{space.name}.example"
    route = http_route("envoy", host, {"live": 1})
    mirror = {"backendRef": {"name": "shadow-predictor", "port": 80}}
    route["spec"]["rules"][0]["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    space.apply(inference_service("live"), inference_service("shadow"), route)
    until_ready(space, "live", "shadow")
    until_accepted(space, "envoy")
    with client(space.kubectl, "envoy", host) as http:
        until_routed(http, "live")
        before = seen(space, "shadow")
        answers = [http.get("/") for _ in range(50)]
    assert {answer.json()["name"] for answer in answers} == {"live"}
    eventually("the mirror", lambda: seen(space, "shadow") - before == len(answers))


def seen(space: Space, name: str) -> int:
    """How many requests a server has had."""
    path = f"/api/v1/namespaces/{space.name}/services/{name}-predictor:80/proxy/probe"
    seen: int = json.loads(space.kubectl.run("get", "--raw", path))["seen"]
    return seen
