"""A Shadow gets copies of requests, from a Gateway that can make them."""

from __future__ import annotations

import math

import httpx
import pytest
from conftest import cluster_tool
from endpoints import Endpoint, variant
from inference import predictions
from space import Space

from eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

REQUESTS = 400
# Of a normal distribution, 99.9 % lie within.
Z = 3.29
ENVOY = {"gatewayRef": {"name": "envoy", "namespace": "gateway"}, "sticky": {"header": "x-variant"}}


@pytest.mark.usefixtures("digits")
def test_a_shadow_sees_what_users_ask(space: Space) -> None:
    cluster_tool("envoy-gateway")
    pair = (variant(), variant("copy", role="Shadow"))
    endpoint = Endpoint(space, "digits").apply(*pair)
    endpoint.until(
        "what is missing",
        lambda _: endpoint.condition("RoutingDegraded") == ("True", "FeatureMissing"),
    )
    endpoint.apply(*pair, routing=ENVOY)
    endpoint.ready()
    assert endpoint.condition("RoutingDegraded")[0] == "False"
    assert copies(endpoint, REQUESTS) == REQUESTS
    pods = {pod["metadata"]["uid"] for pod in space.kubectl.list("pods", space.name)}
    endpoint.apply(pair[0], {**pair[1], "mirrorPercent": 25}, routing=ENVOY)
    endpoint.until("a share", lambda s: s["variants"][1]["currentWeight"] == 25)
    # Envoy has taken it up once some request was not copied.
    eventually("Envoy", lambda: copies(endpoint, 20) < 20)
    share = copies(endpoint, REQUESTS)
    assert abs(share - REQUESTS * 0.25) <= Z * math.sqrt(REQUESTS * 0.25 * 0.75)
    left = {pod["metadata"]["uid"] for pod in space.kubectl.list("pods", space.name)}
    assert pods <= left, "another share restarted pods"


def copies(endpoint: Endpoint, number: int) -> int:
    """How many of so many requests the Shadow sees; all are answered by the other variant."""
    before = counted(endpoint)
    url, body = endpoint.infer(), endpoint.request()
    with httpx.Client(trust_env=False) as http:
        answers = [http.post(url, json=body) for _ in range(number)]
    assert {(one.status_code, one.headers["x-variant"]) for one in answers} == {(200, "main")}
    eventually("the answers", lambda: counted(endpoint)["main"] - before["main"] == number)

    def settled() -> bool:
        first = counted(endpoint)["copy"]
        return all(counted(endpoint)["copy"] == first for _ in range(10))

    eventually("the copies", settled)
    return counted(endpoint)["copy"] - before["copy"]


def counted(endpoint: Endpoint) -> dict[str, int]:
    """Requests that each variant's only pod has answered."""
    found = {}
    for one in endpoint.status()["variants"]:
        found[one["name"]] = predictions(endpoint.space, one["serving"]["inferenceService"])
    return found
