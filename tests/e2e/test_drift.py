"""The whole circle on the real cluster: train, register, serve, drift, train again, roll out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Self

import httpx
import numpy as np
import pytest
from endpoints import Endpoint, variant
from sklearn.datasets import load_digits
from space import PATIENCE, Space

from eventually import eventually
from loopwright.api import names
from loopwright.api.endpoint_report import VerdictsReport
from loopwright.api.monitoring_status import MonitorState, WindowVerdict

pytestmark = pytest.mark.e2e

WINDOW = 20
# Trains on digits as they come; when a monitor asks for it, on digits as they come by now.
SCRIPT = """
import os
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from loopwright import train

x, y = load_digits(return_X_y=True)
if "RETRAIN_MONITOR" in os.environ:
    x = np.rot90(x.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
x = x.astype(np.float32)
known, held = slice(0, 1200), slice(1200, None)
model = LogisticRegression(C=0.01, max_iter=500).fit(x[known], y[known])
train.report({"accuracy": model.score(x[held], y[held])}, step=1, total_steps=1)
train.save_model(model, x[:1], baseline=x[held])
"""
LIVE = {"model": {"modelRef": {"name": "digits", "alias": "live"}}}
# A version is approved without a person, unless it reads digits badly.
MODEL = {
    "apiVersion": "loopwright.io/v1alpha1", "kind": "Model", "metadata": {"name": "digits"},
    "spec": {
        "requireApproval": True,
        "autoApprove": {"requireMetrics": [{"metric": "accuracy", "min": "0.8"}]},
    },
}  # fmt: skip
CANARY = {
    "strategy": "Canary", "canaryPercent": 20, "bakeSeconds": 10, "checkSeconds": 10,
    "minRequests": 5, "keepPreviousSeconds": 0,
    # Not latency: how that compares with a minute ago is a matter of what else this machine does.
    "checks": [{"name": "errors", "errorRate": {"maxPercent": "5"}}],
}  # fmt: skip
MONITOR = {
    "name": "drift", "kind": "DataDrift", "everySeconds": WINDOW, "minSamples": 200,
    "violatedWindows": 2, "ofWindows": 2,
    "onViolation": {"retrain": {"cooldownSeconds": 3600}},
}  # fmt: skip


class Users:
    """Send digits all the time; after a while they hold them the wrong way."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = f"{url}/v2/models/{name}", name
        data = load_digits()
        self._rows, self._labels = data.data.astype(np.float32), data.target
        self.rotated = False
        self.right: list[bool] = []
        self.failures: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        chance = np.random.default_rng(1)
        with httpx.Client(trust_env=False, timeout=20) as http:
            [one] = http.get(self._url).json()["inputs"]
            while not self._end.wait(0.2):
                chosen = chance.integers(0, len(self._rows), 10)
                rows = self._rows[chosen]
                if self.rotated:
                    rows = np.rot90(rows.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
                sent = {**one, "shape": [10, 64], "data": rows.ravel().tolist()}
                try:
                    answer = http.post(f"{self._url}/infer", json={"inputs": [sent]})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                    continue
                found = answer.json()["outputs"][0]["data"]
                self.right += (np.asarray(found) == self._labels[chosen]).tolist()

    def accuracy(self, rows: int = 200) -> float:
        """Of the newest answers."""
        return float(np.mean(self.right[-rows:]))


def verdict(status: dict[str, Any]) -> dict[str, Any]:
    """What the monitor says of the revision in use."""
    serving = status["variants"][0]["serving"]["revision"]
    found = [one for one in status.get("monitors", []) if one["revision"] == serving]
    return found[0] if found else {}


def reported(endpoint: Endpoint) -> Iterator[WindowVerdict]:
    """The newest verdicts that say something, from the monitor itself.

    A window lasts as long as the operator may be away when another test has killed it.
    """
    space, name = endpoint.space, names.observed_name(endpoint.name)
    text = (space.kubectl.get("configmap", name, space.name) or {}).get("data", {})
    if told := text.get(names.VERDICTS_KEY):
        for one in VerdictsReport.model_validate_json(told).verdicts:
            if one.state in (MonitorState.OK, MonitorState.VIOLATED):
                yield one


def windows(endpoint: Endpoint, number: int) -> None:
    """Waits until so many more windows were judged, none of which raises an alarm."""
    known = {one.window_end for one in reported(endpoint)}
    seen: set[datetime | None] = set()

    def more() -> bool:
        found = list(reported(endpoint))
        assert all(one.state is MonitorState.OK for one in found), found
        seen.update(one.window_end for one in found)
        return len(seen - known) >= number

    eventually("windows", more, timeout=PATIENCE, pause=1)


def alarm(endpoint: Endpoint, since: float) -> int:
    """Waits for one; returns the number of windows that ended and were judged since, with its."""
    ends = set()

    def raised() -> bool:
        found = [
            one
            for one in reported(endpoint)
            if one.window_end is not None and one.window_end.timestamp() > since
        ]
        ends.update(one.window_end for one in found)
        return any(one.state is MonitorState.VIOLATED for one in found)

    eventually("an alarm", raised, timeout=PATIENCE, pause=1)
    return len(ends)


def drifted(status: dict[str, Any]) -> tuple[str, str]:
    """Status and reason of DriftDetected."""
    told = next((one for one in status["conditions"] if one["type"] == "DriftDetected"), {})
    return told.get("status", ""), told.get("reason", "")


def well(status: dict[str, Any]) -> bool:
    """Whether the revision in use is judged, and as it should be."""
    good = drifted(status) == ("False", "AsExpected")
    return good and bool(verdict(status).get("state") == "OK")


def test_the_loop_closes_by_itself(space: Space) -> None:
    space.apply(MODEL)
    space.train("digits", SCRIPT, register={"model": "digits", "aliases": ["live"]})
    space.phase("digits", "Succeeded")
    endpoint = Endpoint(space, "digits").apply(variant(**LIVE), rollout=CANARY, monitors=[MONITOR])
    assert endpoint.condition("DriftDetected")[0] in ("", "Unknown")
    url = endpoint.ready()["url"]
    first = endpoint.status()["variants"][0]["serving"]["modelVersion"]

    with Users(url, "digits") as users:
        endpoint.until("the first verdict", well)
        selector = ("-n", space.name, "-l", "app.kubernetes.io/name=loopwright-monitor")
        space.kubectl.run("delete", "pod", *selector, "--grace-period=0", "--force")
        windows(endpoint, 2)
        status = endpoint.until("no drift", well)
        assert "retrains" not in status or status["retrains"] == []
        assert users.accuracy(1000) > 0.9

        users.rotated, turned = True, time.time()
        # Two windows that hold nothing else, and the one in which it began.
        assert alarm(endpoint, turned) <= 3
        print(f"drift was seen {time.time() - turned:.0f} s after it began")
        endpoint.until("drift", lambda one: bool(one.get("retrains")) and drifted(one)[0] == "True")

        def served(one: dict[str, Any]) -> bool:
            return bool(one["variants"][0]["serving"].get("modelVersion") != first)

        status = endpoint.until("the new version", served, 2 * PATIENCE)
        print(f"a new version served {time.time() - turned:.0f} s after drift began")
        assert status["retrains"][0]["outcome"] == "Succeeded"
        assert len(status["retrains"]) == 1
        endpoint.until("quiet", well)
        eventually("answers of the new version", lambda: users.accuracy() > 0.9)
    assert users.failures == []
    approved = [one["status"]["approvedBy"] for one in space.kubectl.list("mv", space.name)]
    assert approved == ["system:serviceaccount:loopwright-system:loopwright"] * 2
    [job] = [one for one in space.kubectl.list("trainingjobs", space.name)
             if one["metadata"]["name"] != "digits"]  # fmt: skip
    assert job["metadata"]["annotations"]["loopwright.io/monitor"] == "drift"
