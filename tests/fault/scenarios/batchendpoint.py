"""A BatchTransform that asks a ModelEndpoint, whose revision changes while the batch is away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from fake_kserve import OWNED, FakeServing, endpoint, model, version
from fake_world import FakeWorld, Namespace, Object, Step
from scenario import Scenario

from scenarios.batchtransform import BATCH, KIND, LAST, MADE, batch, changes, works
from scenarios.modelendpoint import ENDPOINT, MONITOR, ONCE, REVISION, collected, points_to, serves
from scenarios.trainingjob import claim, ended, phase


async def resumes(namespace: Namespace, _: str) -> None:
    """A person lets the batch go on."""
    await changes(runPolicy={"suspend": False})(namespace, BATCH)


@dataclass
class FakeCluster(FakeWorld):
    """A batch's surroundings, and those of the endpoint that it asks."""

    def __post_init__(self) -> None:
        self.serving = FakeServing(self.namespace, ENDPOINT, [Step(serves("v2"), resumes)])
        self.answering = self.serving.answering

    async def prepare(self) -> None:
        """See FakeServing."""
        await self.serving.prepare()

    async def tick(self, job: Object | None) -> None:
        """Everybody does at most one thing."""
        await self.serving.tick(await self.namespace.get("ModelEndpoint", ENDPOINT))
        await super().tick(job)


ASKED: Final = Scenario(
    "batch whose endpoint moves while it is suspended",
    (
        claim(), model(aliases={"live": "v1"}), version("v1"), version("v2"), endpoint(ENDPOINT),
        batch(model=None, endpointRef={"name": ENDPOINT, "variant": "main"}),
    ),
    lambda namespace: FakeCluster(
        namespace, BATCH, ("runs", "succeeds"), kind=KIND, last=LAST,
        steps=(
            Step(works, changes(runPolicy={"suspend": True})),
            Step(lambda obj: phase(obj) == "Suspended", points_to("v2")),
        ),
    ),
    ended,
    Counter(MADE) + Counter(ONCE | MONITOR | dict.fromkeys(REVISION, 2)) + Counter(rayjobs=2),
    statuses=22,
    rest=collected,
    children=(*(kind for kind in OWNED if kind != "ConfigMap"), "RayJob"),
    settings={"drain_seconds": "1"},
)  # fmt: skip

SCENARIOS: Final = (ASKED,)
