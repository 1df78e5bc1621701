"""F27: people delete a namespace in which jobs train."""

from __future__ import annotations

import asyncio
import time

from people import SUPPORT, requests
from scenario import PATIENCE, Stage
from scenarios.trainingjob import ENDLESS, claim, phase, training_job
from theatre import Theatre

JOBS = 50
SAYS = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "x"}


async def crowd(stage: Stage) -> None:
    """Many jobs train."""
    namespace, each = stage.namespace, [f"job{number}" for number in range(JOBS)]
    jobs = [training_job(name, retry={"backoffSeconds": 1}) for name in each]
    await asyncio.gather(*(namespace.create(obj) for obj in (claim(), *jobs)))

    async def made() -> bool:
        return len(await namespace.list("RayJob")) == JOBS

    async def train() -> bool:
        return {phase(job) for job in await namespace.list("TrainingJob")} == {"Running"}

    await stage.until_found(made)
    says = (namespace.patch("RayJob", f"{name}-a1", "status", status=SAYS) for name in each)
    await asyncio.gather(*says)
    await stage.until_found(train)


async def test_a_namespace_is_deleted(theatre: Theatre) -> None:
    """F27: nothing can be created in it any more, and nobody tries without end."""
    async with theatre.stage(ENDLESS) as stage:
        await crowd(stage)

        async def gone(*kinds: str) -> None:
            found = [(kind, one) for kind in kinds for one in await stage.namespace.list(kind)]
            names = [(kind, one["metadata"]["name"]) for kind, one in found]
            await asyncio.gather(
                *(stage.namespace.delete(*name) for name in names if name[1] != "lease")
            )

        await stage.namespace.api.send("DELETE", f"/api/v1/namespaces/{stage.namespace.name}")
        await gone("ConfigMap", "NetworkPolicy", "ServiceAccount", "Role", "RoleBinding")
        asked = await requests(stage, 6)
        # Later each time: after 0.5 s, 1 s, 2 s and 4 s; and once for each child that is gone.
        assert asked["POST serviceaccounts"] <= (5 + len(SUPPORT)) * JOBS, asked
        await gone("RayJob")
        async with asyncio.timeout(PATIENCE):
            while True:
                began = time.monotonic()
                asked = await requests(stage, 11)
                if not asked["PATCH trainingjobs/status"]:
                    break
        looks = 1 + (time.monotonic() - began) // 10
        assert asked["POST serviceaccounts"] <= looks * JOBS, asked
        await gone("TrainingJob")
        async with asyncio.timeout(PATIENCE):
            while await requests(stage, 3):
                pass
        asked = await requests(stage, 12)
        assert not asked
        assert not [line for line in stage.deployment.lines() if "exception" in line]
