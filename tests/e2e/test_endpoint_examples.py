"""Every example of an endpoint serves what it says it serves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from endpoints import SECONDS, SMALL, Endpoint, train_digits
from inference import predictions
from kubectl import ROOT
from space import PATIENCE, Space
from stored_model import StoredModel

from eventually import eventually

pytestmark = pytest.mark.e2e

EXAMPLES = sorted((ROOT / "examples").glob("modelendpoint-*.yaml"))
ASKED = 20


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_serves(example: Path, space: Space, digit_model: StoredModel) -> None:
    text = example.read_text()
    if "trainingJobRef" in text:
        train_digits(space)
    else:
        digit_model.introduce(space, ("v1", "v2"), champion="v1", challenger="v2")
    found = yaml.safe_load(text)
    for one in found["spec"]["variants"]:
        # What a small node has room for, two revisions at once.
        one["resources"] = SMALL
    space.apply(found)
    endpoint = Endpoint(space, found["metadata"]["name"])
    if found["spec"].get("requireApproval"):
        endpoint.until(
            "approval", lambda _: endpoint.condition("Ready") == ("False", "ModelNotApproved")
        )
        approve(space, "digits-v1", "digits-v2")
    endpoint.ready()
    ask(endpoint)
    PROMISES[example.stem](endpoint)


def approve(space: Space, *versions: str) -> None:
    """A person with the right to do so approves them."""
    me = space.kubectl.run("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    decided = json.dumps({"spec": {"approval": {"state": "Approved", "by": me}}})
    for one in versions:
        space.kubectl.run("patch", "mv", one, "-n", space.name, "--type=merge", "-p", decided)


def ask(endpoint: Endpoint, **headers: str) -> httpx.Response:
    """Asks a few times; the last answer."""
    url, body = endpoint.infer(), endpoint.request()
    with httpx.Client(trust_env=False, timeout=SECONDS, headers=headers) as http:
        answers = [http.post(url, json=body) for _ in range(ASKED)]
    assert {one.status_code for one in answers} == {200}
    return answers[-1]


def serves(endpoint: Endpoint) -> None:
    """One version or job answers."""
    assert endpoint.status()["weights"] == "main:100"


def sends_testers_to_the_challenger(endpoint: Endpoint) -> None:
    """Whoever names it by the header is answered by it; a browser keeps what it got."""
    [service] = [
        one["serving"]["inferenceService"]
        for one in endpoint.status()["variants"]
        if one["name"] == "challenger"
    ]
    before = predictions(endpoint.space, service)
    ask(endpoint, **{"x-tester": "yes"})
    assert predictions(endpoint.space, service) == before + ASKED
    assert "digits-variant=" in ask(endpoint).headers["set-cookie"]


def scales(endpoint: Endpoint) -> None:
    """Its autoscaler works."""
    endpoint.until("an autoscaler", lambda _: endpoint.condition("AutoscalingReady")[0] == "True")


def follows_its_alias(endpoint: Endpoint) -> None:
    """Another version behind the alias takes over, and no request fails."""
    moved = json.dumps({"spec": {"aliases": {"live": "v2"}}})
    with endpoint.load(connections=2, pause=0.05) as asking:
        space = endpoint.space
        space.kubectl.run("patch", "mdl", "digits", "-n", space.name, "--type=merge", "-p", moved)
        endpoint.until("the other version", followed)
        asking.seen(ASKED)
    assert asking.failures == []


def followed(status: dict[str, Any]) -> bool:
    """Whether the other version has what the example gives it first."""
    [variant] = status["variants"]
    canary = variant.get("rollout", {}).get("percent") == 10
    return canary or variant["serving"]["modelVersion"] == "digits-v2"


def compares(endpoint: Endpoint) -> None:
    """What clients say of answers counts, once the experiment has begun."""
    url = f"{endpoint.status()['url']}/loopwright/feedback"

    def counted() -> bool:
        named = ask(endpoint).headers["x-feedback-id"]
        told = {"id": named, "name": "right", "value": 1}
        answer = httpx.post(url, json=told, trust_env=False, timeout=SECONDS)
        assert answer.json() == {"counted": 1}
        found = endpoint.status().get("experiment", {})
        return any(one.get("samples") for one in found.get("variants", []))

    eventually("an outcome to count", counted, timeout=PATIENCE)


def says_what_the_gateway_lacks(endpoint: Endpoint) -> None:
    """The cluster's first Gateway cannot mirror; that of `test_shadow.py` can."""
    assert endpoint.condition("RoutingDegraded") == ("True", "FeatureMissing")


PROMISES: dict[str, Callable[[Endpoint], None]] = {
    "modelendpoint-ab": sends_testers_to_the_challenger,
    "modelendpoint-autoscaled": scales,
    "modelendpoint-bluegreen": follows_its_alias,
    "modelendpoint-canary": follows_its_alias,
    "modelendpoint-digits": serves,
    "modelendpoint-experiment": compares,
    "modelendpoint-shadow": says_what_the_gateway_lacks,
}
