"""A recorded cluster with something of everything, and a console that shows it."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

from cli_worlds import batch, done, endpoint, failed, sweep, training
from recorded import Object, Recorded, event, own, thing

from loopwright.api import names
from loopwright.console.app import Console
from loopwright.console.person import REVIEW
from loopwright.console.settings import ConsoleSettings
from loopwright.view.cluster import Cluster
from loopwright.view.errors import Unknown

TOKEN = "a.good-token_1"  # noqa: S105 (of nobody)
NAMED = {"status": {"userInfo": {"username": "ada@example.com"}}}


class FakeConsole(Console):
    """A console whose API server is recorded; it takes one token."""

    def __init__(self, world: Recorded, **settings: Any) -> None:
        given = {"server": "https://recorded", "ca_file": "", "refresh_seconds": 15, **settings}
        super().__init__(ConsoleSettings(**given))
        self.world = world
        world.pages.setdefault(REVIEW.path(), json.dumps(NAMED).encode())

    def _cluster(self, token: str, namespace: str) -> Cluster:
        found = copy.copy(self.world)
        found.namespace = namespace
        if token != TOKEN:
            found.pages = {REVIEW.path(): Unknown("you may be anybody")}
        return found


def mailbox(kind: str, job: str, report: Object) -> Object:
    """The report of a job's pods."""
    head = {"attempt": 1, "runId": "r", "state": "Running", "time": "2026-11-30T11:59:00Z"}
    text = json.dumps({**head, **report})
    return thing("ConfigMap", names.report_name(kind, job), data={names.REPORT_KEY: text})


def curve(name: str, values: list[float]) -> Object:
    """A metric over steps."""
    return {"name": name, "steps": [20 * place for place in range(len(values))], "values": values}


def learnt() -> Object:
    """What a training reports."""
    chance = random.Random(1)  # noqa: S311 (the same picture each time)
    loss = [2.3 * math.exp(-i / 12) + 0.08 + chance.gauss(0, 0.03) for i in range(50)]
    right = [0.1 + 0.86 * (1 - math.exp(-i / 9)) + chance.gauss(0, 0.008) for i in range(50)]
    rate = [0.01 * (0.5 + 0.5 * math.cos(math.pi * i / 50)) for i in range(50)]
    curves = [curve("accuracy", right), curve("loss", loss), curve("learning_rate", rate)]
    return mailbox("TrainingJob", "digits", {"curves": curves})


def searched() -> list[Object]:
    """A sweep of twenty trials and what its driver reports."""
    chance = random.Random(2)  # noqa: S311
    [found] = [one for one in sweep().objects if one["kind"] == "HyperparameterSweep"]
    trials = []
    for number in range(1, 21):
        lr, width = 10 ** chance.uniform(-4, -1), chance.choice([32, 64, 128, 256])
        value = 0.97 - 0.05 * abs(math.log10(lr) + 2.4) + 0.01 * math.log2(width / 32)
        trials.append({
            "name": f"t{number}", "state": "Succeeded" if number % 4 else "EarlyStopped",
            "value": f"{value:.4f}", "metrics": {"accuracy": f"{value:.4f}"},
            "seconds": 12 + number, "step": 20,
            "parameters": {"lr": f"{lr:.5f}", "width": str(width),
                                       "optimizer": chance.choice(["adam", "sgd", "adamw"]),
                                       "dropout": f"{chance.uniform(0, 0.5):.2f}"},
        })  # fmt: skip
    trials.sort(key=lambda one: -float(one["value"]))
    found["status"] |= {"topTrials": trials, "best": trials[0]}
    points = sorted((int(one["name"][1:]), float(one["value"])) for one in trials)
    results = {
        "name": "accuracy",
        "steps": [n for n, _ in points],
        "values": [v for _, v in points],
    }
    return [found, mailbox("HyperparameterSweep", "digits", {"results": results})]


def watched() -> list[Object]:
    """An endpoint whose monitor says which features are beyond a threshold."""
    found = endpoint().objects
    found[0]["status"]["monitors"][0]["violations"] = [
        {"feature": "pixel_17", "check": "Drift", "value": "0.312", "threshold": "0.2"},
        {"feature": "age", "check": "Missing", "value": "0.12", "threshold": "0.05"},
    ]
    return found


def everything() -> Recorded:
    """Something of each kind."""
    broken = copy.deepcopy(failed().objects[0])
    broken["metadata"] |= {"name": "broken", "uid": "TrainingJob-broken"}
    ended = copy.deepcopy(done().objects[0])
    ended["metadata"] |= {"name": "digits-final", "uid": "TrainingJob-final"}
    waits = own("TrainingJob", "waits", broken["spec"], {"phase": "Queued", "conditions": [
        {"type": "Ready", "status": "False", "reason": "Queued", "observedGeneration": 1,
         "lastTransitionTime": "2026-11-30T11:59:00Z",
         "message": "the job waits in its queue: insufficient unused quota for nvidia.com/gpu"}]},
    )  # fmt: skip
    worlds = (training(), batch(), done())
    objects = [one for world in worlds for one in world.objects]
    objects = [one for one in objects if phase(one) != "Succeeded"] + [ended]
    told = event(objects[0], "BackOff", "Back-off restarting failed container")
    every = [*objects, *searched(), *watched(), learnt(), broken, waits, told]
    return Recorded(*{(o["kind"], o["metadata"]["name"]): o for o in every}.values(), namespace="")


def phase(obj: Object) -> str:
    """Its phase."""
    return str((obj.get("status") or {}).get("phase"))
