"""Endpoints on the whole embedded cluster: real KServe, gateway, model server and metrics."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import httpx
import pytest
from endpoints import SECONDS, Endpoint, odd_server, train_digits, variant
from space import Space
from stored_model import SECRET, StoredModel

from eventually import eventually

pytestmark = pytest.mark.e2e

REQUESTS = 2000
# Of a normal distribution, 99.9 % lie within.
Z = 3.29
FAST: dict[str, Any] = {
    "strategy": "Canary", "canaryPercent": 20, "bakeSeconds": 30, "checkSeconds": 10,
    "minRequests": 5, "keepPreviousSeconds": 0,
}  # fmt: skip
# One at a time: on a busy machine what is bad otherwise may be late, too.
CHECKS: dict[str, Any] = {
    "errors": {"errorRate": {"maxPercent": "5"}}, "latency": {"latency": {"maxRatio": "2"}},
}  # fmt: skip


def patch(endpoint: Endpoint, *changes: dict[str, Any]) -> None:
    """A person changes the spec."""
    words = ["patch", "mep", endpoint.name, "-n", endpoint.space.name, "--type=json", "-p"]
    endpoint.space.kubectl.run(*words, json.dumps(changes))


def replaced(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def turned(answers: Counter[str]) -> bool:
    """Whether b has most of the traffic, by far."""
    return answers["b"] > 2 * answers["a"]


@pytest.mark.usefixtures("digits")
def test_a_split_a_sticky_client_and_a_change_of_weights(space: Space) -> None:
    endpoint = Endpoint(space, "digits").apply(
        variant("a", weight=80),
        variant("b", weight=20),
        rollout={"bakeSeconds": 0, "keepPreviousSeconds": 0},
    )
    endpoint.ready()
    url, body = endpoint.infer(), endpoint.request()
    with httpx.Client(trust_env=False, timeout=SECONDS) as http:
        answers = [http.post(url, json=body) for _ in range(REQUESTS)]
        assert {one.status_code for one in answers} == {200}
        share = [one.headers["x-variant"] for one in answers].count("b")
        assert abs(share - REQUESTS * 0.2) <= Z * math.sqrt(REQUESTS * 0.2 * 0.8)
        stuck = [http.post(url, json=body, headers={"x-variant": "b"}) for _ in range(200)]
        assert {one.headers["x-variant"] for one in stuck} == {"b"}

    pods = {pod["metadata"]["uid"] for pod in space.kubectl.list("pods", space.name)}
    with endpoint.load() as asking:
        asking.seen(200)
        patch(
            endpoint,
            replaced("/spec/variants/0/weight", 20),
            replaced("/spec/variants/1/weight", 80),
        )
        endpoint.until("other weights", lambda status: status["weights"] == "a:20,b:80")
        # The status says what the route says, which the gateway follows a while later.
        eventually("the gateway to follow", lambda: turned(asking.split(100)))
        after = asking.split(600)
        # Another model server: a rollout under load.
        old = endpoint.status()["variants"][0]["serving"]["revision"]
        patch(endpoint, replaced("/spec/variants/0/pod", {"annotations": {"restarted": "1"}}))
        # How long each of its steps can be seen, nobody knows; where it ends, it stays.
        endpoint.until("another revision", lambda s: s["variants"][0]["serving"]["revision"] != old)
        endpoint.until("the old one to go", lambda status: status["retired"] == [])
        asking.seen(200)
    assert asking.failures == []
    assert turned(after)
    left = {pod["metadata"]["uid"] for pod in space.kubectl.list("pods", space.name)}
    assert pods & left, "a change of weights restarted pods"


def tried(variant: dict[str, Any]) -> bool:
    """Whether a canary has its share, or has had it already."""
    return variant.get("rollout", {}).get("percent") == 20 or "rejected" in variant


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(
    ("server", "check"),
    [
        (odd_server(code=500), "errors"),
        pytest.param(odd_server(seconds=0.5), "latency", marks=pytest.mark.extended),
    ],
    ids=["errors", "slow"],
)
def test_a_bad_canary_is_rolled_back(space: Space, server: dict[str, Any], check: str) -> None:
    rollout = {**FAST, "checks": [{"name": check, **CHECKS[check]}]}
    endpoint = Endpoint(space, "digits").apply(variant(), rollout=rollout)
    endpoint.ready()
    with endpoint.load(pause=0.02) as asking:
        asking.seen(50)
        patch(endpoint, replaced("/spec/variants/0/runtime", server))
        endpoint.until("a canary", lambda status: tried(status["variants"][0]))
        if check == "errors":
            # Whoever takes over finds a rollout under way, and ends it in the same way.
            space.kill_operator()
        endpoint.until("the way back", lambda _: endpoint.condition("RolledBack")[0] == "True")
        asking.well()
        bad = len(asking.failures)
        asking.seen(200)
    status = endpoint.status()
    assert status["variants"][0]["rejected"]["reason"] == "ChecksFailed"
    assert status["variants"][0]["rejected"]["message"].startswith(f"{check}: ")
    assert len(asking.failures) == bad, "errors after the way back"
    # Never more than its share.
    total = sum(asking.codes.values())
    assert asking.codes[500] <= 0.2 * total + Z * math.sqrt(total * 0.2 * 0.8)
    assert set(asking.codes) <= {200, 500}


@pytest.mark.usefixtures("digits")
def test_pods_follow_the_load(space: Space) -> None:
    endpoint = Endpoint(space, "digits").apply(
        variant(resources={"cpu": "100m", "memory": "384Mi"}),
        autoscaling={"max": 2, "metrics": [{"cpu": {"utilization": 50}}],
                     "scaleDownWindowSeconds": 15},
    )  # fmt: skip
    endpoint.ready()
    with endpoint.load(connections=8):
        endpoint.until("two pods", lambda status: status["replicas"] == 2)
    endpoint.until("one pod", lambda status: status["replicas"] == 1)
    endpoint.until(
        "an autoscaler that works", lambda _: endpoint.condition("AutoscalingReady")[0] == "True"
    )


def test_models_that_must_not_be_served(space: Space, digits: StoredModel) -> None:
    live = {"modelRef": {"name": "digits", "alias": "live"}}
    endpoint = Endpoint(space, "digits").apply(variant(model=live))
    served = endpoint.ready()["variants"][0]["serving"]["modelVersion"]
    head = {"apiVersion": "loopwright.io/v1alpha1", "kind": "ModelVersion"}
    base = {"modelRef": {"name": "digits"}, "uri": digits.uri, "format": "onnx", **SECRET}
    others = {
        "tampered": {"digest": "sha256:" + "0" * 64},
        "missing": {"uri": f"{digits.uri}/nowhere", "digest": digits.digest},
    }
    for name, spec in others.items():
        body = {**base, **spec, "version": name}
        space.apply({**head, "metadata": {"name": f"digits-{name}"}, "spec": body})
    with endpoint.load(pause=0.05) as asking:
        for version, reason in (("tampered", "DigestMismatch"), ("missing", "ModelNotFound")):
            pointed = json.dumps({"spec": {"aliases": {"live": version}}})
            space.kubectl.run(
                "patch", "mdl", "digits", "-n", space.name, "--type=merge", "-p", pointed
            )
            endpoint.until(
                reason, lambda _, r=reason: endpoint.condition("RolledBack") == ("True", r)
            )
        patch(endpoint, replaced("/spec/requireApproval", True))
        endpoint.until(
            "approval", lambda _: endpoint.condition("Ready") == ("False", "ModelNotApproved")
        )
        asking.seen(20)
    assert asking.failures == []
    assert endpoint.status()["variants"][0]["serving"]["modelVersion"] == served


def test_nothing_is_left_of_a_deleted_endpoint(space: Space) -> None:
    train_digits(space)
    trained = variant(model={"trainingJobRef": {"name": "digits"}})
    Endpoint(space, "digits").apply(trained).ready()
    space.kubectl.run("delete", "mep", "digits", "-n", space.name, "--timeout=300s")
    kinds = (
        "inferenceservices,deployments,services,httproutes,controllerrevisions,hpa,pdb,configmaps"
    )
    selector = "loopwright.io/kind=ModelEndpoint"
    eventually("nothing", lambda: not space.kubectl.list(kinds, space.name, selector))
