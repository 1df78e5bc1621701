"""Acto's question: after any changes from A to B and back to A, is everything as it was in A?"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from fake_world import Object
from people import RAYJOB, held, let_go, status, training
from proxy import Request
from scenario import Ending, Stage
from scenarios.trainingjob import JOB, SUCCESS, phase, suspends, trains
from theatre import Theatre

from perf.api import Refused

# What may change during a run, and values for it; None is back to the default.
CHANGES: Final[dict[str, tuple[Any, ...]]] = {
    "head.resources.cpu": ("2", "500m", 3),
    "head.resources.memory": ("4Gi", "3e9"),
    "head.pod.labels": ({"team": "a"}, {"team": "b", "example.com/x": ""}),
    "head.pod.nodeSelector": ({"disk": "ssd"},),
    "pod.labels": ({"loopwright.io/name": "other"}, {"a": "b"}),
    "pod.annotations": ({"example.com/why": "because\n😀"},),
    "pod.tolerations": ([{"key": "spot"}], [{"key": "a", "value": "b"}, {"operator": "Exists"}]),
    "pod.volumes": ([{"name": "scratch", "emptyDir": {}}],),
    "pod.affinity": ({"podAntiAffinity": {}},),
    "runPolicy.ttlSecondsAfterFinished": (7, 100_000),
}
# Each is refused as a whole: what is good in it changes nothing either.
BAD: Final[tuple[Object, ...]] = (
    {"numWorkers": -1, "pod": {"labels": {"never": "seen"}}},
    {"numWorkers": 2},
    {"numWorkers": "many"},
    {"runPolicy": {"suspend": "yes"}},
    {"runPolicy": {"ttlSecondsAfterFinished": -1}},
    {"runPolicy": {"maxRuntimeSeconds": 1}},
    {"head": {"resources": {"cpu": "0"}}},
    {"head": {"resources": {"memory": "lots"}}},
    {"pod": {"labels": {"not a label": "x"}}},
    {"pod": {"volumes": [{"name": "loopwright-config", "emptyDir": {}}]}},
    {"pod": {"volumes": [{"name": "two", "emptyDir": {}, "secret": {}}]}},
    {"command": ["rm", "-rf", "/"]},
    {"script": None},
    {"output": {"uri": "file:///etc"}},
)
STEPS: Final = 6


def patch(path: str, value: Any) -> Object:
    """A merge patch that sets one field of the spec."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@dataclass
class Person:
    """Changes a job at random, and knows what it was."""

    stage: Stage
    dice: random.Random
    before: Object
    """The spec at the beginning."""

    async def spec(self) -> Object:
        """The spec as it is."""
        found: Object = (await self.stage.namespace.get("TrainingJob", JOB) or {})["spec"]
        return found

    async def change(self, path: str, value: Any) -> None:
        """Sets a field, and waits until the operator has seen that."""
        await self.stage.namespace.patch("TrainingJob", JOB, spec=patch(path, value))

        await self.stage.until(
            lambda job: status(job)["observedGeneration"] == (job or {})["metadata"]["generation"]
        )

    async def wander(self) -> None:
        """Sets fields, one after the other."""
        for path in self.dice.sample(sorted(CHANGES), STEPS):
            await self.change(path, self.dice.choice(CHANGES[path]))

    async def return_home(self) -> None:
        """Takes all of it back, in another order."""
        for path in self.dice.sample(sorted(CHANGES), len(CHANGES)):
            await self.stage.namespace.patch("TrainingJob", JOB, spec=patch(path, None))
        await self.change("pod.labels", None)
        assert await self.spec() == self.before

    async def err(self) -> None:
        """Says what makes no sense."""
        now = await self.spec()
        for spec in self.dice.sample(BAD, STEPS):
            with pytest.raises(Refused, match="HTTP 422") as refused:
                await self.stage.namespace.patch("TrainingJob", JOB, spec=spec)
            assert "spec" in str(refused.value)
        assert await self.spec() == now


async def arrives(stage: Stage, seed: int) -> Person:
    """Somebody new; the same for each seed."""
    job = await stage.namespace.get("TrainingJob", JOB) or {}
    return Person(stage, random.Random(seed), job["spec"])  # noqa: S311


def without_generations(value: Any) -> Any:
    """Each change counts one up, whatever it is."""
    if isinstance(value, dict):
        return {k: without_generations(v) for k, v in value.items() if k != "observedGeneration"}
    return [without_generations(v) for v in value] if isinstance(value, list) else value


def ignoring_generations(ending: Ending) -> Ending:
    """The same end, however often the spec was changed before."""
    return replace(ending, objects=without_generations(ending.objects))


async def test_there_and_back_again(theatre: Theatre) -> None:
    """F28: a running attempt notices nothing, whatever is changed, refused and taken back."""
    calm = await theatre.calmly(SUCCESS)

    async def one(seed: int) -> None:
        async with training(theatre, held()) as stage:
            person = await arrives(stage, seed)
            before = await stage.namespace.get(*RAYJOB)
            await person.wander()
            await person.err()
            await person.return_home()
            assert await stage.namespace.get(*RAYJOB) == before
            changed = Counter(write.resource for write in stage.proxy.writes())
            assert changed["trainingjobs/status"] <= STEPS + len(CHANGES) + 4
            ending = await let_go(stage)
            ignoring_generations(ending).check(ignoring_generations(calm), held())

    async with asyncio.TaskGroup() as tasks:
        for seed in range(3):
            tasks.create_task(one(seed))


def head_labels(made: Request) -> dict[str, str]:
    """Labels of the head pod of a RayJob that is made."""
    cluster = json.loads(made.body)["spec"]["rayClusterSpec"]
    found: dict[str, str] = cluster["headGroupSpec"]["template"]["metadata"]["labels"]
    return found


async def test_there_and_back_again_with_rests(theatre: Theatre) -> None:
    """F28 and F29: also with the job suspended in between; the next attempt sees each change."""

    async def one(seed: int) -> None:
        scenario = held(rayjobs=2)
        async with training(theatre, scenario) as stage:
            person = await arrives(stage, seed)
            for value in ({"a": "b"}, None):
                await suspends(True)(stage.namespace, JOB)
                await stage.until(lambda job: phase(job) == "Suspended")
                await stage.namespace.patch(
                    "TrainingJob", JOB, spec=patch("head.pod.labels", value)
                )
                await person.err()
                await suspends(False)(stage.namespace, JOB)
                await stage.until(trains)
            ending = await let_go(stage)
            ending.check(ending, scenario)
            assert [head_labels(write).get("a") for write in ending.writes
                    if str(write).startswith("POST rayjobs")] == [None, "b", None]  # fmt: skip
            job = status(await stage.namespace.get("TrainingJob", JOB))
            causes = [attempt.get("cause") for attempt in job["attempts"]]
            assert causes == ["Suspended", "Suspended", None]
            assert job["failures"] == {"application": 0, "infrastructure": 0}
            assert await person.spec() == person.before

    async with asyncio.TaskGroup() as tasks:
        for seed in range(2):
            tasks.create_task(one(seed))
