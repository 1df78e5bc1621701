"""Endpoints on a real API server. KServe, the Gateway and the monitor are played by a fake."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_kserve import FakeServing, endpoint, model, prepare, version
from fake_world import Namespace, Object
from kubectl import Kubectl
from replicas import Replica, Replicas

from auditlog import AuditLog
from controlplane import crds
from perf.api import Api

SECONDS = 40.0
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
        refs = route["spec"]["rules"][-1]["backendRefs"]
        return {uris.get(ref["name"], ref["name"]): ref["weight"] for ref in refs}

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
async def scene(kubeconfig: Path, name: str = "ep") -> AsyncIterator[Scene]:
    async with Api(kubeconfig, 20) as api:
        space = f"it-{uuid.uuid4().hex[:8]}"
        head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
        await api.send("POST", "/api/v1/namespaces", head)
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


async def test_a_canary_from_nothing_to_promotion(
    api: Kubectl, replicas: Replicas, audit: AuditLog
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        mark = audit.mark()
        status = await serving(it)
        assert status["url"] == f"http://10.0.0.1/{it.namespace.name}/ep"
        assert await it.weights() == {"v1/good": 10000}
        await it.alias("v2")
        await it.until("a canary", lambda status: percent(status) == 10)
        assert await it.weights() == {"v1/good": 9000, "v2/good": 1000}
        await it.until("all traffic", lambda status: percent(status) == 100)
        status = await it.ready("m-v2")
        assert await it.weights() == {"v2/good": 10000}
        assert len(await it.namespace.list("InferenceService")) == 1
        assert await it.namespace.get("Deployment", "ep-monitor") is None
        mine = [
            one
            for one in audit.writes(mark)
            if one["objectRef"].get("namespace") == it.namespace.name
            and one["objectRef"]["resource"] != "events"
        ]
        writes = [f"{one['verb']} {one['objectRef']['resource']}" for one in mine]
        # Two revisions of three objects, a route and its changes, a monitor, alerts, and a status
        # for each.
        assert len(writes) <= 42, writes


async def test_a_bad_canary_returns_by_itself(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        await serving(it)
        await it.create(version("v3", "bad"))
        await it.alias("v3")
        await it.until("rollback", lambda status: condition(status, "RolledBack")[0] == "True")
        status = await it.until("its end", lambda status: not status["retired"])
        assert await it.weights() == {"v1/good": 10000}
        assert "50 % of 1000 requests failed" in message(status, "RolledBack")
        assert condition(status, "Stalled") == ("True", "RolledBack")
        assert [uri(one) for one in await it.namespace.list("InferenceService")] == ["v1/good"]


async def test_killed_in_the_middle_of_a_rollout(api: Kubectl, replicas: Replicas) -> None:
    first = replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        await serving(it)
        await it.alias("v2")
        await it.until("a canary", lambda status: percent(status) == 10)
        first.end(signal.SIGKILL)
        api.run("delete", "lease", "--all", "-n", "loopwright-system")
        replicas.lead(**SETTINGS)
        await it.ready("m-v2")
        assert await it.weights() == {"v2/good": 10000}


async def test_what_people_delete_or_edit_is_restored(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        policy = {"strategy": "Manual", "checkSeconds": 5, "bakeSeconds": 1}
        await serving(it, rollout=policy, autoscaling={"min": 2})
        await it.alias("v2")
        await it.until("a canary", lambda status: percent(status) == 10)
        services = await it.namespace.list("InferenceService")
        [old] = [one for one in services if uri(one) == "v1/good"]
        name = old["metadata"]["name"]
        # Nothing but its record knows by now what the old revision was.
        for kind, deleted in (
            ("InferenceService", name), ("HTTPRoute", "ep"), ("Service", "ep"),
            ("HorizontalPodAutoscaler", name), ("PodDisruptionBudget", name),
            ("Deployment", "ep-monitor"),
        ):  # fmt: skip
            before = await it.namespace.get(kind, deleted)
            assert before is not None, kind
            await it.namespace.delete(kind, deleted)
            await it.until(
                f"another {kind}", lambda _, a=(kind, deleted), b=before: anew(it, *a, b)
            )
        again = await it.namespace.get("InferenceService", name)
        assert again is not None
        assert again["spec"] == old["spec"]
        await it.until("traffic", lambda _: has(it, {"v1/good": 9000, "v2/good": 1000}))
        edited = {"rules": [{"backendRefs": [{"name": "other", "port": 80}]}]}
        await it.namespace.patch("HTTPRoute", "ep", spec=edited)
        await it.until("the route", lambda _: has(it, {"v1/good": 9000, "v2/good": 1000}))


async def anew(it: Scene, kind: str, name: str, before: Object) -> bool:
    found = await it.namespace.get(kind, name)
    return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]


async def has(it: Scene, weights: dict[str, int]) -> bool:
    return await it.weights() == weights


async def test_models_that_may_not_be_served_leave_the_old_one(
    api: Kubectl, replicas: Replicas
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        await serving(it)
        await it.create(version("v4", "broken"))
        reasons = {"v9": "ModelVersionNotFound", "v4": "RolledBack"}
        for name, reason in reasons.items():
            await it.alias(name)
            status = await it.until(reason, lambda s, r=reason: condition(s, "Ready")[1] == r)
            assert await it.weights() == {"v1/good": 10000}
            assert condition(status, "VariantsReady") == ("True", "AsExpected")
        assert condition(status, "RolledBack") == ("True", "DigestMismatch")
        assert "model.json was changed" in message(status, "RolledBack")
        await it.namespace.patch("ModelEndpoint", "ep", spec={"requireApproval": True})
        status = await it.until(
            "approval", lambda s: condition(s, "Ready")[1] == "ModelNotApproved"
        )
        assert "approve" in message(status, "Ready")
        assert await it.weights() == {"v1/good": 10000}


async def test_suspended_and_back(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        await serving(it, autoscaling={"min": 2, "max": 4})
        await it.until("two", lambda status: status["replicas"] == 2)
        await it.namespace.patch("ModelEndpoint", "ep", spec={"suspend": True})
        await it.until("no pods", lambda s: s["phase"] == "Suspended" and s["replicas"] == 0)
        assert await it.namespace.list("HorizontalPodAutoscaler") == []
        await it.namespace.patch("ModelEndpoint", "ep", spec={"suspend": False})
        status = await it.until("pods", lambda status: status["replicas"] == 2)
        assert len(await it.namespace.list("HorizontalPodAutoscaler")) == 1
        await it.namespace.patch("ModelEndpoint", "ep", spec={"autoscaling": None, "replicas": 3})
        await it.until("three", lambda status: status["replicas"] == 3)
        assert await it.namespace.list("HorizontalPodAutoscaler") == []
        assert status["variants"][0]["serving"] is not None


async def test_a_restart_with_settled_endpoints_writes_nothing(
    api: Kubectl, replicas: Replicas, audit: AuditLog
) -> None:
    first = replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        both = [
            {"name": name, "model": {"modelVersionRef": {"name": f"m-v{n}"}}, "weight": n}
            for n, name in enumerate(("a", "b"), 1)
        ]
        await it.create(model(), version("v1"), version("v2"))
        await it.create(endpoint("ep", *both, autoscaling={"min": 2}))
        await it.ready()
        assert await it.weights() == {"v1/good": 100, "v2/good": 200}
        await asyncio.sleep(2)  # The last Events.
        first.end(signal.SIGTERM)
        mark = audit.mark()
        second = replicas.lead(resync_seconds="5", **SETTINGS)
        await looked(second, 3)
        assert audit.writes(mark) == []


async def looked(operator: Replica, times: int) -> None:
    """Waits until endpoints were looked at so often."""
    seen = 'loopwright_reconcile_seconds_count{kind="ModelEndpoint"}'
    until = time.monotonic() + SECONDS
    while operator.metric(seen) < times:
        assert time.monotonic() < until
        await asyncio.sleep(0.2)


async def test_a_name_that_is_taken_is_not_touched(api: Kubectl, replicas: Replicas) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        meta, spec = {"name": "ep"}, {"ports": [{"port": 1}]}
        await it.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
        status = await it.until("NameTaken", lambda s: condition(s, "Ready")[1] == "NameTaken")
        assert "Service 'ep' exists and is not Loopwright's" in message(status, "Ready")
        await it.namespace.delete("Service", "ep")
        await it.ready("m-v1")


async def test_kserve_may_be_installed_later(api: Kubectl, replicas: Replicas) -> None:
    api.run("delete", "crd", "inferenceservices.serving.kserve.io", "--timeout=60s")
    try:
        replicas.lead(**SETTINGS)
        async with scene(api.kubeconfig) as it:
            await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
            status = await it.until(
                "a condition", lambda s: condition(s, "Ready")[1] == "DependencyMissing"
            )
            assert "install KServe" in message(status, "Ready")
            api.apply(*crds("kserve"))
            api.wait_for_crds()
            await it.ready("m-v1")
    finally:
        api.apply(*crds("kserve"))
        api.wait_for_crds()


async def test_alerts_come_and_go_with_the_prometheus_operator(
    api: Kubectl, replicas: Replicas
) -> None:
    crd = "prometheusrules.monitoring.coreos.com"
    api.run("delete", "crd", crd, "--timeout=60s")
    try:
        replicas.lead(**SETTINGS, rule_labels="release=main")
        async with scene(api.kubeconfig) as it:
            await it.create(model(aliases={"live": "v1"}), version("v1"), endpoint())
            await it.ready("m-v1")
            assert await it.namespace.list("PrometheusRule") == []
            api.apply(*crds("prometheus"))
            api.wait_for_crds()

            async def there(_: Object) -> bool:
                return await it.namespace.get("PrometheusRule", "ep-alerts") is not None

            await it.until("alerts", there)
            [rule] = await it.namespace.list("PrometheusRule")
            assert rule["metadata"]["labels"]["release"] == "main"
            assert rule["metadata"]["ownerReferences"][0]["kind"] == "ModelEndpoint"
            # Somebody's edit is undone, and what is deleted comes back.
            await it.namespace.patch("PrometheusRule", "ep-alerts", spec={"groups": []})

            async def whole(_: Object) -> bool:
                found = await it.namespace.get("PrometheusRule", "ep-alerts")
                return found is not None and found["spec"] == rule["spec"]

            await it.until("the alerts again", whole)
            await it.namespace.delete("PrometheusRule", "ep-alerts")
            await it.until("the alerts once more", whole)
            api.run("delete", "crd", crd, "--timeout=60s")
            await it.alias("v1")
            await it.ready("m-v1")
    finally:
        api.apply(*crds("prometheus"))
        api.wait_for_crds()


@pytest.mark.parametrize("section", ["", "web"])
async def test_without_a_gateway_one_variant_is_served(
    api: Kubectl, replicas: Replicas, section: str
) -> None:
    replicas.lead(**SETTINGS)
    async with scene(api.kubeconfig) as it:
        routing: Object = {"gatewayRef": {"name": "none"}} if section else {}
        await it.create(model(aliases={"live": "v1"}), version("v1"), version("v2"))
        await it.create(endpoint(routing=routing, rollout={"bakeSeconds": 0}))
        wanted = ("False", "GatewayNotFound") if section else ("True", "ServiceOnly")
        await it.until("a route", lambda s: condition(s, "RouteReady") == wanted)
        await it.alias("v2")
        await it.until("v2", lambda s: "m-v2" in str(s["variants"]) and percent(s) is None)
        service = await it.namespace.get("Service", "ep") or {}
        [name] = service["spec"]["selector"].values()
        status = await it.status()
        serves = status["variants"][0]["serving"]["inferenceService"]
        assert name == f"isvc.{serves}-predictor"
