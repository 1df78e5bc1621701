"""A sweep whose operator dies, and whose cluster dies, ends as if nothing had happened."""

from __future__ import annotations

from typing import Any

import pytest
from space import Space

pytestmark = pytest.mark.e2e

# Says how often a trial with its parameters had come to its end before. Once six have ended, those
# that begin wait until the test lets them go on.
TRIAL = """
import pathlib, time
from loopwright import train

x, folder = train.hyperparameters()["x"], pathlib.Path("/mnt/loopwright/pvc/results")
ended, go = folder / "NAME-ended", folder / "NAME-go"
known = ended.read_text().split() if ended.exists() else []
before = known.count(x)
while len(known) >= 6 and not go.exists():
    time.sleep(0.2)
time.sleep(3)
with ended.open("a") as file:
    file.write(x + chr(10))
train.report({"score": -(float(x) - 0.3) ** 2, "ended_before": before}, step=1)
"""


def sweep(name: str) -> dict[str, Any]:
    """Twelve trials of three seconds, two at a time in the head pod."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "HyperparameterSweep",
        "metadata": {"name": name},
        "spec": {
            "objectives": [{"metric": "score", "direction": "Maximize"}],
            "parameters": [{"name": "x", "uniform": {"min": "0", "max": "1"}}],
            "algorithm": {"seed": 7, "random": {}},
            "maxTrials": 12,
            "parallelTrials": 2,
            "retry": {"backoffSeconds": 1},
            "trialTemplate": {
                "spec": {
                    "script": {"inline": TRIAL.replace("NAME", name)},
                    "numWorkers": 0,
                    "resourcesPerWorker": {"cpu": "500m", "memory": "1Gi"},
                    "output": {"uri": f"pvc://results/{name}"},
                }
            },
        },
    }


def ended(status: dict[str, Any]) -> int:
    """How many trials have."""
    return int(status.get("trials", {}).get("succeeded", 0))


def test_a_sweep_survives_its_head_and_the_operator(space: Space) -> None:
    kind = "HyperparameterSweep"
    space.apply(sweep("calm"))
    space.let_go("calm-go")
    calm = space.phase("calm", "Succeeded", kind=kind)
    space.apply(sweep("shaken"))
    space.wait("shaken", lambda status: ended(status) >= 2, kind=kind)
    space.kill_operator()
    known = space.wait("shaken", lambda status: ended(status) >= 5, kind=kind)
    [head] = space.pods("shaken", "head")
    space.kill_pod(head["metadata"]["name"])
    space.let_go("shaken-go")
    shaken = space.phase("shaken", "Succeeded", kind=kind)

    assert ended(calm) == ended(shaken) == shaken["trials"]["total"] == 12
    assert shaken["best"]["parameters"] == calm["best"]["parameters"]
    trials = {trial["name"]: trial for trial in shaken["topTrials"]}
    before = [trial for trial in known["topTrials"] if trial["state"] == "Succeeded"]
    assert len(before) >= 5
    for trial in before:
        assert trials[trial["name"]]["parameters"] == trial["parameters"]
        assert float(trials[trial["name"]]["metrics"]["ended_before"]) == 0
