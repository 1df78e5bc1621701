"""A scenario: what people apply, what the world does, and when it is over. Kinds add theirs.

`Stage` plays one scenario against a real API server with the fault proxy in between, and `Ending`
is what is compared: the end with a fault must equal the end without one (Sieve's oracle).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fake_kserve import OWNED, FakeServing
from fake_world import CHILDREN, RECORDS, FakeWorld, Namespace, Object, Seen
from operators import Deployment
from promises import check_endpoints
from proxy import Answer, Forward, Proxy, Request

from loopwright.api.resources import JOBS
from loopwright.operator import WATCHED

# Every value that a clock or the API server chose anew in each run.
NEW: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\bf-[0-9a-f]{8}\b"  # The namespace.
    r"|\b[0-9a-f]{10}\b"  # A version of a model.
    r'|(?<="remainingSeconds": )\d+'
)
CHOSEN: Final = frozenset(
    {
        "uid",
        "rayJobUid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "clusterIP",
        "clusterIPs",
    }
)

# They count seconds, of which a killed operator needs more.
COUNTED: Final = frozenset({"cost", "usedRuntimeSeconds", "activeDeadlineSeconds"})
# Of the kinds that run as RayJobs.
STATUSES: Final = frozenset(f"{resource.plural}/status" for resource in JOBS.values())
# How long nothing may happen at the end until it counts as the end.
QUIET: Final = 0.8
# A dozen operators side by side on a busy machine are slow; only what never ends is wrong.
PATIENCE: Final = 600


@dataclass(frozen=True)
class Scenario:
    """One life of an object."""

    name: str
    objects: tuple[Object, ...]
    """What people create; the last one is what the scenario is about."""
    world: Callable[[Namespace], FakeWorld | FakeServing]
    over: Callable[[Object | None], bool]
    """Whether the object, or None when it is gone, has reached its end."""
    creations: Mapping[str, int]
    """Of each kind of child, how many are ever made, whatever happens."""
    statuses: int
    """How many writes of the status its phases need."""
    rest: Callable[[Namespace], Awaitable[bool]] | None = None
    """Whether what the object has left behind has come to its end too."""
    children: tuple[str, ...] = CHILDREN
    """Kinds of what it consists of."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the operator, so that nobody has to wait."""

    @property
    def least_writes(self) -> int:
        """Children, and a status for each phase."""
        return sum(self.creations.values()) + self.statuses

    @property
    def kind(self) -> str:
        """Of the object that it is about."""
        return str(self.objects[-1]["kind"])

    @property
    def object(self) -> str:
        """Its name."""
        return str(self.objects[-1]["metadata"]["name"])


@dataclass
class Ending:
    """What a run left, and what happened on the way."""

    objects: dict[str, Any]
    """Normalised, by kind and name."""
    creations: dict[str, int]
    history: list[Object]
    told: list[str]
    """Reason and message of each Event."""
    writes: list[Request]
    requests: int
    finalizers: list[str]
    log: list[dict[str, Any]]
    answering: Mapping[str, float]
    """When each InferenceService first answered."""

    def check(self, calm: Ending, scenario: Scenario, *, same: bool = True) -> None:
        """Compares with the run without a fault.

        Args:
            same: Whether the end must be equal to the letter; else only the promises are checked.
        """
        if same:
            assert not (found := list(differences(calm.objects, self.objects))), "\n".join(found)
        assert self.creations == dict(scenario.creations)
        self.check_intents()
        assert self.finalizers == []
        assert len(self.told) <= 2 * len(calm.told) + 2, "Events are not bounded"
        check_history(self.history)
        self.check_log()

    def check_intents(self) -> None:
        """All was on record before it was made: attempts, versions and revisions of endpoints."""
        recorded, version = 0, None
        for write in self.writes:
            if write.resource in STATUSES:
                status = json.loads(write.body)["status"]
                recorded = status.get("attempt", recorded)
                version = status.get("modelVersion", version)
            elif write.resource == "modelversions" and write.method == "POST":
                assert write.name == version, f"{write} is not on record"
            elif write.resource == "rayjobs" and write.method == "POST":
                assert int(re.split(r"\D", write.name)[-1]) <= recorded, f"{write} is not on record"
        check_endpoints(self.writes, self.answering)

    def check_frugal(self, scenario: Scenario) -> None:
        """Little is written besides what the phases need.

        How little is a matter of milliseconds: of two states that follow each other closely the
        operator sees both or the later one, and a job that is resumed may have to say that it waits
        until its former RayJob is gone.
        """
        made = [str(write) for write in self.writes if write.resource != "events"]
        assert len(made) <= 1.5 * scenario.least_writes, "\n".join(made)
        assert len(self.writes) - len(made) <= scenario.statuses

    def check_log(self) -> None:
        """No traceback was logged."""
        assert not [line for line in self.log if "exception" in line]


def check_history(history: list[Object]) -> None:
    """What must only grow does, and an end is final."""
    for before, after in itertools.pairwise(history):
        assert before.get("attempt", 0) <= after.get("attempt", 0)
        for budget, count in before.get("failures", {}).items():
            assert count <= after["failures"][budget]
        if before.get("completionTime"):
            assert after["completionTime"] == before["completionTime"]
            assert after["phase"] == before["phase"]


@dataclass
class Stage:
    """A namespace, a proxy and an operator, for one run of a scenario."""

    namespace: Namespace
    proxy: Proxy
    deployment: Deployment
    scenario: Scenario
    world: FakeWorld | FakeServing

    async def at_work(self) -> None:
        """Waits until the operator leads and has listed everything."""
        async with asyncio.timeout(PATIENCE):
            while not self.works(self.deployment.began):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def works(self, since: float) -> bool:
        """Whether an operator that was started then leads and has listed everything."""

        def last(request: Request) -> bool:
            return request.resource == WATCHED[-1].plural and "limit" in request.query

        # kopf lists once, and whoever leads once more.
        return sum(last(one) and one.at >= since for one, _ in self.proxy.requests) >= 2

    async def create(self) -> None:
        """Creates what the scenario begins with."""
        await self.world.prepare()
        for obj in self.scenario.objects:
            await self.namespace.create(obj)

    async def play(self, patience: float = PATIENCE) -> Ending:
        """Creates the objects and plays until the end; the operator must be running."""
        await self.create()
        return await self.finish(patience)

    async def finish(self, patience: float = PATIENCE) -> Ending:
        """Plays until the end."""
        await self.until_found(self._over, patience)
        return await self.ending()

    async def until(self, seen: Seen, patience: float = PATIENCE) -> None:
        """Plays until something can be said of the object that the scenario is about.

        The world looks for it, and stops there: no state is over before anybody has seen it.
        """
        async with self._patiently(patience):
            await self.world.live(seen)

    async def until_found(
        self, ask: Callable[[], Awaitable[bool]], patience: float = PATIENCE
    ) -> None:
        """Plays until something is found that takes requests, or time; the world goes on meanwhile.

        A state that the world would go beyond may be missed.
        """
        living = asyncio.create_task(self.world.live())
        try:
            async with self._patiently(patience):
                while not await ask():
                    if living.done():
                        living.result()
                    await asyncio.sleep(0.1)
        finally:
            living.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await living

    @contextlib.asynccontextmanager
    async def _patiently(self, patience: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(patience):
                yield
        except TimeoutError:
            raise AssertionError(await self._explain()) from None

    async def it(self) -> Object | None:
        """The object that the scenario is about."""
        return await self.namespace.get(self.scenario.kind, self.scenario.object)

    async def _over(self) -> bool:
        rest = self.scenario.rest
        if not self.scenario.over(await self.it()) or (rest and not await rest(self.namespace)):
            return False
        return await self.at_rest()

    async def at_rest(self) -> bool:
        """Whether children have ended, and the operator has nothing left to write."""
        for rayjob in await self.namespace.list("RayJob"):
            said = (rayjob.get("status") or {}).get("jobDeploymentStatus")
            if said not in ("Complete", "Failed", "ValidationFailed"):
                return False
        # After a conflict the operator pauses for longer than is waited for below.
        for model in await self.namespace.list("Model"):
            seen = (model.get("status") or {}).get("observedGeneration")
            if seen != model["metadata"]["generation"]:
                return False
        # One that was just started has not said yet whether there is something to do.
        if not self.deployment.away and not self.works(self.deployment.began):
            return False
        return await self.quiet()

    async def quiet(self) -> bool:
        """Whether the operator writes nothing for a while, and waits for no answer."""
        before, leader = len(self.proxy.requests), self.deployment.pid
        waited = self.proxy.pending
        await asyncio.sleep(QUIET)
        made = [r for r, _ in self.proxy.requests[before:] if r.write]
        return not (made or waited or self.proxy.pending) and leader == self.deployment.pid

    async def settled(self) -> None:
        """Plays until the operator has said all that it had to say."""
        await self.until_found(self.quiet)

    async def _explain(self) -> str:
        job = await self.it()
        said = {o["metadata"]["name"]: o.get("status") for o in await self.namespace.list("RayJob")}
        last = [f"{status} {request}" for request, status in self.proxy.requests[-30:]]
        log = self.deployment.log.read_text().splitlines()[-20:]
        return "\n".join(
            [f"{self.scenario.name} did not end", json.dumps(job, indent=1), json.dumps(said),
             f"steps done: {self.world.done}", *last, *log]
        )  # fmt: skip

    async def stop_at(self, number: int) -> None:
        """Lets the operator be told to stop when its n-th write arrives."""
        seen = 0

        async def fault(request: Request, forward: Forward) -> Answer:
            nonlocal seen
            seen += request.write
            if request.write and seen == number:
                self.deployment.signal(signal.SIGTERM)
            return await forward()

        self.proxy.fault = fault

    async def ending(self) -> Ending:
        """What is there now."""
        found: dict[str, Any] = {}
        finalizers = []
        for kind in (self.scenario.kind, *self.scenario.children, *RECORDS):
            for obj in await self.namespace.list(kind):
                if "finalizers" in obj["metadata"] and kind != "RayJob":
                    finalizers.append(f"{kind}/{obj['metadata']['name']}")
                if not foreign(obj):
                    found[normal(f"{kind}/{obj['metadata']['name']}")] = normal(obj)
        creations = Counter(request.resource for request in self.proxy.created())
        told = [
            f"{event['reason']}: {normal(event['message'])}"
            for event in await self.namespace.list("Event")
        ]
        return Ending(
            found, dict(creations), self.world.history, told, self.proxy.writes(),
            len(self.proxy.requests), finalizers, self.deployment.lines(),
            getattr(self.world, "answering", {}),
        )  # fmt: skip


def foreign(obj: Object) -> bool:
    """Whether it is nobody's child, as the root certificates that are in every namespace."""
    kinds = (*CHILDREN, *OWNED)
    return obj["kind"] in kinds and "ownerReferences" not in obj["metadata"]


def normal(value: Any) -> Any:
    """A value without what differs between any two runs."""
    if isinstance(value, dict):
        return {
            name: "<chosen>" if name in CHOSEN else normal(inner)
            for name, inner in value.items()
            if name not in COUNTED and name != "managedFields"
        }
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    if isinstance(value, str):
        return NEW.sub("<chosen>", value)
    return value


def differences(calm: Any, found: Any, where: str = "") -> Iterator[str]:
    """What differs, a line each."""
    if isinstance(calm, dict) and isinstance(found, dict):
        for name in sorted(calm.keys() | found.keys()):
            yield from differences(calm.get(name), found.get(name), f"{where}.{name}")
    elif isinstance(calm, list) and isinstance(found, list) and len(calm) == len(found):
        for index, pair in enumerate(zip(calm, found, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif calm != found:
        yield f"{where}: without the fault {calm!r}, with it {found!r}"
