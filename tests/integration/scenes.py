"""A namespace with an endpoint. KServe, the Gateway and the monitor are played by a fake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fake_kserve import FakeServing, endpoint, model, prepare, version
from fake_world import Namespace, Object

from perf.api import Api

# A busy machine is slow; only what never comes is wrong.
SECONDS = 300.0
SETTINGS = {"drain_seconds": "1"}


class Scene:
    """A namespace with an endpoint, in which the fake lives."""

    def __init__(self, namespace: Namespace, fake: FakeServing) -> None:
        self.namespace, self.fake = namespace, fake
        self.living = asyncio.create_task(fake.live())

    async def status(self) -> Object:
        found = await self.namespace.get("ModelEndpoint", self.fake.name)
        status: Object = (found or {}).get("status") or {}
        return status

    async def until(self, what: str, check: Callable[[Object], bool | Awaitable[bool]]) -> Object:
        """Waits until something can be said of the endpoint's status."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            status = await self.status()
            found = check(status)
            if found is True or (found is not False and await found):
                return status
            if self.living.done():
                self.living.result()
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {SECONDS:.0f} s: {what}: {await self.status()}")

    async def ready(self, revision_of: str | None = None) -> Object:
        """Waits until the endpoint serves what its spec says, from a model version if told."""

        def check(status: Object) -> bool:
            fine = condition(status, "Ready") == ("True", "Serving") and not status["retired"]
            versions = [one.get("serving", {}).get("modelVersion") for one in variants(status)]
            return fine and (revision_of is None or revision_of in versions)

        return await self.until("Ready", check)

    async def weights(self) -> dict[str, int]:
        """Weight of each revision in the last rule of the route, by what its model is."""
        route = await self.namespace.get("HTTPRoute", self.fake.name) or {}
        uris = {
            f"{one['metadata']['name']}-predictor": uri(one)
            for one in await self.namespace.list("InferenceService")
        }
        refs = route["spec"]["rules"][-1]["backendRefs"] if route else []
        return {uris.get(ref["name"], ref["name"]): ref["weight"] for ref in refs}

    async def weighs(self, **weights: int) -> None:
        """Waits for the route's weights, by what a model's version is; statuses come before."""
        wanted = {f"{version}/good": weight for version, weight in weights.items()}

        async def found(_: Object) -> bool:
            return await self.weights() == wanted

        await self.until(f"weights {wanted}", found)

    async def numbers(self, kind: str, number: int) -> None:
        """Waits until there are so many objects of a kind; statuses come before."""

        async def found(_: Object) -> bool:
            return len(await self.namespace.list(kind)) == number

        await self.until(f"{number} of {kind}", found)

    async def canary(self, version: str) -> None:
        """The alias moves; an endpoint with `CHECKED` waits in its first step for the monitor."""
        self.fake.blind = True
        await self.alias(version)
        await self.until("a canary", lambda status: percent(status) == 10)

    async def create(self, *objects: Object) -> None:
        for one in objects:
            await self.namespace.create(one)

    async def alias(self, version: str) -> None:
        """The alias that the endpoint follows points to another version."""
        await self.namespace.patch("Model", "m", spec={"aliases": {"live": version}})


def uri(service: Object) -> str:
    env = service["spec"]["predictor"]["containers"][0]["env"]
    found = next(one["value"] for one in env if one["name"] == "LOOPWRIGHT_MODEL_URI")
    return str(found.removeprefix("pvc://models/"))


def variants(status: Object) -> list[Object]:
    return list(status.get("variants") or [])


def condition(status: Object, name: str) -> tuple[str, str]:
    found = {one["type"]: one for one in status.get("conditions", [])}.get(name, {})
    return found.get("status", ""), found.get("reason", "")


def message(status: Object, name: str) -> str:
    return next(str(c["message"]) for c in status.get("conditions", []) if c["type"] == name)


def percent(status: Object) -> int | None:
    rollouts = [one["rollout"] for one in variants(status) if "rollout" in one]
    return rollouts[0]["percent"] if rollouts else None


@asynccontextmanager
async def scene(kubeconfig: Path, space: str, name: str = "ep") -> AsyncIterator[Scene]:
    """An endpoint in a namespace that is there."""
    async with Api(kubeconfig, 20) as api:
        namespace = Namespace(api, space)
        await prepare(namespace)
        it = Scene(namespace, FakeServing(namespace, name))
        try:
            yield it
        finally:
            await namespace.delete("ModelEndpoint", name)
            for _ in range(100):
                if not await namespace.list("InferenceService"):
                    break
                await asyncio.sleep(0.05)
            it.living.cancel()
            await asyncio.gather(it.living, return_exceptions=True)
            await namespace.delete("GatewayClass", f"class-{space}")


async def serving(scene: Scene, **spec: Any) -> Object:
    """An endpoint that serves version v1, beside a v2."""
    await scene.create(model(aliases={"live": "v1"}), version("v1"), version("v2"))
    await scene.create(endpoint(**spec))
    return await scene.ready("m-v1")


async def there(it: Scene, kind: str, name: str) -> bool:
    return await it.namespace.get(kind, name) is not None
