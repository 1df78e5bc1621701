"""Trials as one sweep, and the same trials as TrainingJobs, two at a time: needs the cluster.

A cluster of its own for each trial is how Katib runs them, whose trials are jobs with pods. Both
sides run the same script with the same parameters and as much CPU for each trial; where they find
something else than the other, what was measured counts for nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml
from kubectl import Kubectl
from tests.perf.common import CLAIM, OURS, Manifest, Options, space
from tests.perf.figures import Figures, Quantity, Values

from loopwright.api import names
from loopwright.api.hyperparametersweep import HyperparameterSweepSpec

SLOTS: Final = 2
SEED: Final = 1
PATIENCE: Final = 3600.0
JOBS: Final = "TrainingJobs"
RESOURCES: Final = {"cpu": "700m", "memory": "2Gi"}
PARAMETERS: Final = [
    {"name": "lr", "logUniform": {"min": "0.0001", "max": "0.1"}},
    {"name": "hidden", "int": {"min": 8, "max": 64, "log": True}},
]
SCRIPT: Final = """
import warnings
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from loopwright import train

warnings.simplefilter("ignore")
given = train.hyperparameters()
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.5, random_state=0)
hidden, lr = int(given["hidden"]), float(given["lr"])
model = MLPClassifier((hidden,), learning_rate_init=lr, random_state=0)
for epoch in range(1, 11):
    model.partial_fit(x, y, classes=range(10))
    train.report({"accuracy": model.score(x_test, y_test)}, step=epoch, total_steps=10)
"""

WALL = Quantity("from the first object to the last success", "s", 0)
EACH = Quantity("slot seconds of a trial", "s")
PODS_CPU = Quantity("CPU of all pods", "s", 0)
MACHINE_CPU = Quantity("CPU of the machine", "s", 0)

Side = Callable[[Kubectl, str], dict[str, float]]
"""Runs the trials in a namespace; returns what each of them reached, by its parameters."""


def run(options: Options) -> list[Figures]:
    """Both, in turns that go back and forth."""
    count = options.trials
    figures = Figures(f"{count} trials of a small network, {SLOTS} at a time")
    sides: Mapping[str, Side] = {OURS: partial(_sweep, count), JOBS: partial(_jobs, count)}
    kubectl = Kubectl()
    for turn in range(options.repeats):
        found: list[dict[str, float]] = []
        for who in sides if turn % 2 == 0 else reversed(list(sides)):
            with space(kubectl) as namespace:
                values, scores = _measured(sides[who], kubectl, namespace, count)
                _until_gone(kubectl, namespace)
            said = ", ".join(f"{q.what} {q.text(value)}" for q, value in values.items())
            print(f"  {turn + 1}. {who}: {said}", flush=True)
            figures.add(who, values)
            found.append(scores)
        # A sweep shows the best of its trials only.
        shared = found[0].keys() & found[1].keys()
        assert len(shared) == min(len(one) for one in found), found
        assert all(abs(found[0][one] - found[1][one]) < 1e-6 for one in shared), found
    for quantity in (WALL, PODS_CPU, MACHINE_CPU):
        ratio = figures.median(JOBS, quantity) / figures.median(OURS, quantity)
        figures.comparisons.append(f"{JOBS} take {ratio:.1f}x of the sweep's: {quantity.what}")
    return [figures]


def _measured(
    side: Side, kubectl: Kubectl, namespace: str, count: int
) -> tuple[Values, dict[str, float]]:
    pods, machine, started = _pods_cpu(), _machine_cpu(), time.perf_counter()
    scores = side(kubectl, namespace)
    seconds = time.perf_counter() - started
    return {
        WALL: seconds,
        EACH: seconds * SLOTS / count,
        PODS_CPU: _pods_cpu() - pods,
        MACHINE_CPU: _machine_cpu() - machine,
    }, scores


def _trial(name: str) -> Manifest:
    """What a trial is on either side."""
    return {
        "script": {"inline": SCRIPT}, "numWorkers": 0, "resourcesPerWorker": RESOURCES,
        "output": {"uri": f"pvc://{CLAIM}/{name}"},
    }  # fmt: skip


def _sweep_spec(count: int) -> Manifest:
    return {
        "objectives": [{"metric": "accuracy", "direction": "Maximize"}],
        "parameters": PARAMETERS, "algorithm": {"seed": SEED, "random": {}}, "maxTrials": count,
        "parallelTrials": min(SLOTS, count), "trialTemplate": {"spec": _trial("sweep")},
    }  # fmt: skip


def _sweep(count: int, kubectl: Kubectl, namespace: str) -> dict[str, float]:
    _create(kubectl, namespace, "HyperparameterSweep", "sweep", _sweep_spec(count))
    deadline = time.monotonic() + PATIENCE
    while (status := _ended(kubectl, namespace, "hyperparametersweeps").get("sweep")) is None:
        assert time.monotonic() < deadline, kubectl.run("get", "ml,pods", "-n", namespace)
        time.sleep(1)
    assert status["trials"]["succeeded"] == count, status
    return {
        _key(trial["parameters"]): float(trial["metrics"]["accuracy"])
        for trial in status["topTrials"]
    }


def _jobs(count: int, kubectl: Kubectl, namespace: str) -> dict[str, float]:
    from loopwright.runtime.tune.proposals import Proposals

    proposals = Proposals(HyperparameterSweepSpec.model_validate(_sweep_spec(count)), SEED)
    asked = {f"t{number}": proposals.ask(number) or {} for number in range(1, count + 1)}
    waiting, ended = list(asked), {}
    begun, deadline = 0, time.monotonic() + PATIENCE
    while len(ended) < count:
        while waiting and begun - len(ended) < SLOTS:
            name, begun = waiting.pop(0), begun + 1
            spec = {**_trial(name), "hyperparameters": asked[name]}
            _create(kubectl, namespace, "TrainingJob", name, spec)
        time.sleep(1)
        assert time.monotonic() < deadline, kubectl.run("get", "ml,pods", "-n", namespace)
        ended = _ended(kubectl, namespace, "trainingjobs")
    return {
        _key(asked[name]): next(
            float(one["value"]) for one in status["metrics"] if one["name"] == "accuracy"
        )
        for name, status in ended.items()
    }


def _key(parameters: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={parameters[name]}" for name in sorted(parameters))


def _create(
    kubectl: Kubectl, namespace: str, kind: str, name: str, spec: Mapping[str, Any]
) -> None:
    head = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}}
    text = yaml.safe_dump({**head, "spec": spec})
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=text)


def _ended(kubectl: Kubectl, namespace: str, kind: str) -> dict[str, dict[str, Any]]:
    """Statuses of those that have succeeded; none may have failed."""
    found = {}
    for one in kubectl.list(kind, namespace):
        status = one.get("status") or {}
        assert status.get("phase") != "Failed", status
        if status.get("phase") == "Succeeded":
            found[one["metadata"]["name"]] = status
    return found


def _until_gone(kubectl: Kubectl, namespace: str) -> None:
    """Waits until what has ended takes no CPU from what comes next."""
    deadline = time.monotonic() + 120
    while kubectl.list("pods", namespace) and time.monotonic() < deadline:
        time.sleep(1)


def _pods_cpu() -> float:
    """Seconds of all pods of this machine so far, also of those that are gone."""
    for root in Path("/sys/fs/cgroup").glob("**/kubepods"):
        with suppress(FileNotFoundError):
            return int((root / "cpuacct.usage").read_text()) / 1e9
        with suppress(FileNotFoundError):
            for line in (root / "cpu.stat").read_text().splitlines():
                if line.startswith("usage_usec"):
                    return int(line.split()[1]) / 1e6
    raise RuntimeError("no control group of pods counts CPU time; is the cluster of this machine?")


def _machine_cpu() -> float:
    """Seconds of everything on this machine so far, whoever used them."""
    _, *fields = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
