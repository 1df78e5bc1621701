"""An experiment on the real cluster: clients report, one variant wins, and gets all traffic."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Self

import httpx
import numpy as np
import pytest
from endpoints import Endpoint, variant
from space import Space

from eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

# How often clients say that an answer was right; both variants serve the same model.
RIGHT = {"main": 0.5, "next": 0.8}
EXPERIMENT = {
    "control": "main", "metric": {"feedback": {"name": "right"}}, "minSamples": 300,
    "guardrails": {"errorRatio": {"maxIncrease": "0.2"}}, "onWin": "Promote",
}  # fmt: skip


def pair(main: int = 50) -> list[dict[str, Any]]:
    """Both variants."""
    return [variant("main", weight=main), variant("next", weight=50)]


class Users:
    """Ask all the time, and report what became of the answers."""

    def __init__(self, url: str, name: str, body: dict[str, Any]) -> None:
        self._infer, self._feedback = f"{url}/v2/models/{name}/infer", f"{url}/loopwright/feedback"
        self._body, self.failures = body, list[str]()
        self.variants: Counter[str] = Counter()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        chance = np.random.default_rng(seed)
        with httpx.Client(trust_env=False, timeout=20) as http:
            while not self._end.wait(0.02):
                answer = http.post(self._infer, json=self._body)
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                    continue
                named = answer.headers["x-feedback-id"]
                about = named.partition(".")[0]
                self.variants[about] += 1
                right = int(chance.random() < RIGHT[about])
                told = {"id": named, "name": "right", "value": right}
                answer = http.post(self._feedback, json=told)
                if answer.json() != {"counted": 1}:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")

    def alone(self, name: str) -> bool:
        """Whether one variant answers everybody now."""
        before = self.variants.copy()
        eventually("answers", lambda: self.variants.total() >= before.total() + 100, timeout=60)
        return set(self.variants - before) == {name}


def monitor(space: Space) -> str:
    """URL of the monitor's only pod."""
    [pod] = [
        one
        for one in space.kubectl.list(
            "pods", space.name, "app.kubernetes.io/name=loopwright-monitor"
        )
        if "deletionTimestamp" not in one["metadata"]
    ]
    return f"http://{pod['status']['podIP']}:8080"


def experiment(status: dict[str, Any]) -> dict[str, Any]:
    """What the status says of it."""
    found: dict[str, Any] = status.get("experiment") or {}
    return found


def samples(status: dict[str, Any]) -> int:
    """Outcomes that are known."""
    return sum(one.get("samples", 0) for one in experiment(status).get("variants", []))


@pytest.mark.usefixtures("digits")
def test_the_better_variant_is_found_and_promoted(space: Space) -> None:
    endpoint = Endpoint(space, "digits").apply(*pair(), routing={}, experiment=EXPERIMENT)
    url = endpoint.ready()["url"]
    endpoint.until("the experiment", lambda one: experiment(one).get("state") == "Running")
    wrong = httpx.post(
        f"{url}/loopwright/feedback", json={"id": "7", "name": "right", "value": 1}, trust_env=False
    )
    assert wrong.status_code == 400
    assert "X-Feedback-Id" in wrong.json()["error"]

    with Users(url, "digits", endpoint.request()) as users:
        status = endpoint.until("samples", lambda one: samples(one) > 0, timeout=300)
        run = experiment(status)["run"]
        selector = ("-n", space.name, "-l", "app.kubernetes.io/name=loopwright-monitor")
        space.kubectl.run("delete", "pod", *selector, "--grace-period=0", "--force")
        status = endpoint.until(
            "the end", lambda one: experiment(one).get("state") == "Concluded", timeout=600
        )
        found = experiment(status)
        assert endpoint.condition("ExperimentConcluded") == ("True", "Won"), found
        assert (found["run"], found["winner"], found["promoted"]) == (run, "next", "next")
        assert found["restarts"] == 0
        treatment = found["variants"][1]
        assert 0 < float(treatment["low"]) < float(treatment["high"])
        endpoint.until("the weights", lambda one: one["weights"] == "next:100")
        eventually("all answers by the winner", lambda: users.alone("next"), timeout=60)
        spec = (space.kubectl.get("mep", "digits", space.name) or {})["spec"]
        assert [one["weight"] for one in spec["variants"]] == [50, 50]

        page = httpx.get(f"{monitor(space)}/experiment", trust_env=False)
        assert "next has won" in page.text

        endpoint.apply(*pair(main=10), routing={}, experiment=EXPERIMENT)
        endpoint.until("the spec's weights", lambda one: one["weights"] == "main:17,next:83")
        before = users.variants["main"]
        eventually("answers by the other", lambda: users.variants["main"] > before, timeout=60)
        assert experiment(endpoint.status())["state"] != "Concluded"
    assert users.failures == []
    told = space.kubectl.list("events", space.name)
    assert [one["reason"] for one in told].count("ExperimentConcluded") == 1
