"""A fake world: it writes what KubeRay and the drivers of a namespace's jobs would write."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.perf.api import APPLY, MERGE, Api, Object, Refused
from tests.perf.server import RAYJOBS, now

from loopwright.api import names


@dataclass(frozen=True)
class Run:
    """One attempt of a job, as KubeRay and its driver tell of it."""

    world: FakeWorld
    api: Api
    """By which its requests go."""
    rayjob: str
    kind: str
    job: str
    attempt: int
    owner: Object
    """Its reference to the job."""

    async def says(self, deployment: str, job: str = "") -> None:
        """KubeRay writes the RayJob's status."""
        status = {"jobDeploymentStatus": deployment, "rayClusterName": f"{self.rayjob}-x"}
        status |= {"jobStatus": job} if job else {}
        await self._patch(
            f"{RAYJOBS.format(self.world.namespace)}/{self.rayjob}/status", status=status
        )

    async def reports(self, state: str, **more: Any) -> None:
        """The driver writes its report."""
        report = {
            "attempt": self.attempt, "runId": f"run{self.attempt}", "state": state, "time": now(),
            **more,
        }  # fmt: skip
        await self._applies(json.dumps(report))
        self.world.reported = time.perf_counter()

    async def _applies(self, text: str) -> None:
        meta = {
            "name": names.report_name(self.kind, self.job),
            "labels": names.child_labels(self.kind, self.job), "ownerReferences": [self.owner],
        }  # fmt: skip
        path = f"/api/v1/namespaces/{self.world.namespace}/configmaps/{meta['name']}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        body["data"] = {"report.json": text}
        await self.api.send("PATCH", f"{path}?fieldManager=driver&force=true", body, APPLY)

    async def _patch(self, path: str, **body: Any) -> None:
        await self.api.send("PATCH", path, body, MERGE)


Script = Callable[[Run], Awaitable[None]]


async def succeeds(run: Run) -> None:
    """Trains for two steps."""
    await run.says("Initializing")
    await run.says("Running", "RUNNING")
    await run.reports("Running", progress={"step": 1, "totalSteps": 2, "percent": 50})
    await run.reports("Succeeded", progress={"step": 2, "totalSteps": 2, "percent": 100})
    await run.says("Complete", "SUCCEEDED")


async def fails(run: Run) -> None:
    """Ends with a bug of its own."""
    await run.says("Initializing")
    await run.says("Running", "RUNNING")
    error = {"cause": "Application", "reason": "ScriptFailed", "message": "bug", "exitCode": 1}
    await run.reports("Failed", error=error)
    await run.says("Failed", "FAILED")


@dataclass
class FakeWorld:
    """Plays KubeRay and the drivers: each RayJob that appears runs by its job's script.

    It never waits for the operator. Its requests take turns on the API's connections, so of a
    thousand jobs all take a step before any takes the next.
    """

    api: Api
    namespace: str
    script: Callable[[str], Script] = lambda _: succeeds
    """The script of a job, by its name."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing runs until it is set."""
    runs: Counter[str] = field(default_factory=Counter)
    """How many runs of each job have ended."""
    reported: float = 0.0
    """When a driver reported last, by time.perf_counter()."""

    @asynccontextmanager
    async def living(self) -> AsyncIterator[FakeWorld]:
        """Plays as long as the block."""
        playing = asyncio.create_task(self._play())
        try:
            yield self
            if playing.done():
                playing.result()
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing

    async def _play(self) -> None:
        seen: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            async for rayjob in self.api.watch(RAYJOBS.format(self.namespace)):
                uid = rayjob["metadata"]["uid"]
                if uid not in seen:
                    seen.add(uid)
                    tasks.create_task(self._run(rayjob))

    async def _run(self, rayjob: Object) -> None:
        labels = rayjob["metadata"]["labels"]
        kind, job = labels[names.LABEL_KIND], labels[names.LABEL_NAME]
        attempt = int(labels[names.LABEL_ATTEMPT])
        [owner] = rayjob["metadata"]["ownerReferences"]
        run = Run(self, self.api, rayjob["metadata"]["name"], kind, job, attempt, owner)
        await self.gate.wait()
        try:
            await self.script(job)(run)
        except Refused as error:
            if error.status != 404:  # The operator deletes what it has no more use for.
                raise
        self.runs[job] += 1
